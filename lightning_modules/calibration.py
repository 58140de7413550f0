"""How far a classifier's probabilities can be trusted: two calibration errors, and the ranking by confidence."""

from __future__ import annotations

import torch
from netcal.metrics import ECE
from torch import Tensor

BINS = 15  # equal-width bins of the calibration error, the field's habit
SMALLEST_BIN = 20  # examples in a bin of the vector calibration error, as in the thesis


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error: sum over the bins of (share of examples) x |accuracy - mean confidence|.

    By netcal, because torchmetrics gives a confidence of exactly 1 a bin of its own.

    Args:
        probabilities: (n, classes), the largest of a row is the confidence.
        labels: (n,) of integers.
        bins: equal-width bins of the confidence.
    """
    confidence, predicted = probabilities.max(1)
    hits = predicted == labels
    error = ECE(bins=bins).measure(confidence.double().cpu().numpy(), hits.long().cpu().numpy())
    assert isinstance(error, float)  # a tuple only if the single bins are asked for
    return error


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
    gaps = p - torch.nn.functional.one_hot(labels, p.shape[1])
    bins = _median_bins(p, torch.arange(len(p), device=p.device), smallest)
    return sum(len(rows) / len(p) * float(gaps[rows].mean(0).square().sum()) for rows in bins)


def _median_bins(p: Tensor, rows: Tensor, smallest: int) -> list[Tensor]:
    """Rows of `p`, split at the median of the most varying column until a half would be smaller than `smallest`."""
    if len(rows) < 2 * smallest:
        return [rows]
    column = p[rows, p[rows].var(0).argmax()]
    below = column < column.sort().values[len(column) // 2]
    if min(int(below.sum()), int((~below).sum())) < smallest:  # many values are equal to the median
        return [rows]
    return _median_bins(p, rows[below], smallest) + _median_bins(p, rows[~below], smallest)


def relative_calibration_auc(probabilities: Tensor, labels: Tensor) -> float:
    """Area under the relative calibration curve: are the less certain predictions the wrong ones?

    With the examples sorted by confidence (largest probability), most certain first, a_k is the accuracy of the
    first k, and the area that of the line through the points: (a_1 / 2 + a_2 + ... + a_(n-1) + a_n / 2) / (n - 1).
    1 if every prediction is right; it counts wrong predictions the more, the more certain they are.

    Args:
        probabilities: (n, classes), n > 1; equal confidences keep the order of the rows.
        labels: (n,) of integers.

    Source: the thesis, figure 5.8 and appendix C (paragraph MNIST).

    >>> p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> [round(relative_calibration_auc(p, torch.tensor(y)), 4) for y in ([0, 1, 1], [1, 0, 1])]
    [0.9167, 0.4167]
    """
    confidence, predicted = probabilities.max(1)
    order = confidence.argsort(descending=True, stable=True)
    hits = (predicted == labels)[order].double()
    accuracy = hits.cumsum(0) / torch.arange(1, len(hits) + 1, device=hits.device)
    return float(torch.trapezoid(accuracy) / (len(hits) - 1))
