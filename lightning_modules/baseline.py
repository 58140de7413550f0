"""AdamWClassifier: the plain network that message passing is compared with."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.classifier_evaluation import ClassifierEvaluation
from torch_gbp.errors import InvalidInput
from torch_gbp.weights.parameter import GaussianParameter


class AdamWClassifier(ClassifierEvaluation):
    """A plain torch classifier: cross entropy, AdamW, learning rate on a cosine to 0 over all steps.

    Args:
        model: plain torch network with one output (logit) per class.
        lr: learning rate at the start.
        weight_decay: decoupled weight decay of AdamW.

    Raises:
        InvalidInput: a network with GBP layers.
    """

    settings = ("lr", "weight_decay")

    def __init__(self, model: nn.Module, lr: float = 1e-3, weight_decay: float = 1e-2) -> None:
        super().__init__()
        if any(isinstance(module, GaussianParameter) for module in model.modules()):
            raise InvalidInput(
                "GBP layers are trained by message passing, not by AdamW",
                where="AdamWClassifier",
                got=type(model).__name__,
                fix="use GBPClassifier, or a plain torch network (gbp=False)",
            )
        self.model, self.lr, self.weight_decay = model, lr, weight_decay

    def forward(self, x: Any) -> Tensor:
        """Logits."""
        return self.model(x)

    def log_probabilities(self, x: Tensor) -> Tensor:
        return torch.log_softmax(self.model(x), 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Mean cross entropy of the batch."""
        x, y = batch[0], batch[1]
        loss = F.cross_entropy(self.model(x), y)
        self.log("train/loss", loss.detach(), prog_bar=True, on_step=True, on_epoch=True, batch_size=len(y), sync_dist=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.model.parameters(), self.lr, weight_decay=self.weight_decay)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
