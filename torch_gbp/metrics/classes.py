"""Scores of class probabilities, and the dictionary of those that training and benchmarks note down."""

from __future__ import annotations

from torch import Tensor

from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.targets import check_labels
from torch_gbp.metrics.calibration import calibration_error, vector_calibration_error
from torch_gbp.metrics.labels import indicators, indices
from torch_gbp.metrics.selective import relative_calibration_auc


def classification_scores(log_probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Scores of class probabilities by their short names.

    accuracy; nll (nats per example); ece, `calibration_error`; vector_ece, `vector_calibration_error`;
    brier, `brier_score`; relative_auc, `relative_calibration_auc`. `torch_gbp.evaluate` has many more, with standard errors.

    Args:
        log_probabilities: (n, classes), normalised.
        labels: (n,) of integers.

    Raises:
        InvalidInput: labels that do not fit.

    >>> import torch
    >>> scores = classification_scores(torch.tensor([[0.5, 0.5], [0.2, 0.8]]).log(), torch.tensor([0, 1]))
    >>> {name: round(value, 4) for name, value in scores.items()}
    {'accuracy': 1.0, 'nll': 0.4581, 'ece': 0.35, 'vector_ece': 0.045, 'brier': 0.29, 'relative_auc': 1.0}
    """
    check_labels(Gaussian(log_probabilities, log_probabilities), labels, "classification_scores")
    logs = log_probabilities.double()
    probabilities = logs.exp()
    return {
        "accuracy": accuracy(probabilities, labels),
        "nll": negative_log_likelihood(logs, labels),
        "ece": calibration_error(probabilities, labels),
        "vector_ece": vector_calibration_error(probabilities, labels),
        "brier": brier_score(probabilities, labels),
        "relative_auc": relative_calibration_auc(probabilities, labels),
    }


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Share of examples whose largest probability (the first of equal ones) is that of the label."""
    return float((probabilities.argmax(1) == indices(labels, probabilities)).double().mean())


def negative_log_likelihood(log_probabilities: Tensor, labels: Tensor) -> float:
    """Mean of -log p(label) in nats; infinite if a label has probability 0."""
    return float(-log_probabilities.double().gather(1, indices(labels, log_probabilities)[:, None]).mean())


def brier_score(probabilities: Tensor, labels: Tensor) -> float:
    """Mean of ||p - onehot(label)||^2, between 0 and 2.

    >>> import torch
    >>> brier_score(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.tensor([0, 0]))
    1.25
    """
    p = probabilities.double()
    return float((p - indicators(labels, p)).square().sum(1).mean())
