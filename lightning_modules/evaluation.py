"""Scores of predictive distributions: accuracy, likelihood, calibration, out-of-distribution detection."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy

from lightning_modules.calibration import calibration_error, relative_calibration_auc, vector_calibration_error
from torch_gbp import Gaussian
from torch_gbp.likelihoods.base import check_labels, check_values


def classification_scores(log_probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Every score of class probabilities by its name.

    accuracy; nll (nats per example); ece (top label, 15 bins) and vector_ece (all classes), see `calibration`;
    brier, the mean of ||p - onehot(y)||^2; relative_auc, the area under the relative calibration curve.

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
    probabilities = logs.exp().clamp(0, 1)  # rounding above 1 would make torchmetrics take them for logits
    truth = torch.nn.functional.one_hot(labels, logs.shape[1])
    return {
        "accuracy": float(multiclass_accuracy(probabilities, labels, logs.shape[1], average="micro")),
        "nll": float(-logs.gather(1, labels[:, None]).mean()),
        "ece": calibration_error(probabilities, labels),
        "vector_ece": vector_calibration_error(probabilities, labels),
        "brier": float((probabilities - truth).square().sum(1).mean()),
        "relative_auc": relative_calibration_auc(probabilities, labels),
    }


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

    Raises:
        InvalidInput: targets of another shape, or not finite.

    >>> regression_scores(torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1))["rmse"]
    1.0
    """
    check_values(Gaussian(mean, variance), target, "regression_scores")
    gap = (target - mean).double()
    density = torch.distributions.Normal(mean.double(), variance.double().sqrt()).log_prob(target.double())
    return {"rmse": float(gap.square().mean().sqrt()), "log_likelihood": float(density.flatten(1).sum(1).mean())}
