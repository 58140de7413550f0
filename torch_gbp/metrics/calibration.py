"""Calibration errors of class probabilities: is what is claimed what is seen."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.metrics.labels import indicators, indices
from torch_gbp.metrics.ties import even

BINS = 15  # of the calibration errors, the field's habit
SMALLEST_BIN = 20  # examples in a bin of the vector calibration error, as in the thesis


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error: sum over the bins of (share of examples) x |accuracy - mean confidence|.

    Args:
        probabilities: (n, classes), the largest of a row is the confidence.
        labels: (n,) of integers.
        bins: equal-width bins [k / bins, (k + 1) / bins) of the confidence, the last with its upper end.

    >>> round(calibration_error(torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 1, 1])), 4)
    0.25
    """
    sums, _ = _binned(*_top(probabilities, labels), bins)
    return float(sums.abs().sum() / len(labels))


def largest_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Maximum calibration error: the largest |accuracy - mean confidence| of a bin of `calibration_error` that is not empty.

    >>> round(largest_calibration_error(torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 1, 1])), 4)
    0.25
    """
    sums, count = _binned(*_top(probabilities, labels), bins)
    return float((sums.abs() / count.clamp_min(1)).max())


def adaptive_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Adaptive calibration error: as `calibration_error`, over bins of equally many examples, sorted by confidence.

    Where n is no multiple of `bins` the first bins have one more; fewer than `bins` examples have a bin each. Equal
    confidences share the mean of what was seen with them, so the order of the examples does not count.

    Source: Nixon et al. 2019 (thresholded to the top label), as in torch-uncertainty (`cal/aECE`).

    >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]])
    >>> round(adaptive_calibration_error(p, torch.tensor([0, 0, 1, 1]), bins=2), 4)
    0.4
    """
    confidence, hits = _top(probabilities, labels)
    gaps = even(confidence, hits) - confidence
    parts = gaps[confidence.argsort()].tensor_split(bins)
    return float(sum(part.sum().abs() for part in parts) / len(labels))


def classwise_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Classwise calibration error: mean over the classes of the calibration error of "it is this class, or not".

    For each class c: sum over equal-width bins of p_c of (share of examples) x |frequency of c - mean p_c|.

    Source: Kull et al. 2019, equation 4.

    >>> round(classwise_calibration_error(torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 1, 1])), 4)
    0.25
    """
    p = probabilities.double()
    gaps = indicators(labels, p) - p
    cell = _bin(p, bins) + bins * torch.arange(p.shape[1], device=p.device)  # one for each class and bin
    sums = gaps.new_zeros(bins * p.shape[1]).index_add_(0, cell.flatten(), gaps.flatten())
    return float(sums.abs().sum() / p.numel())


def vector_calibration_error(probabilities: Tensor, labels: Tensor, smallest: int = SMALLEST_BIN) -> float:
    """Calibration error of whole probability vectors: sum over the bins B of |B| / n x ||mean_B p - mean_B onehot(y)||^2.

    A bin is split at the median of the class probability that varies most in it, as long as both halves keep
    `smallest` examples. Squares of gaps: the values are far below those of `calibration_error`.

    Args:
        probabilities: (n, classes).
        labels: (n,) of integers.
        smallest: number of examples that a bin has at least.

    Source: the ECE of the thesis (figure 5.7, appendix C), which CalibrationErrors.jl computes: `ECE` with
    `MedianVarianceBinning(20)` and `SqEuclidean()`. The thesis speaks of 20 bins; in the code 20 is the smallest bin.

    >>> vector_calibration_error(torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 1, 1]))
    0.125
    """
    p = probabilities.double()
    return vector_error_in(vector_bins(p, smallest), p, labels)


def vector_bins(probabilities: Tensor, smallest: int = SMALLEST_BIN) -> Tensor:
    """Number of the bin of `vector_calibration_error` that each example is in, (n,)."""
    p, bins = probabilities.double(), torch.zeros(len(probabilities), dtype=torch.long, device=probabilities.device)
    for number, rows in enumerate(_median_bins(p, torch.arange(len(p), device=p.device), smallest)):
        bins[rows] = number
    return bins


def vector_error_in(bins: Tensor, probabilities: Tensor, labels: Tensor) -> float:
    """`vector_calibration_error` with the examples in the bins given."""
    gaps = probabilities.double() - indicators(labels, probabilities)
    count = bins.bincount()
    sums = gaps.new_zeros(len(count), gaps.shape[1]).index_add_(0, bins, gaps)
    return float((sums.square().sum(1) / count.clamp_min(1)).sum() / len(bins))


def _top(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence of each prediction, and whether it is right."""
    confidence, predicted = probabilities.double().max(1)
    return confidence, (predicted == indices(labels, probabilities)).double()


def _binned(claimed: Tensor, seen: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Sums of seen - claimed over the examples of each equal-width bin, and their number."""
    index = _bin(claimed, bins)
    sums = claimed.new_zeros(bins).index_add_(0, index, seen - claimed)
    return sums, index.bincount(minlength=bins)


def _bin(claimed: Tensor, bins: int) -> Tensor:
    """Number of the equal-width bin of each entry: [k / bins, (k + 1) / bins), the last with its upper end."""
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=claimed.device)
    return (torch.bucketize(claimed, edges, right=True) - 1).clamp(0, bins - 1)


def _median_bins(p: Tensor, rows: Tensor, smallest: int) -> list[Tensor]:
    """Rows of `p`, split at the median of the most varying column until a half would be smaller than `smallest`."""
    if len(rows) < 2 * smallest:
        return [rows]
    column = p[rows, p[rows].var(0).argmax()]
    below = column < column.sort().values[len(column) // 2]
    if min(int(below.sum()), int((~below).sum())) < smallest:  # many values are equal to the median
        return [rows]
    return _median_bins(p, rows[below], smallest) + _median_bins(p, rows[~below], smallest)
