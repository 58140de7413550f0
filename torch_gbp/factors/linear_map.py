"""Linear factors with known weights: averages over windows, and copies (nearest-neighbour upsampling).

    m_z = sum c m            v_z = sum c^2 v            g_a = sum c g, G_a = sum c^2 G        (over the outputs an entry is in)

Both moments are linear, with weights c and c^2, and (g, G) come back through the transposes of the two maps, which are torch's
own gradients: layers and maps of moments call the functions below as they are, without a rule. An average has c = 1 / d, d the
window's divisor; a copy c = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments


class AverageOptions(NamedTuple):
    """Settings of an average, as in torch.nn.AvgPool2d (or over one or three axes)."""

    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None


class UpsampleOptions(NamedTuple):
    """The wanted size or the factor of each axis, as in torch.nn.Upsample; one of the two is None."""

    size: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None


def average(function: Callable[..., Tensor], options: AverageOptions, mean: Tensor, variance: Tensor) -> Moments:
    """Moments of window averages by torch's `function`; 1 / d is its output for ones, divided by the entries of each window."""
    ones, geometry = torch.ones_like(mean[:1]), options[:4]
    entries = function(ones, *geometry, True, 1)
    share = function(ones, *geometry, *options[4:]) / entries
    return function(mean, *options), function(variance, *options) * share


def adaptive_average(function: Callable[..., Tensor], size: Any, mean: Tensor, variance: Tensor) -> Moments:
    """Moments of the averages of windows that tile an image to the wanted size, by torch's `function`."""
    out_mean, out_var = (function(part, size) for part in (mean, variance))
    axes = int(function.__name__[-2])
    return out_mean, out_var / _entries(mean.shape[-axes:], out_mean.shape[-axes:], mean)


def _entries(sides: torch.Size, windows: torch.Size, like: Tensor) -> Tensor:
    """Entries of every window; along an axis window k runs from floor(k side / n) to ceil((k + 1) side / n)."""
    counts = like.new_ones(())
    for side, number in zip(sides, windows, strict=True):
        reach = [-(-(k + 1) * side // number) - k * side // number for k in range(number)]
        counts = counts.unsqueeze(-1) * like.new_tensor(reach)
    return counts


def copies(options: UpsampleOptions, mean: Tensor, variance: Tensor) -> Moments:
    """Moments of the copies, (n, c, h', w') each."""
    return copied(options, mean), copied(options, variance)


def copied(options: UpsampleOptions, image: Tensor) -> Tensor:
    """The image with its entries copied, (n, c, h', w')."""
    size, scale = (None if part is None else list(part) for part in options)
    return F.interpolate(image, size, scale)  # type: ignore[arg-type]
