"""The demo's rivals: AdamW as most people run it, and AdamW with all that is free: a warm end, an average, a temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lightning_modules.baseline import AdamWClassifier
from torch_gbp import Softmax, calibrate

FINAL, TAIL = 0.4, 0.125  # as torch_gbp has built in: share of the peak rate at the end, of the steps that are averaged over


class TunedAdamW(AdamWClassifier):
    """AdamW whose rate ends warm, with an average of its last weights, and a temperature fitted to held-out examples.

    Args:
        model, lr, weight_decay: as in `AdamWClassifier`.
    """

    def __init__(self, model: nn.Module, lr: float = 1e-3, weight_decay: float = 1e-2) -> None:
        super().__init__(model, lr, weight_decay)
        self.average = AveragedModel(model, multi_avg_fn=_towards)  # type: ignore[arg-type]
        self.likelihood = Softmax()

    def log_probabilities(self, x: Tensor) -> Tensor:
        logits = self.model(x)
        return torch.log_softmax(logits if self.likelihood.temperature is None else logits / self.likelihood.temperature, 1)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.model.parameters(), self.lr, weight_decay=self.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=FINAL * self.lr)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.average.update_parameters(self.model)

    def on_train_end(self) -> None:
        """The average predicts, at the temperature that the held-out examples favour."""
        self.model.load_state_dict(self.average.module.state_dict())
        calibrate(self.model, self.likelihood, self.trainer.datamodule.val_dataloader()[0], how="means")  # type: ignore[attr-defined]


def _towards(averages: Sequence[Tensor], weights: Sequence[Tensor], steps: Tensor | int) -> None:
    """A <- A + (w - A) min(1, 1 / (tail t)) at step t."""
    share = min(1.0, 1 / (TAIL * (int(steps) + 1)))
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, share)
