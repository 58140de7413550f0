"""Pooling window by window, by index arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def windows(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> list[list[int]]:
    """Positions (without padding) that every window of one axis covers, by torch's counting rule."""
    reach, starts, at = dilation * (kernel - 1) + 1, [], -padding
    while at + reach <= size + padding or (ceil_mode and at < size and at - stride + reach < size + padding):
        starts.append(at)
        at += stride
    return [[at + k * dilation for k in range(kernel)] for at in starts]


def pooled(options: Any, combine: Callable[..., Tensor], mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Pooling as a weighted sum of every window, weights from `combine(entries with padding, entries, mean, variance)`."""
    height, width = mean.shape[2:]
    axes = [windows(mean.shape[2 + d], *(options[k][d] for k in range(4)), options[4]) for d in (0, 1)]
    end_h, end_w = height + options[2][0], width + options[2][1]
    means, variances = [], []
    for rows, columns in itertools.product(*axes):
        inside = [(r, c) for r in rows for c in columns if 0 <= r < height and 0 <= c < width]
        padded = sum(r < end_h for r in rows) * sum(c < end_w for c in columns)
        m, v = (torch.stack([part[..., r, c] for r, c in inside], -1) for part in (mean, variance))
        share = combine(padded, len(inside), m, v)
        means.append((share * m).sum(-1))
        variances.append((share**2 * v).sum(-1))
    shape = (*mean.shape[:2], len(axes[0]), len(axes[1]))
    return torch.stack(means, -1).reshape(shape), torch.stack(variances, -1).reshape(shape)


def largest(padded: int, entries: int, mean: Tensor, variance: Tensor) -> Tensor:
    """All weight on the largest mean."""
    return torch.nn.functional.one_hot(mean.argmax(-1), entries).to(mean)


def probability_of_maximum(padded: int, entries: int, mean: Tensor, variance: Tensor) -> Tensor:
    """Product of pairwise win probabilities, with comparison noise 0.3, one entry at a time."""
    wins = []
    for j in range(entries):
        log = torch.zeros_like(mean[..., 0])
        for i in range(entries):
            if i != j:
                gap = (mean[..., j] - mean[..., i]) / (variance[..., j] + variance[..., i] + 0.3).sqrt()
                log = log + torch.special.log_ndtr(gap)
        wins.append(log)
    return torch.softmax(torch.stack(wins, -1), -1).detach()  # the weights count as known


def mean_weights(count_include_pad: bool, divisor: int | None) -> Callable[..., Tensor]:
    """Equal weights 1 / divisor."""

    def combine(padded: int, entries: int, mean: Tensor, variance: Tensor) -> Tensor:
        return torch.ones_like(mean) / (divisor or (padded if count_include_pad else entries))

    return combine


def adaptive(size: tuple[int | None, int | None], mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Adaptive average pooling: window k covers the pixels that overlap [k, k + 1) of the coarse axis."""
    axes = []
    for length, wanted in zip(mean.shape[2:], size, strict=True):
        count = length if wanted is None else wanted
        axes.append(
            [[p for p in range(length) if p + 1 > k * length / count and p < (k + 1) * length / count] for k in range(count)]
        )
    means, variances = [], []
    for rows, columns in itertools.product(*axes):
        m, v = (torch.stack([part[..., r, c] for r in rows for c in columns], -1) for part in (mean, variance))
        means.append(m.sum(-1) / m.shape[-1])
        variances.append(v.sum(-1) / m.shape[-1] ** 2)
    shape = (*mean.shape[:2], len(axes[0]), len(axes[1]))
    return torch.stack(means, -1).reshape(shape), torch.stack(variances, -1).reshape(shape)
