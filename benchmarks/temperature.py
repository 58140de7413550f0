"""Temperature scaling (Guo et al. 2017): one number for calibration, fitted on held-out images, for every method alike."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from torch_gbp.metrics import classification_scores

COLDEST, WARMEST = 0.05, 20.0  # a classifier that is never wrong would be tempered to 0


def tempered(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Log-probabilities (n, classes) of p^(1 / T), normalised: for a softmax, its logits divided by T.

    >>> tempered(torch.tensor([[0.8, 0.2]]).log(), 2.0).exp()
    tensor([[0.6667, 0.3333]], dtype=torch.float64)
    """
    return torch.log_softmax(log_probabilities.double() / temperature, 1)


def fit_temperature(log_probabilities: Tensor, labels: Tensor) -> float:
    """argmin over T of the negative log-likelihood: convex in 1 / T, so it has one minimum along log T."""

    def nll(log_temperature: float) -> float:
        return float(F.nll_loss(tempered(log_probabilities, math.exp(log_temperature)), labels))

    found = minimize_scalar(nll, bounds=(math.log(COLDEST), math.log(WARMEST)), method="bounded")
    return math.exp(found.x)


def tempered_scores(log_probabilities: Tensor, labels: Tensor, temperature: float) -> dict[str, float]:
    """The scores that a temperature changes, at this temperature."""
    found = classification_scores(tempered(log_probabilities, temperature), labels)
    return {f"{name}_tempered": found[name] for name in ("nll", "ece")}
