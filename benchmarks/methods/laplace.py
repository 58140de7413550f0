"""AdamW, then a Gaussian around its last layer (Daxberger et al. 2021, package laplace-torch)."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.methods.base import Entrant, Training
from benchmarks.methods.gradient import AdamW
from benchmarks.methods.packages import rival

FIT_BATCH = 500


class Laplace(AdamW):
    """Kronecker-factored curvature, prior precision by the marginal likelihood, probit prediction."""

    def __init__(self, training: Training, *, lr: float, weight_decay: float) -> None:
        super().__init__(training, lr=lr, weight_decay=weight_decay)
        self._data = TensorDataset(training.x, training.y)

    def finish(self) -> None:
        fitted = rival("laplace").Laplace(
            self.network, "classification", subset_of_weights="last_layer", hessian_structure="kron"
        )
        fitted.fit(DataLoader(self._data, batch_size=FIT_BATCH))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it advises to say what the next line says
            fitted.optimize_prior_precision(method="marglik", pred_type="glm", link_approx="probit")
        self._posterior = fitted

    def log_probabilities(self, x: Tensor) -> Tensor:
        probabilities = self._posterior(x, pred_type="glm", link_approx="probit")
        return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


LAST_LAYER = Entrant("last-layer Laplace", Laplace, {"lr": 1e-3, "weight_decay": 0.01}, borrows="adamw", package="laplace")
