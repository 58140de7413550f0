"""Latent: an input that is not, or not everywhere, observed."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import DEVIATION, require, require_kind, require_values
from torch_gbp.gaussian import Message
from torch_gbp.inference.variable import Variable, normal_prior


class Latent:
    """An input of a factor graph with a prior N(mean, sigma^2), observed exactly where `known` is True.

    Args:
        mean: prior mean where unknown, value where known; of the input's shape, with the batch axis.
        sigma: standard deviation of the prior, a number or a tensor that broadcasts to `mean`; None for no prior.
        known: True where `mean` is the observed value, of the input's shape; None for nowhere.

    Missing pixels: `Latent(images, 1.0, known=mask)`. Codes of a generative network: `Latent(torch.zeros(n, 8), 1.0)`.

    Raises:
        InvalidInput: shapes that do not fit, values that are not finite, deviations that are not positive.

    >>> Latent(torch.zeros(2, 3), 1.0).variable().belief()[1].shape
    torch.Size([2, 3])
    """

    def __init__(self, mean: Tensor, sigma: float | Tensor | None = 1.0, known: Tensor | None = None) -> None:
        require_kind("mean", mean, Tensor, "Latent", fix="pass a tensor of the inputs' shape")
        if known is not None and not isinstance(known, Tensor):
            require_kind("known", known, Tensor, "Latent", fix="pass a mask of dtype bool, or None")
        if known is not None and (known.shape != mean.shape or known.dtype != torch.bool):
            raise InvalidInput(
                "`known` must be a mask of the input's shape",
                where="Latent",
                got=f"{known.dtype} {tuple(known.shape)}, inputs {tuple(mean.shape)}",
                fix="use known=mask.expand_as(mean), of dtype bool",
            )
        require_values(mean, "Latent")
        if not mean.is_floating_point() or not mean.ndim or not mean.numel() or not bool(mean.isfinite().all()):
            raise InvalidInput(
                "means and values must be finite floating-point numbers of at least one example",
                where="Latent",
                got=f"{mean.dtype}, shape {tuple(mean.shape)}",
                cause="missing values that are marked by NaN",
                fix="put any number there, and mark the observed ones in `known`",
            )
        self.mean, self.known = mean, known
        self.sigma = None if sigma is None else _deviations(sigma, mean)

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def anchored(self) -> bool:
        """Whether every entry has a prior or is observed."""
        return self.sigma is not None or (self.known is not None and bool(self.known.all()))

    def variable(self) -> Variable:
        """The variable at the bottom of a graph."""
        prior = None if self.sigma is None else normal_prior(self.mean, self.sigma)
        if prior is None:
            prior = Message(self.mean, torch.ones_like(self.mean))  # everything is observed, and this has no energy there
        return Variable(prior, self.mean if self.known is not None else None, self.known)


def _deviations(sigma: float | Tensor, mean: Tensor) -> Tensor:
    """Standard deviations of the mean's shape, type and device, checked."""
    fix = "use 1.0; None for no prior; `known` for entries that are known exactly"
    if not isinstance(sigma, Tensor) or sigma.numel() == 1:
        sigma = torch.as_tensor(require("sigma", sigma, DEVIATION, "Latent", fix=fix))
    if sigma.is_complex() or not bool(((sigma > 0) & sigma.isfinite()).all()):
        raise InvalidInput(
            "sigma must be positive and finite", where="Latent", got=f"{sigma.dtype}, lowest {_lowest(sigma)}", fix=fix
        )
    if (
        any(own not in (1, side) for own, side in zip(sigma.shape[::-1], mean.shape[::-1], strict=False))
        or sigma.ndim > mean.ndim
    ):
        raise InvalidInput(
            "sigma must broadcast to the inputs", where="Latent", got=f"{tuple(sigma.shape)}, inputs {tuple(mean.shape)}", fix=fix
        )
    return sigma.to(mean).expand_as(mean)


def _lowest(sigma: Tensor) -> str:
    return "complex" if sigma.is_complex() else f"{float(sigma.min()):.3g}"


def check_inputs(inputs: Tensor | Latent) -> None:
    """Raises InvalidInput for inputs that have neither a prior nor a value everywhere, or are not finite."""
    if isinstance(inputs, Latent):
        if not inputs.anchored:
            raise InvalidInput(
                "a variable has neither a prior nor an observation",
                where="FactorGraph, the inputs",
                got="Latent(sigma=None) with entries that are not known",
                cause="missing pixels without a prior",
                fix="give sigma, or mark all entries as known",
            )
        return
    if not inputs.is_floating_point() or inputs.numel() == 0 or not bool(inputs.isfinite().all()):
        raise InvalidInput(
            "inputs must be finite floating-point numbers of at least one example",
            where="FactorGraph",
            got=f"{inputs.dtype}, shape {tuple(inputs.shape)}",
            cause="integer images, an empty batch, or missing pixels marked by NaN",
            fix="convert with x.float() / 255; missing pixels are Latent(x, sigma, known=mask)",
        )
