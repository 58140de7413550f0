"""A Gaussian over the last layer alone: Laplace around AdamW's, and the variational one that is trained with its trunk."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.methods.base import Entrant, Method, Training, grid, rival
from benchmarks.methods.gradient import AdamW, warm_cosine

FIT_BATCH = 500


class Laplace(AdamW):
    """AdamW, then a Gaussian around its last layer (Daxberger et al. 2021, package laplace-torch).

    Kronecker-factored curvature, probit prediction.

    Args:
        prior_precision: of every weight; None takes the one with the largest marginal likelihood of the training images.
        settings: as `AdamW`.
    """

    def __init__(self, training: Training, *, prior_precision: float | None = None, **settings: float) -> None:
        super().__init__(training, **settings)
        self.prior_precision = prior_precision

    def finish(self) -> None:
        options = {"subset_of_weights": "last_layer", "hessian_structure": "kron"}
        fitted = rival("laplace").Laplace(self.network, "classification", **options)
        fitted.fit(DataLoader(TensorDataset(self.training.x, self.training.y), batch_size=FIT_BATCH))
        if self.prior_precision is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it advises to say what the next line says
                fitted.optimize_prior_precision(method="marglik", pred_type="glm", link_approx="probit")
        else:
            fitted.prior_precision = self.prior_precision
        self._posterior = fitted

    def log_probabilities(self, x: Tensor) -> Tensor:
        return logs_of(self._posterior(x, pred_type="glm", link_approx="probit"))


class VBLL(Method):
    """A last layer with a Gaussian of full covariance for every class, trained with its trunk (package vbll); a cosine.

    AdamW on the evidence bound in closed form (Jensen's), gradients clipped; weight decay for the trunk alone; 20 draws of the
    logits to predict, as the package does it.

    Args:
        lr: peak learning rate.
        weight_decay: of the trunk.
        prior_scale: times 2 / (inputs of the layer), the prior variance of its weights.

    Source: Harrison, Willes and Snoek 2024, "Variational Bayesian last layers".
    """

    def __init__(self, training: Training, *, lr: float, weight_decay: float, prior_scale: float) -> None:
        self.network, last = training.network, last_linear(training.network)
        layer = rival("vbll").DiscClassification(
            last.in_features, last.out_features, 1 / len(training.x), prior_scale=prior_scale, wishart_scale=1.0
        )
        trunk = [p for name, p in self.network.named_parameters() if not any(p is own for own in last.parameters())]
        replace(self.network, last, layer)
        head = [p for p in layer.parameters() if p.requires_grad]
        groups = [{"params": trunk, "weight_decay": weight_decay}, {"params": head, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=lr)
        self.schedule = warm_cosine(self.optimizer, training.steps, 0.0, 0.0)

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        self.network(x).train_loss_fn(y).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)  # as in the authors' examples
        self.optimizer.step()
        self.schedule.step()

    def log_probabilities(self, x: Tensor) -> Tensor:
        return logs_of(self.network(x).predictive.probs)


def logs_of(probabilities: Tensor) -> Tensor:
    """Their logarithms; a probability that a package rounded to 0 is the smallest number."""
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def last_linear(network: nn.Module) -> nn.Linear:
    """The linear layer that stands last in the network.

    Raises:
        SystemExit: there is none.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise SystemExit(f"a {type(network).__name__} has no linear layer: a Gaussian over the last one needs it")
    return layers[-1]


def replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Puts a module in another's place; the network itself cannot be replaced."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child is old:
                setattr(parent, name, new)


_ADAMW: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.01}
_PRECISIONS = (0.01, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
_VBLL_GRID = grid(lr=(5e-4, 1e-3, 2e-3, 4e-3), weight_decay=(0.01,), prior_scale=(1.0, 10.0))
LAST_LAYER = Entrant("last-layer Laplace", Laplace, _ADAMW, borrows="adamw", package="laplace")
LAST_LAYER_HELD_OUT = Entrant(
    "last-layer Laplace, prior by held-out NLL",
    Laplace,
    _ADAMW | {"prior_precision": 1.0},
    grid(prior_precision=_PRECISIONS),
    borrows="adamw",
    package="laplace",
)
VARIATIONAL_LAST = Entrant("VBLL last layer", VBLL, _ADAMW | {"prior_scale": 1.0}, _VBLL_GRID, package="vbll")
