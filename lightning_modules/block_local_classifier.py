"""BlockLocalClassifier: a network in blocks, each trained on its own loss, under Lightning's manual optimisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_modules.classifier_evaluation import ClassifierEvaluation
from lightning_modules.training_checks import count_seen
from torch_gbp import Gaussian, Likelihood, MessagePassing
from torch_gbp.errors import InvalidInput
from torch_gbp.local import BlockLocal
from torch_gbp.optim.schedule import warmup_cosine
from torch_gbp.weights.parameter import GaussianParameter

BETAS, WARMUP = (0.9, 0.98), 0.25


class BlockLocalClassifier(ClassifierEvaluation):
    """Trains the blocks of a `BlockLocal`, each by AdamW with warm-up and cosine; a GBP block by message passing.

    Logs `train/block0`, `train/block1`, ...: the loss of each block, and `train/loss`, that of the last (also in the progress
    bar). A batch is one step of the trainer, whatever the number of blocks.

    Args:
        model: the blocks, e.g. `lightning_modules.networks.BlockResNet()`.
        lr: peak rate of AdamW.
        weight_decay: of AdamW.
        num_data: number of training examples, for blocks of GBP layers; None counts those behind the training loader.

    Raises:
        InvalidInput: precision 16-mixed, whose loss scale is made for one loss; use bf16-mixed.

    >>> from torch import nn
    >>> blocks = BlockLocal([nn.Linear(4, 8), nn.Linear(8, 3)], 3, torch.zeros(2, 4))
    >>> BlockLocalClassifier(blocks).log_probabilities(torch.ones(2, 4)).exp().sum(1).round(decimals=4)
    tensor([1., 1.], grad_fn=<RoundBackward1>)
    """

    settings = ("lr", "weight_decay", "num_data")

    def __init__(self, model: BlockLocal, lr: float = 5e-3, weight_decay: float = 0.05, num_data: int | None = None) -> None:
        super().__init__()
        self.model, self.lr, self.weight_decay, self.num_data = model, lr, weight_decay, num_data
        self.automatic_optimization = False

    def forward(self, x: Any) -> Any:
        """Logits, or their belief after GBP layers."""
        return self.model(x)

    def log_probabilities(self, x: Tensor) -> Tensor:
        output = self.model(x)
        if isinstance(output, Gaussian):
            assert isinstance(self.model.end_loss, Likelihood)
            return self.model.end_loss.predictive(output).logits  # type: ignore[attr-defined]
        return torch.log_softmax(output, 1)

    def configure_optimizers(self) -> Any:
        if self.trainer.precision == "16-mixed":
            raise InvalidInput(
                "16-mixed scales one loss, and here every block has its own",
                where="BlockLocalClassifier",
                got="precision=16-mixed",
                fix="use precision='bf16-mixed' or '32-true'",
            )
        steps = int(self.trainer.estimated_stepping_batches)
        optimizers = [self._optimizer(k) for k in range(len(self.model.blocks))]
        cycled = [each for each in optimizers if isinstance(each, AdamW)]
        return optimizers, [LambdaLR(each, lambda step: rate(step, steps)) for each in cycled]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """A step of every block, first to last."""
        x, y = batch[0], batch[1]
        # Lightning counts the steps of its own wrappers; that of the first block stands for all.
        optimizers = [self.optimizers()[0], *self.optimizers(use_pl_optimizer=False)[1:]]  # type: ignore[index]
        steps = self.model.step(x, y, optimizers, self.manual_backward)
        schedulers = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            scheduler.step()  # type: ignore[union-attr,call-arg]
        losses = {f"train/block{k}": torch.stack([*step.terms.values()]).sum() for k, step in enumerate(steps)}
        self.log_dict(losses, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(y))
        self.log("train/loss", losses[f"train/block{len(steps) - 1}"], on_step=True, on_epoch=True, batch_size=len(y))

    def _optimizer(self, k: int) -> Optimizer:
        """Message passing for a block of GBP layers, AdamW for the others."""
        if not any(isinstance(module, GaussianParameter) for module in self.model.blocks[k].modules()):
            return AdamW(self.model.block_parameters()[k], self.lr, BETAS, weight_decay=self.weight_decay)
        self.trainer.fit_loop.setup_data()  # makes the training loader known
        epochs = int(self.trainer.estimated_stepping_batches) / self.trainer.num_training_batches
        num_data = count_seen(self.trainer) if self.num_data is None else self.num_data
        return MessagePassing(self.model.blocks[k].named_parameters(), num_data, epochs=epochs)


def rate(step: int, steps: int) -> float:
    """Share of AdamW's peak rate in a step, counted from 0.

    >>> [round(rate(step, 8), 2) for step in range(8)]
    [0.5, 0.96, 0.85, 0.69, 0.5, 0.31, 0.15, 0.04]
    """
    return warmup_cosine(step / steps, (step + 1) / steps, WARMUP, final=0.0)
