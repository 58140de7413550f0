"""The factor z = sum of a window / d, d the window's divisor: a linear factor with known weights.

    m_z = sum m / d            v_z = sum v / d^2
    g_a = sum g / d            G_a = sum G / d^2           (over the windows an entry is in)

Both moments are linear with weights c and c^2, which is how (g, G) come back as well: torch's own
pooling functions and their gradients are the rule.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments
from torch_gbp.factors.max_pool import PoolOptions


def avg_pool(options: PoolOptions, count_include_pad: bool, divisor: int | None, mean: Tensor, variance: Tensor) -> Moments:
    """Moments of the window averages, (n, c, h', w') each."""
    kernel, stride, padding, _, ceil_mode = options
    settings = (kernel, stride, padding, ceil_mode, count_include_pad, divisor)
    counted = torch.ones_like(mean[:1, :1]) if not count_include_pad else _padded_ones(mean, padding)
    border = padding if not count_include_pad else (0, 0)
    out_mean, out_var = F.avg_pool2d(mean, *settings), F.avg_pool2d(variance, *settings)
    if divisor is not None:
        return out_mean, out_var / divisor
    entries = F.avg_pool2d(counted, kernel, stride, border, ceil_mode, True, 1)
    return out_mean, out_var / entries[..., : out_mean.shape[-2], : out_mean.shape[-1]]


def adaptive_avg_pool(size: int | tuple[int | None, int | None] | None, mean: Tensor, variance: Tensor) -> Moments:
    """Moments of the averages of windows that tile the image to the wanted size."""
    out_mean = F.adaptive_avg_pool2d(mean, size)  # type: ignore[arg-type]
    rows, columns = (_window_sizes(mean.shape[d], out_mean.shape[d], mean) for d in (-2, -1))
    return out_mean, F.adaptive_avg_pool2d(variance, size) / (rows[:, None] * columns)  # type: ignore[arg-type]


def _padded_ones(mean: Tensor, padding: tuple[int, int]) -> Tensor:
    return F.pad(torch.ones_like(mean[:1, :1]), (padding[1], padding[1], padding[0], padding[0]), value=1.0)


def _window_sizes(length: int, windows: int, like: Tensor) -> Tensor:
    """Window k runs from floor(k length / windows) to ceil((k + 1) length / windows)."""
    sizes = [-(-(k + 1) * length // windows) - k * length // windows for k in range(windows)]
    return torch.tensor(sizes, dtype=like.dtype, device=like.device)
