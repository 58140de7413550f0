"""The curves of the thesis' figures 5.6 to 5.12, in few numbers: confidence, calibration, relative calibration, ROC."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.metrics import predictive_entropy, risk_coverage

BINS = 20  # equal-width bins of the confidence, as the figures have them
DISCARDED = torch.linspace(0, 0.99, 100, dtype=torch.float64)  # shares of the test images, the least certain ones
FALSE = torch.linspace(0, 1, 101, dtype=torch.float64)  # false positive rates

Curves = dict[str, list[float | None]]


def curves(logs: Tensor, labels: Tensor, outside: dict[str, Tensor]) -> Curves:
    """Of log-probabilities (n, classes) on test images and on OOD ones, as lists of rounded numbers.

    `share`, `confidence` and `accuracy` of each bin, None where nothing is in it; `kept_accuracy` after the shares DISCARDED were
    discarded; `true_positives_...` of each OOD set at the rates FALSE, test images being what is to be found, as in the thesis.
    """
    confidence, predicted = logs.double().exp().max(1)
    right = (predicted == labels).double()
    found = binned(confidence, right) | {"kept_accuracy": _rounded(relative(confidence, right))}
    return found | {f"true_positives_{name}": _rounded(roc(logs, other)) for name, other in outside.items()}


def binned(confidence: Tensor, right: Tensor) -> Curves:
    """Share, mean confidence and accuracy of the bins.

    >>> found = binned(torch.tensor([0.99, 0.97]), torch.tensor([1.0, 0.0]))
    >>> found["share"][-1], found["confidence"][-1], found["accuracy"][-1], found["accuracy"][0]
    (1.0, 0.98, 0.5, None)
    """
    place = (confidence * BINS).long().clamp(0, BINS - 1)
    count = place.bincount(minlength=BINS)
    means = [torch.zeros(BINS, dtype=torch.float64).index_add_(0, place, part.double()) / count for part in (confidence, right)]
    return dict(zip(("share", "confidence", "accuracy"), map(_rounded, (count / count.sum(), *means)), strict=True))


def relative(confidence: Tensor, right: Tensor) -> Tensor:
    """Accuracy on what is left when the shares DISCARDED, the least certain predictions, are discarded."""
    _, risk = risk_coverage(confidence, 1 - right)
    kept = (len(risk) * (1 - DISCARDED)).ceil().long().clamp(1, len(risk))
    return 1 - risk[kept - 1]


def roc(inside: Tensor, outside: Tensor) -> Tensor:
    """Share of test images below the entropies that let the shares FALSE of the OOD images in."""
    thresholds = torch.quantile(predictive_entropy(outside), FALSE)
    return (predictive_entropy(inside)[:, None] <= thresholds).double().mean(0)


def _rounded(values: Tensor) -> list[float | None]:
    return [None if value != value else round(value, 4) for value in values.tolist()]
