"""SmECE: the calibration error without bins, smoothed by a kernel whose width the error itself chooses."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

LEAST = 1e-3  # confidences are kept this far from 0 and 1, and the width is not searched below it
POINTS, STEPS = 200, 10  # on which the gap is looked at, at least; of the bisection for the width
GRID = 2000  # points of the convolution before it is halved, at least
EMPTY = 1e-4  # density of a place where nothing is


def smooth_calibration_error(probabilities: Tensor, labels: Tensor, width: float | None = None) -> float:
    """Smooth calibration error: integral of |kernel mean of (confidence - right)| over the kernel density of the confidence.

    The kernel is Gaussian in the logit of the confidence; its width h is the largest that is no larger than the error that
    it gives, to one part in 2^10. No bins, so a small change of the predictions changes it little.

    Args:
        probabilities: (n, classes), the largest of a row is the confidence.
        labels: (n,) of integers.
        width: h, in units of 4 of the logit; None chooses it as said.

    Source: Blasiok and Nakkiran 2024, definition 2 and section 3; grids and constants of their program, relplot, with the
    logit kernel that torch-uncertainty has as default (`cal/SmECE`). In float64 here, so a few in 10^7 apart.

    >>> 0.2 < smooth_calibration_error(torch.tensor([[0.75, 0.25]] * 8), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])) < 0.26
    True
    """
    confidence, gaps = _gaps(probabilities, labels)
    return _error(confidence, gaps, smoothing_width(probabilities, labels) if width is None else width)


def smoothing_width(probabilities: Tensor, labels: Tensor) -> float:
    """Width h of the kernel of `smooth_calibration_error`: the fixed point h = error(h), by bisection."""
    confidence, gaps = _gaps(probabilities, labels)

    def small(width: float) -> bool:
        return width < LEAST or width < _error(confidence, gaps, width)

    high, low = 1.0, 0.0
    if small(high):
        return high
    for _ in range(STEPS):
        middle = (high + low) / 2
        high, low = (high, middle) if small(middle) else (middle, low)
    return high


def _gaps(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence of each prediction, and how far it is above what was seen, 1 or 0."""
    confidence, predicted = probabilities.double().max(1)
    return confidence, confidence - (predicted == labels).double()


def _error(confidence: Tensor, gaps: Tensor, width: float) -> float:
    t = torch.linspace(0, 1, max(int(10 / width), POINTS), dtype=torch.float64, device=confidence.device)
    curve = _smoothed(confidence, gaps, t[1:-1], width)
    density = curve.density / (t[1:-1] * (1 - t[1:-1]))  # in the confidence, no longer in its logit
    gap, density = (torch.cat([part[:1], part, part[-1:]]) for part in (curve.gap, density))
    return float((gap.abs() * density).sum() / density.sum())


class _Curve(NamedTuple):
    gap: Tensor
    density: Tensor


def _smoothed(confidence: Tensor, gaps: Tensor, t: Tensor, width: float) -> _Curve:
    """Kernel mean of the gaps, and kernel density, at the places t; all in logits, led to [0, 1]."""
    where, at = torch.logit(confidence.clamp(LEAST, 1 - LEAST)), torch.logit(t)
    low, high = torch.minimum(where.min(), at.min()), torch.maximum(where.max(), at.max())
    span = high - low
    where, at, width = (where - low) / span, (at - low) / span, float(width * 4 / span)
    kernel = _kernel(width, confidence)
    sums, density = (_convolved(where, part, kernel, at) for part in (gaps, torch.ones_like(gaps)))
    return _Curve(sums / (density + EMPTY), density + EMPTY)


def _kernel(width: float, like: Tensor) -> Tensor:
    """Normal density around the middle of a grid of an odd number of points."""
    points = max(GRID, round(20 / width)) // 2
    t = torch.linspace(0, 1, points + (points + 1) % 2, dtype=torch.float64, device=like.device)
    return torch.exp(-(((t - 0.5) / width) ** 2) / 2) / (math.sqrt(2 * math.pi) * width)


def _convolved(where: Tensor, values: Tensor, kernel: Tensor, at: Tensor) -> Tensor:
    """Values at `where`, put on the grid, convolved by FFT, and read off at `at`."""
    points = len(kernel)
    cell, share = _cells(where, points)
    grid = values.new_zeros(points).index_add_(0, cell, (1 - share) * values).index_add_(0, cell + 1, share * values)
    size = 2 * points
    full = torch.fft.irfft(torch.fft.rfft(grid, size) * torch.fft.rfft(kernel, size), size)
    smooth = full[points // 2 : points // 2 + points]
    cell, share = _cells(at, points)
    return smooth[cell] * (1 - share) + smooth[cell + 1] * share


def _cells(where: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Cell of the grid that each place is in, and how far it is through it."""
    scaled = where * (points - 1)
    cell = scaled.long().clamp(0, points - 2)
    return cell, scaled - cell
