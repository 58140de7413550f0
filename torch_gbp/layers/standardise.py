"""Standardise: inputs and targets of any units, brought to mean 0 and standard deviation 1 by saved statistics."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from torch_gbp.batches import unmoved
from torch_gbp.errors import FarFromStandard, InvalidInput, explain
from torch_gbp.errors.checks import require_factory
from torch_gbp.gaussian import Gaussian
from torch_gbp.weights.loading import CheckedModule, Saved, require_all, require_saved

MEAN, SCALE, RATIO = 5.0, 30.0, 100.0  # deviations, factor from 1, and largest over median feature, that count as far off
_PARTS = ", the inputs", ", the targets"  # of a batch
FEWEST = 8  # values of which a mean and a scale say something


class Standardise(CheckedModule):
    """Affine map to mean 0 and standard deviation 1, (x - mean) / scale, with statistics of the training data.

    Priors, rates and powers of the library are for standardised inputs and targets. As the first layer of a network it is fitted
    by `fit`, or by `gbp.Trainer` and the Lightning modules from their training loader; the statistics are buffers, saved with
    the network. `inverse` leads back to the data's units.

    Shapes: (n, features) has a mean and a scale for each feature, (n, channels, ...) for each channel, (n,) one. A feature
    without spread is only centred. Beliefs go through as tensors do: mean (m - mean) / scale, variance v / scale^2.

    Raises:
        InvalidInput: used before it was fitted, fitted on numbers that are not finite, or on inputs of another shape.

    >>> x = torch.tensor([[100.0, 8.0], [102.0, 0.0]])
    >>> layer = Standardise().fit(x)
    >>> layer(x)
    tensor([[-1.,  1.],
            [ 1., -1.]])
    >>> layer.inverse(layer(x))
    tensor([[100.,   8.],
            [102.,   0.]])
    """

    mean: Tensor
    scale: Tensor
    count: Tensor  # numbers that each statistic is an average of; 0 before the fit
    variable = ("mean", "scale")

    def __init__(self, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        require_factory(device, dtype, "Standardise")
        like = {"device": device, "dtype": dtype}
        self.register_buffer("mean", torch.zeros((), **like))
        self.register_buffer("scale", torch.ones((), **like))
        self.register_buffer("count", torch.zeros((), **like))

    @property
    def fitted(self) -> bool:
        """Whether there are statistics."""
        return bool(self.count > 0)

    @torch.no_grad()
    def fit(self, values: Tensor) -> Standardise:
        """Takes the statistics of a tensor; returns the layer."""
        return self.take(_moments(values))

    @torch.no_grad()
    def take(self, moments: Tensor, of: str = "") -> Standardise:
        """Takes the statistics that counts, sums and sums of squares give, with those of all processes of torch.distributed.

        Args:
            of: what they are of, for errors.
        """
        if moments.ndim == 0:
            raise InvalidInput("nothing to fit the statistics on", where="Standardise", cause="an empty loader", fix="pass data")
        if dist.is_available() and dist.is_initialized():
            moments = moments.to(self.mean.device)
            dist.all_reduce(moments)
        count, mean = moments[0], moments[1] / moments[0]
        scale = (moments[2] / count - mean.square()).clamp_min(0).sqrt()
        if not bool(scale.isfinite().all()):
            raise InvalidInput(
                "statistics need finite numbers",
                where=f"Standardise{of}",
                got=f"{int((~scale.isfinite()).sum())} of {scale.numel()} features with NaN or Inf",
                cause="missing values",
                fix="impute them, or drop their rows, before",
            )
        flat = scale <= 1e-7 * mean.abs()  # what is left of a constant's spread by rounding
        return self.adopt(mean, torch.where(flat | (scale == 0), 1.0, scale), float(count.flatten()[0]))

    @torch.no_grad()
    def adopt(self, mean: Tensor, scale: Tensor, count: float) -> Standardise:
        """Takes statistics that others have found, of so many numbers each; returns the layer."""
        self.mean, self.scale = mean.to(self.mean), scale.to(self.scale)
        self.count.fill_(count)
        return self

    def forward(self, input: Tensor | Gaussian) -> Tensor | Gaussian:
        """Standardised values, or the belief of them."""
        mean, scale = self._statistics(input.shape)
        if isinstance(input, Gaussian):
            return Gaussian((input.mean - mean) / scale, input.variance / scale.square())
        return (input - mean) / scale

    def inverse(self, input: Tensor | Gaussian) -> Tensor | Gaussian:
        """Values in the data's units, or the belief of them."""
        mean, scale = self._statistics(input.shape)
        if isinstance(input, Gaussian):
            return Gaussian(input.mean * scale + mean, input.variance * scale.square())
        return input * scale + mean

    def _statistics(self, shape: torch.Size) -> tuple[Tensor, Tensor]:
        if torch.compiler.is_compiling():
            return self.mean, self.scale
        if not self.fitted:
            raise InvalidInput(
                "the statistics are not fitted",
                where="Standardise",
                cause="a hand-written loop",
                fix="call layer.fit(x_train) once, or train with gbp.Trainer or Lightning, which do so",
            )
        self.require_shape(shape)
        return self.mean, self.scale

    def require_shape(self, shape: torch.Size) -> None:
        """Raises InvalidInput unless values of this shape have the features or channels of the fit."""
        if len(shape) != self.mean.ndim + 1 or shape[1:2] != self.mean.shape[:1]:
            got = f"shape {tuple(shape)}, statistics {tuple(self.mean.shape)}"
            fix = "pass them as at the fit, or fit a layer of their own"
            raise InvalidInput("other values than those of the fit", where="Standardise", got=got, fix=fix)

    def check_saved(self, saved: Saved, prefix: str) -> None:
        """Raises InvalidInput unless the saved statistics are finite and the scales positive."""
        for name in ("mean", "scale", "count"):
            if prefix + name in saved.state:
                value = saved.state[prefix + name]
                like = value if isinstance(value, Tensor) else self.mean
                value = require_saved(prefix + name, value, like, saved.assign)
                require_all(prefix + name, value > 0 if name == "scale" else value == value, "positive", value)

    def make_room(self, state: Mapping[str, Any], prefix: str) -> None:
        for name in self.variable:
            if prefix + name in state:
                setattr(self, name, getattr(self, name).new_ones(state[prefix + name].shape))

    def extra_repr(self) -> str:
        return f"{self.mean.numel()} statistics" if self.fitted else "not fitted"


def _moments(batch: Tensor, of: str = "") -> Tensor:
    """Count, sum and sum of squares for each feature or channel, (3, ...) in float64, shaped to broadcast to the batch."""
    if not isinstance(batch, Tensor) or not batch.is_floating_point() or batch.numel() == 0:
        raise InvalidInput(
            "statistics need floating-point numbers",
            where=f"Standardise{of}",
            got=str(getattr(batch, "dtype", type(batch).__name__)) if isinstance(batch, Tensor) else type(batch).__name__,
            cause="integer images (uint8) or targets, or an empty batch",
            fix="convert with .float()",
        )
    rows = batch.double()
    axes = [axis for axis in range(rows.ndim) if axis != 1]
    total, squares = rows.sum(axes, keepdim=True)[0], rows.square().sum(axes, keepdim=True)[0]
    return torch.stack([torch.full_like(total, rows.numel() / total.numel()), total, squares])


@torch.no_grad()
def warn_unless_standard(values: Tensor, what: str, where: str, fix: str) -> bool:
    """Warns `FarFromStandard` if mean or scale of a batch is far off; False while there are too few values to tell."""
    if values.numel() < FEWEST or torch.compiler.is_compiling():
        return False
    scale, mean = (float(part) for part in torch.std_mean(values.float()))
    columns = values.float().square().mean(0).sqrt().flatten()  # not the deviations: a pixel may be constant in a batch
    columns = columns[columns > 0]
    ratio = float(columns.max() / columns.median()) if len(columns) else 1.0
    if (abs(mean) > MEAN * scale > 0) or not 1 / SCALE < max(scale, abs(mean)) < SCALE or ratio > RATIO:
        differ = f", largest feature {ratio:.2g} times the median" if ratio > RATIO else ""
        got = f"mean {mean:.3g}, standard deviation {scale:.3g}{differ}"
        cause = "data in their own units, for which priors and rates are not made"
        text = explain(f"{what} are far from mean 0 and scale 1", where=where, got=got, cause=cause, fix=fix)
        warnings.warn(text, FarFromStandard, stacklevel=2)
    return True


def fit_statistics(
    network: nn.Module, targets: Standardise | None, batches: Iterable[Any], generator: torch.Generator | None = None
) -> None:
    """Fits what is not fitted yet by one walk over training batches of (input, target, ...).

    Args:
        network: may have one unfitted `Standardise`, which reads the inputs as they come from the loader.
        targets: the statistics of the targets, if the likelihood standardises them.
        batches, generator: of the run to come, whose random numbers stay what they would have been.

    Raises:
        InvalidInput: several layers to fit, of which only one can read the inputs.
    """
    layers = [module for module in network.modules() if isinstance(module, Standardise) and not module.fitted]
    if len(layers) > 1:
        fix = "fit them one by one: layer.fit(...)"
        raise InvalidInput("only the first layer can be fitted from a loader", where="Standardise", got=f"{len(layers)}", fix=fix)
    wanted = [(layer, 0) for layer in layers] + ([(targets, 1)] if targets is not None and not targets.fitted else [])
    if not wanted:
        return
    totals: list[Any] = [torch.zeros(())] * len(wanted)
    with unmoved(generator):
        for batch in batches:
            totals = [total + _moments(batch[part], _PARTS[part]) for total, (_, part) in zip(totals, wanted, strict=True)]
    for (layer, part), total in zip(wanted, totals, strict=True):
        layer.take(total, _PARTS[part])
