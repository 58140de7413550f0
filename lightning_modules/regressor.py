"""GBPRegressor: regression by message passing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.classifier_evaluation import Collected
from lightning_modules.gbp_module import GBPModule
from torch_gbp import Likelihood, Predictive, Regression
from torch_gbp.batches import first_of
from torch_gbp.evaluation import Outcome, score
from torch_gbp.metrics import regression_scores
from torch_gbp.optim.configure import Plain
from torch_gbp.optim.stores import Store


class GBPRegressor(GBPModule):
    """Regression with Gaussian weights; predicts mean and variance in the targets' own units.

    Standardised targets are led back by `target_mean` and `target_std`, buffers that are filled from the data
    module and saved with the weights. Validation and test log `rmse` and `log_likelihood` in original units;
    the test those of `torch_gbp.evaluate` beside them, of Gaussians (`test/reg/CRPS`, `test/cal/QCE`, `test/cal/Cov_90`).
    With several loaders each has its own: `val/rmse/dataloader_idx_1`.

    Args:
        model: network of GBP layers with one output per target.
        likelihood: None takes `Regression()`, which learns the noise and standardises the targets; the variance of
            `Regression(noise_variance)` is in standardised units if the data are.
        lr, epochs, num_data, warmup, store, plain, sweep: as in `GBPModule`.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        model: nn.Module,
        likelihood: Likelihood | None = None,
        lr: float | None = None,
        epochs: float | None = None,
        num_data: int | None = None,
        warmup: float = 0.2,
        store: Store | None = None,
        plain: Plain | None = None,
        sweep: str | None = None,
    ) -> None:
        likelihood = Regression() if likelihood is None else likelihood
        super().__init__(model, likelihood, lr, epochs, num_data, warmup, store, plain, sweep)
        self.register_buffer("target_mean", torch.zeros(1))
        self.register_buffer("target_std", torch.ones(1))

    def setup(self, stage: str) -> None:
        """Takes the targets' units from the data module, if it standardises them."""
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        for name in ("target_mean", "target_std"):
            if hasattr(data, name):
                setattr(self, name, getattr(data, name).to(getattr(self, name)))

    def on_validation_epoch_start(self) -> None:
        self._predictions = Collected()

    def on_test_epoch_start(self) -> None:
        self._predictions = Collected()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._predict(batch, dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._predict(batch, dataloader_idx)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Predictive mean and variance (noise included) of the targets, each as the targets are shaped."""
        x = first_of(batch)
        mean, variance = self.predictive_moments(x)
        return {"mean": mean, "variance": variance}

    def predictive_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the targets in their own units."""
        return self._moments(self.predict(x))

    def predictions(self, x: Tensor) -> dict[str, Tensor]:
        """Mean and standard deviation of the targets, and the parts of it that weights and noise make, in their units."""
        found = self.predict(x)
        mean, variance = self._moments(found)
        parts = {"std": variance}
        parts |= {f"{name}_std": getattr(found, name) * self.target_std.square() for name in ("epistemic", "aleatoric")}
        return {"mean": mean} | {name: part.sqrt() for name, part in parts.items()}

    def _moments(self, found: Predictive) -> tuple[Tensor, Tensor]:
        predictive = found.distribution
        return predictive.mean * self.target_std + self.target_mean, predictive.variance * self.target_std.square()

    def on_validation_epoch_end(self) -> None:
        for loader, suffix in self._predictions.loaders().items():
            scores = regression_scores(*self._predictions.of(loader, self))
            named = {f"val/{name}{suffix}": value for name, value in scores.items()}
            self.log_dict(named, prog_bar=True, add_dataloader_idx=False)

    def on_test_epoch_end(self) -> None:
        for loader, suffix in self._predictions.loaders().items():
            mean, variance, target = self._predictions.of(loader, self)
            outcome = Outcome(type(self).__name__, target, mean=mean, std=variance.double().sqrt())
            further = {name: one.value for name, one in score(outcome, resamples=0).items()}
            scores = regression_scores(mean, variance, target) | further
            self.log_dict({f"test/{name}{suffix}": value for name, value in scores.items()}, add_dataloader_idx=False)

    def _predict(self, batch: Any, loader: int) -> None:
        x, y = self.pair_of(batch)
        found = self.predict(x)
        self.likelihood.check(found.belief, y)
        mean, variance = self._moments(found)
        self._predictions.add(loader, mean, variance, y * self.target_std + self.target_mean)
