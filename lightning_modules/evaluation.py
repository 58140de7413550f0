"""Scores of predictive distributions: accuracy, likelihood, calibration, out-of-distribution detection."""

from __future__ import annotations

import math

import torch
from netcal.metrics import ECE
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy

BINS = 15  # equal-width bins of the calibration error, the field's habit


def classification_scores(log_probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, negative log likelihood (nats per example), calibration error and Brier score.

    Args:
        log_probabilities: (n, classes), normalised.
        labels: (n,) of integers.

    >>> scores = classification_scores(torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log(), torch.tensor([0, 1]))
    >>> {name: round(value, 4) for name, value in scores.items()}
    {'accuracy': 1.0, 'nll': 0.4904, 'ece': 0.375, 'brier': 0.3125}
    """
    logs = log_probabilities.double()
    probabilities = logs.exp().clamp(0, 1)  # rounding above 1 would make torchmetrics take them for logits
    truth = torch.nn.functional.one_hot(labels, logs.shape[1])
    return {
        "accuracy": float(multiclass_accuracy(probabilities, labels, logs.shape[1], average="micro")),
        "nll": float(-logs.gather(1, labels[:, None]).mean()),
        "ece": calibration_error(probabilities, labels),
        "brier": float((probabilities - truth).square().sum(1).mean()),
    }


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

    Args:
        inside, outside: log-probabilities (n, classes) on in-distribution and on OOD inputs.

    >>> ood_auroc(torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.6, 0.4]]).log())
    1.0
    """
    entropy = predictive_entropy(torch.cat([inside, outside]))
    is_outside = torch.arange(len(entropy), device=entropy.device) >= len(inside)
    return float(binary_auroc(entropy, is_outside.long()))


def regression_scores(mean: Tensor, variance: Tensor, target: Tensor) -> dict[str, float]:
    """Root mean squared error (units of the target) and mean log density (nats per example).

    Args:
        mean, variance: of the predictive distribution, (n, ...), the variance with the noise.
        target: as `mean`.

    >>> regression_scores(torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1))["rmse"]
    1.0
    """
    gap = (target - mean).double()
    density = torch.distributions.Normal(mean.double(), variance.double().sqrt()).log_prob(target.double())
    return {"rmse": float(gap.square().mean().sqrt()), "log_likelihood": float(density.flatten(1).sum(1).mean())}
