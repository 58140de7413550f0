"""Reshapes, selections and padding: what acts on mean and variance alike, a known tensor having variance 0; and new tensors."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.errors import MissingRule
from torch_gbp.functions import Function, moments, named
from torch_gbp.gaussian import Gaussian

_RESHAPES = (
    "flatten", "unflatten", "reshape", "reshape_as", "view", "view_as", "permute", "transpose", "swapaxes", "movedim", "moveaxis",
    "t", "squeeze", "unsqueeze", "expand", "expand_as", "broadcast_to", "repeat", "tile", "cat", "concat", "stack", "chunk",
    "split", "tensor_split", "unbind", "narrow", "select", "index_select", "gather", "take_along_dim", "flip", "roll", "clone",
    "contiguous", "detach", "float", "double", "half", "bfloat16", "cuda", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
    "unfold",
)  # fmt: skip


def _both(function: Function, *args: Any, **kwargs: Any) -> Any:
    """A function that moves entries, applied to the means and to the variances."""
    parts = [function(*_pick(args, moment), **_pick(kwargs, moment)) for moment in ("mean", "variance")]
    return Gaussian(*parts) if isinstance(parts[0], Tensor) else tuple(map(Gaussian, *parts))


def _pick(value: Any, moment: str) -> Any:
    """Replaces every Gaussian in nested arguments by one of its moments; a floating tensor beside it is known, variance 0."""
    if isinstance(value, Gaussian):
        return getattr(value, moment)
    if isinstance(value, Tensor):
        return torch.zeros_like(value) if moment == "variance" and value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _pick(entry, moment) for key, entry in value.items()}
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(_pick(entry, moment) for entry in value)
    return value


_NEW = (
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros", "new_ones", "new_full",
    "new_empty", "new_tensor",
)  # fmt: skip


def _known(function: Function, input: Gaussian, *args: Any, **kwargs: Any) -> Tensor:
    """A new tensor, of the kind that the means are: known."""
    return function(input.mean, *args, **kwargs)


for _function in named(*_NEW):
    moments(_function, linear=True)(partial(_known, _function))
for _function in named(*_RESHAPES):
    moments(_function, linear=True)(partial(_both, _function))


@moments(F.pad, linear=True)
def pad(input: Gaussian, pad: Any, mode: str = "constant", value: float | None = None) -> Gaussian:
    """Padding; a constant adds known variables: their variance is 0 whatever the constant."""
    return Gaussian(F.pad(input.mean, pad, mode, value), F.pad(input.variance, pad, mode))


@moments(F.interpolate, linear=True)
def interpolate(input: Gaussian, *args: Any, mode: str = "nearest", **kwargs: Any) -> Gaussian:
    """Upsampling by copies, modes "nearest" and "nearest-exact".

    Raises:
        MissingRule: a mode that averages entries.
    """
    if mode not in ("nearest", "nearest-exact"):
        raise MissingRule(
            "interpolation that averages entries has no moment map",
            where="F.interpolate",
            got=f"mode={mode!r}",
            fix='use mode="nearest", or predict by samples',
        )
    return _both(F.interpolate, input, *args, mode=mode, **kwargs)
