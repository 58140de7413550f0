"""Linear factors with known weights: averages over windows, and copies (nearest-neighbour upsampling).

    m_z = sum c m            v_z = sum c^2 v            g_a = sum c g, G_a = sum c^2 G        (over the outputs an entry is in)

Both moments are linear, with weights c and c^2, and (g, G) come back through the transposes of the two maps: torch's functions
and their gradients are the factor. An average has c = 1 / d, d the window's divisor; a copy c = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Saved
from torch_gbp.factors.factor import Factor


class LinearMap(Factor):
    """The factor of `moments(options, mean, variance)` that are linear in both.

    Args:
        moments: as a factor's; a variance of 0 is known.
    """

    def __init__(self, moments: Callable[..., Moments]) -> None:
        self.map = moments

    def moments(self, options: Any, *inputs: Tensor | None) -> Moments:
        return self.forward(options, *inputs)[0]

    def forward(self, options: Any, *inputs: Tensor | None) -> tuple[Moments, Saved]:
        mean, variance = inputs[:2]
        assert mean is not None
        hidden = torch.zeros_like(mean) if variance is None else variance
        return self.map(options, mean, hidden), (mean.new_zeros(()).expand_as(mean),)

    @torch.enable_grad()
    def backward(self, options: Any, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the two maps, which are the same at any point."""
        (like,) = saved
        assert like is not None
        leaves = [torch.zeros_like(like, requires_grad=True) for _ in range(2)]
        return torch.autograd.grad(self.map(options, *leaves), leaves, (score, precision))


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
    size, scale = (None if part is None else list(part) for part in options)
    return F.interpolate(mean, size, scale), F.interpolate(variance, size, scale)  # type: ignore[arg-type]


def _average(options: AverageOptions, mean: Tensor, variance: Tensor) -> Moments:
    return average(F.avg_pool2d, options, mean, variance)


def _adaptive(size: Any, mean: Tensor, variance: Tensor) -> Moments:
    return adaptive_average(F.adaptive_avg_pool2d, size, mean, variance)


AVERAGE, ADAPTIVE_AVERAGE, COPIES = LinearMap(_average), LinearMap(_adaptive), LinearMap(copies)
