"""Scores of predictive distributions: accuracy, likelihood, calibration errors, detection of other inputs. Plain torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.targets import check_labels, check_values

BINS = 15  # equal-width bins of the calibration error, the field's habit
SMALLEST_BIN = 20  # examples in a bin of the vector calibration error, as in the thesis


def classification_scores(log_probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Every score of class probabilities by its name.

    accuracy; nll (nats per example); ece, `calibration_error`; vector_ece, `vector_calibration_error`;
    brier, the mean of ||p - onehot(y)||^2; relative_auc, `relative_calibration_auc`.

    Args:
        log_probabilities: (n, classes), normalised.
        labels: (n,) of integers.

    Raises:
        InvalidInput: labels that do not fit.

    >>> scores = classification_scores(torch.tensor([[0.5, 0.5], [0.2, 0.8]]).log(), torch.tensor([0, 1]))
    >>> {name: round(value, 4) for name, value in scores.items()}
    {'accuracy': 1.0, 'nll': 0.4581, 'ece': 0.35, 'vector_ece': 0.045, 'brier': 0.29, 'relative_auc': 1.0}
    """
    check_labels(Gaussian(log_probabilities, log_probabilities), labels, "classification_scores")
    logs = log_probabilities.double()
    probabilities = logs.exp()
    truth = torch.nn.functional.one_hot(labels, logs.shape[1])
    return {
        "accuracy": float((probabilities.argmax(1) == labels).double().mean()),
        "nll": float(-logs.gather(1, labels[:, None]).mean()),
        "ece": calibration_error(probabilities, labels),
        "vector_ece": vector_calibration_error(probabilities, labels),
        "brier": float((probabilities - truth).square().sum(1).mean()),
        "relative_auc": relative_calibration_auc(probabilities, labels),
    }


def regression_scores(mean: Tensor, variance: Tensor, target: Tensor) -> dict[str, float]:
    """Root mean squared error (units of the target) and mean log density (nats per example).

    Args:
        mean, variance: of the predictive distribution, (n, ...), the variance with the noise.
        target: as `mean`.

    Raises:
        InvalidInput: targets of another shape, or not finite.

    >>> regression_scores(torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1))["rmse"]
    1.0
    """
    check_values(Gaussian(mean, variance), target, "regression_scores")
    gap = (target - mean).double()
    density = torch.distributions.Normal(mean.double(), variance.double().sqrt()).log_prob(target.double())
    return {"rmse": float(gap.square().mean().sqrt()), "log_likelihood": float(density.flatten(1).sum(1).mean())}


def predictive_entropy(log_probabilities: Tensor) -> Tensor:
    """Entropy of each predictive distribution, as a share of log(classes): 0 certain, 1 uniform. Shape (n,).

    >>> predictive_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]).log())
    tensor([1., 0.], dtype=torch.float64)
    """
    logs = log_probabilities.double()
    entropy = torch.special.entr(logs.exp()).sum(1)
    return (entropy / math.log(logs.shape[1])).clamp(0, 1)


def ood_auroc(inside: Tensor, outside: Tensor) -> float:
    """Area under the ROC curve of the predictive entropy as a detector of the examples outside.

    The share of pairs (inside, outside) in which the outside one has the larger entropy; ties count a half.

    Args:
        inside, outside: log-probabilities (n, classes) on in-distribution and on OOD inputs.

    >>> ood_auroc(torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.6, 0.4]]).log())
    1.0
    """
    entropy = predictive_entropy(torch.cat([inside, outside]))
    _, place, count = entropy.unique(return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2).double()[place]  # equal entropies share the mean of their ranks
    others, own = len(inside), len(outside)
    return float((rank[others:].sum() - own * (own + 1) / 2) / (others * own))


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error: sum over the bins of (share of examples) x |accuracy - mean confidence|.

    Args:
        probabilities: (n, classes), the largest of a row is the confidence.
        labels: (n,) of integers.
        bins: equal-width bins [k / bins, (k + 1) / bins) of the confidence, the last with its upper end.

    >>> round(calibration_error(torch.tensor([[0.75, 0.25]] * 4), torch.tensor([0, 0, 1, 1])), 4)
    0.25
    """
    confidence, predicted = probabilities.double().max(1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=confidence.device)
    index = (torch.bucketize(confidence, edges, right=True) - 1).clamp(0, bins - 1)
    gaps = confidence.new_zeros(bins).index_add_(0, index, (predicted == labels).double() - confidence)
    return float(gaps.abs().sum() / len(confidence))


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
