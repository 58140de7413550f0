"""The factor z = max of a window.

Score form (`SCORE`, default): the entry with the largest mean is the maximum; its moments go up and the
message comes back to it unchanged. Put it before a monotone activation, which then sees fewer entries.

EP form (`EP`, as in the thesis): each entry is the maximum with a probability from pairwise comparisons,

    p*_j = prod_{i != j} Phi((m_j - m_i) / sqrt(v_i + v_j + 0.3)),   p = p* / sum p*

and z = sum p_j a_j with p known: m_z = sum p_j m_j, v_z = sum p_j^2 v_j, g_j = p_j g, G_j = p_j^2 G.
Source: AMP-BNN thesis section 4.3.2, with the comparison noise 0.3 of its code (the text omits it).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.factors.numerics import COMPARISON_NOISE, log_probability_of_maximum


class PoolOptions(NamedTuple):
    """Geometry of a two-dimensional pooling window, as in torch.nn.MaxPool2d."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil_mode: bool = False

    def overlapping(self) -> bool:
        """Whether an entry may be in several windows."""
        reaches = ((size - 1) * apart + 1 for size, apart in zip(self.kernel_size, self.dilation, strict=True))
        return any(step < reach for step, reach in zip(self.stride, reaches, strict=True))


_VECTORISED = 8  # channels from which torch's CPU kernel for innermost channels wins, 4 to 10 times as fast


def largest(options: PoolOptions, image: Tensor) -> tuple[Tensor, Tensor]:
    """Largest entry of every window, and its place in the image; the first one where several are equal.

    >>> largest(PoolOptions((2, 2), (2, 2)), torch.arange(4.0).view(1, 1, 2, 2))[1].item()
    3
    """
    found = F.max_pool2d(arranged(image), *options, return_indices=True)
    return found[0].contiguous(), found[1].contiguous()


def arranged(image: Tensor) -> Tensor:
    """The image with its channels innermost in memory where that is faster, by operations that torch's transforms can follow."""
    if image.device.type != "cpu" or image.shape[1] < _VECTORISED:
        return image
    return image.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def forward(options: PoolOptions, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
    """Moments of the entry with the largest mean, (n, c, h', w') each."""
    out_mean, index = largest(options, mean)
    out_var = variance.flatten(2).gather(2, index.flatten(2)).view_as(out_mean)
    shape = torch.empty((), dtype=mean.dtype, device=mean.device).expand_as(mean)  # torch's backward asks for no more of it
    return (out_mean, out_var), (shape, index)


def backward(options: PoolOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """The message goes to the selected entry; windows that overlap multiply."""
    shape, index = saved
    assert shape is not None and index is not None

    def scatter(part: Tensor) -> Tensor:
        return torch.ops.aten.max_pool2d_with_indices_backward(part, shape, *options, index)

    return scatter(score), scatter(precision)


def ep_forward(options: PoolOptions, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
    """Moments of the probability-weighted sum of each window."""
    means = _windows(options, mean, torch.finfo(mean.dtype).min / 4)  # padding never wins
    variances = _windows(options, variance, 0.0)
    share = _probability_of_maximum(means, variances)  # (n, c, k, h', w')
    out_mean = (share * means.clamp_min(mean.min())).sum(2)
    return (out_mean, (share.square() * variances).sum(2)), (share, mean)


def ep_backward(options: PoolOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Messages of a weighted sum with known weights."""
    share, mean = saved
    assert share is not None and mean is not None
    parts = share * score.unsqueeze(2), share.square() * precision.unsqueeze(2)
    return _fold(options, parts[0], mean), _fold(options, parts[1], mean)


def _probability_of_maximum(means: Tensor, variances: Tensor) -> Tensor:
    windows = means.movedim(2, -1), variances.movedim(2, -1)  # (n, c, h', w', k)
    return torch.softmax(log_probability_of_maximum(*windows, COMPARISON_NOISE), -1).movedim(-1, 2)


def _windows(options: PoolOptions, image: Tensor, border: float) -> Tensor:
    """(n, c, h, w) -> (n, c, k, h', w'), padded with `border`."""
    kernel, stride, (top, left), dilation, _ = options
    out, (bottom, right) = _extent(options, image)
    padded = F.pad(image, (left, right, top, bottom), value=border)
    columns = F.unfold(padded, kernel, dilation=dilation, stride=stride)
    return columns.view(*image.shape[:2], -1, *out)


def _fold(options: PoolOptions, windows: Tensor, image: Tensor) -> Tensor:
    kernel, stride, (top, left), dilation, _ = options
    height, width = image.shape[2:]
    _, (bottom, right) = _extent(options, image)
    columns = windows.flatten(3).flatten(1, 2)
    folded = F.fold(columns, (top + height + bottom, left + width + right), kernel, dilation=dilation, stride=stride)
    return folded[..., top : top + height, left : left + width]


def _extent(options: PoolOptions, image: Tensor) -> tuple[list[int], list[int]]:
    """Windows along each axis, and the padding after the image that they reach into."""
    windows, after = [], []
    for size, kernel, stride, before, dilation in zip(image.shape[2:], *options[:4], strict=True):
        reach = dilation * (kernel - 1) + 1
        room = size + 2 * before - reach
        count = (-(-room // stride) if options.ceil_mode else room // stride) + 1
        if options.ceil_mode and (count - 1) * stride >= size + before:
            count -= 1  # torch's rule: a window starts inside the image or the padding before it
        windows.append(count)
        after.append(max(0, (count - 1) * stride + reach - before - size))
    return windows, after


SCORE = Rule(forward, backward)
EP = Rule(ep_forward, ep_backward)
