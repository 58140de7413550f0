"""What comes into a layer: a belief or an observed tensor, checked."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.autocast import promoted
from torch_gbp.autograd import passes
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import name_of, require_moments, require_values
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.standardise import warn_unless_standard

Belief = Gaussian | Tensor


def split(belief: Belief, layer: nn.Module, dims: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    """Mean and variance of what comes in (variance None for an observed tensor), checked; under autocast in single precision.

    Raises:
        InvalidInput: not a floating tensor, an empty batch, NaN or Inf, a negative variance, or the wrong number of axes.
    """
    mean, variance = belief if isinstance(belief, Gaussian) else (belief, None)
    mean, variance = promoted(mean), promoted(variance)
    if isinstance(mean, Tensor):
        passes.entered(mean, variance)
    if variance is None:
        _check_observed(mean, layer)
        _check_scale(mean, layer)
    else:
        require_moments(mean, variance, layer)
    if mean.ndim not in dims:
        raise InvalidInput(
            f"expected {' or '.join(map(str, dims))} axes",
            where=name_of(layer),
            got=f"shape {tuple(mean.shape)}",
            cause="a missing batch axis, or no nn.Flatten before it",
            fix="add the batch axis with x[None], or flatten first",
        )
    return mean, variance


def require_features(size: int, expected: int, kind: str, layer: nn.Module) -> None:
    """Raises InvalidInput unless the feature or channel count is the layer's own."""
    if size != expected:
        raise InvalidInput(
            f"expected {expected} {kind}",
            where=name_of(layer),
            got=str(size),
            cause="the layer before it has another width, or the axes are in another order",
            fix=f"build the layer for {size} {kind} or permute the input",
        )


def _check_observed(x: Tensor, layer: nn.Module) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise InvalidInput(
            "inputs must be floating-point tensors or Gaussians",
            where=name_of(layer),
            got=str(getattr(x, "dtype", type(x).__name__)),
            cause="integer images (uint8)",
            fix="convert with x.float() / 255 and standardise",
        )
    if x.numel() == 0:
        raise InvalidInput(
            "the batch is empty",
            where=name_of(layer),
            got=f"shape {tuple(x.shape)}",
            cause="a filter or a split that left nothing",
            fix="skip empty batches",
        )
    require_values(x, layer)
    if not torch.compiler.is_compiling() and not math.isfinite(x.sum().item()) and not bool(x.isfinite().all()):
        bad = ~x.isfinite()
        raise InvalidInput(
            f"{int(bad.sum())} of {x.numel()} input values are NaN or Inf",
            where=name_of(layer),
            cause="missing values, or a feature with zero spread that was standardised",
            fix="impute or drop them before the network",
        )


def _check_scale(x: Tensor, layer: Any) -> None:
    """Looks once, as training begins, whether a layer with weights reads inputs of the scale that its prior is for."""
    if not getattr(layer, "checked_scale", True) and layer.training and torch.is_grad_enabled():
        fix = "put gbp.Standardise() in front of the layer, or standardise the data"
        layer.checked_scale = warn_unless_standard(x, "the inputs", name_of(layer), fix)
