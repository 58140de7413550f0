"""Selective prediction: what is wrong among the predictions that are kept, the most certain ones first."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.metrics.ties import levels, means


def risk_coverage(confidence: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor]:
    """Risk-coverage curve: share of wrong ones among the k most certain predictions, at coverage k / n, k = 1 ... n.

    Examples of equal confidence are in random order, in expectation: they share the mean of their errors.

    Args:
        confidence: (n,), the larger the more certain.
        wrong: (n,), 1 or true where the prediction is wrong; or any loss.

    Returns:
        coverage (n,) and risk (n,), float64.

    >>> coverage, risk = risk_coverage(torch.tensor([0.6, 0.9]), torch.tensor([True, False]))
    >>> coverage.tolist(), risk.tolist()
    ([0.5, 1.0], [0.0, 0.5])
    """
    place, count = levels(confidence)
    share = means(place, count, wrong.double())  # of the wrong ones among those of each confidence
    number = torch.arange(1, len(confidence) + 1, dtype=torch.float64, device=confidence.device)
    return number / len(confidence), share.flip(0).repeat_interleave(count.flip(0)).cumsum(0) / number


def risk_area(confidence: Tensor, wrong: Tensor) -> float:
    """AURC, mean height of the risk-coverage curve: (r_1 / 2 + r_2 + ... + r_n / 2) / (n - 1).

    Source: Geifman and El-Yaniv 2017; by the trapezoidal rule as in torch-uncertainty (`sc/AURC`).

    >>> risk_area(torch.tensor([0.6, 0.9, 0.7]), torch.tensor([True, False, False]))
    0.08333333333333333
    """
    return _mean_height(risk_coverage(confidence, wrong)[1])


def generalised_risk_area(confidence: Tensor, wrong: Tensor) -> float:
    """AUGRC, mean height of the curve of coverage x risk, the joint probability of being kept and wrong.

    Source: Traub et al. 2024, equation 7; by the trapezoidal rule as in torch-uncertainty (`sc/AUGRC`).

    >>> generalised_risk_area(torch.tensor([0.6, 0.9, 0.7]), torch.tensor([True, False, False]))
    0.08333333333333333
    """
    coverage, risk = risk_coverage(confidence, wrong)
    return _mean_height(coverage * risk)


def coverage_at_risk(confidence: Tensor, wrong: Tensor, risk: float = 0.05) -> float:
    """Largest share of examples that a threshold on the confidence keeps with at most this risk among them; 0 if none does.

    Examples of equal confidence are kept or refused together. (torch-uncertainty's `sc/Cov_5Risk` splits them and gives NaN
    instead of 0.)

    >>> coverage_at_risk(torch.tensor([0.9, 0.8, 0.7, 0.7]), torch.tensor([0, 0, 1, 0]), risk=0.3)
    1.0
    """
    place, count = levels(confidence)
    lost = torch.zeros(len(count), dtype=torch.float64, device=count.device).index_add_(0, place, wrong.double())
    kept = count.flip(0).cumsum(0)
    allowed = kept[lost.flip(0).cumsum(0) / kept <= risk]
    return float(allowed[-1]) / len(confidence) if len(allowed) else 0.0


def risk_at_coverage(confidence: Tensor, wrong: Tensor, coverage: float = 0.8) -> float:
    """Risk among the most certain predictions, at least this share of all.

    >>> risk_at_coverage(torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 1, 0, 1]), coverage=0.5)
    0.5
    """
    shares, risk = risk_coverage(confidence, wrong)
    return float(risk[shares >= coverage - 1e-12][0])


def relative_calibration_auc(probabilities: Tensor, labels: Tensor) -> float:
    """Area under the relative calibration curve, 1 - AURC: are the less certain predictions the wrong ones?

    With the examples sorted by confidence (largest probability), most certain first, a_k is the accuracy of the
    first k, and the area that of the line through the points: (a_1 / 2 + a_2 + ... + a_(n-1) + a_n / 2) / (n - 1).
    1 if every prediction is right; it counts wrong predictions the more, the more certain they are.

    Args:
        probabilities: (n, classes), n > 1; equal confidences count in random order, in expectation.
        labels: (n,) of integers.

    Source: the thesis, figure 5.8 and appendix C (paragraph MNIST).

    >>> p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> [round(relative_calibration_auc(p, torch.tensor(y)), 4) for y in ([0, 1, 1], [1, 0, 1])]
    [0.9167, 0.4167]
    """
    confidence, predicted = probabilities.max(1)
    return 1 - risk_area(confidence, predicted != labels)


def _mean_height(curve: Tensor) -> float:
    """Mean of the line through equally distant points; of one point its height."""
    return float(torch.trapezoid(curve) / (len(curve) - 1)) if len(curve) > 1 else float(curve)
