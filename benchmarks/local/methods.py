"""The methods of the benchmark `local`: one network in one recipe, only the way of giving credit differs.

All take the same steps: AdamW, its rate rising over a quarter of the steps and falling on a cosine, an optimizer for each block.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.local.feedback_alignment import feedback_aligned
from benchmarks.methods import Method, Training
from lightning_modules.block_local_classifier import BETAS, WARMUP, rate
from torch_gbp.local import BlockLocal, heads_only, similarity_matching, split_equally, variational

RATE, WEIGHT_DECAY = 0.005, 0.05  # the rate: where none was searched
RATES = (0.001, 0.003, 0.01)  # of the search, for every method
BLOCKS, CLASSES = 4, 10
RECIPE = {
    "optimizer": "AdamW, warm-up and cosine",
    "weight_decay": WEIGHT_DECAY,
    "betas": BETAS,
    "warmup": WARMUP,
    "blocks": BLOCKS,
}


class Recipe(Method):
    """What all methods share: images in the layout that convolutions are fastest in, optimizers and their rates."""

    def __init__(self, network: nn.Module, groups: list[list[nn.Parameter]], steps: int, lr: float) -> None:
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = [torch.optim.AdamW(group, lr, BETAS, weight_decay=WEIGHT_DECAY) for group in groups]
        self.schedules = [LambdaLR(each, lambda step: rate(step, steps)) for each in self.optimizers]

    def step(self, x: Tensor, y: Tensor) -> None:
        self.learn(self.laid_out(x), y)
        for schedule in self.schedules:
            schedule.step()

    def learn(self, x: Tensor, y: Tensor) -> None:
        """Gradients and steps of the optimizers."""
        raise NotImplementedError

    def log_probabilities(self, x: Tensor) -> Tensor:
        return torch.log_softmax(self.network(self.laid_out(x)), 1)

    def laid_out(self, x: Tensor) -> Tensor:
        """Images with their channels innermost."""
        return x.contiguous(memory_format=torch.channels_last)


class Backprop(Recipe):
    """One loss at the end, for all layers."""

    def __init__(self, training: Training, *, aligned: bool = False, lr: float = RATE) -> None:
        network = feedback_aligned(training.network) if aligned else training.network
        super().__init__(network, [list(network.parameters())], training.steps, lr)

    def learn(self, x: Tensor, y: Tensor) -> None:
        self.optimizers[0].zero_grad()
        F.cross_entropy(self.network(x), y).backward()
        self.optimizers[0].step()


class Local(Recipe):
    """A loss for each of `blocks` blocks of equally many stages."""

    network: BlockLocal

    def __init__(self, training: Training, *, local_loss: Callable[..., Any], blocks: int = BLOCKS, lr: float = RATE) -> None:
        assert isinstance(training.network, nn.Sequential)
        parts = split_equally(training.network, blocks)
        network = BlockLocal(parts, CLASSES, training.x[:2], local_loss=local_loss)
        super().__init__(network, network.block_parameters(), training.steps, lr)

    def learn(self, x: Tensor, y: Tensor) -> None:
        self.network.step(x, y, self.optimizers)


METHODS: dict[str, Callable[..., Recipe]] = {
    "block_local": partial(Local, local_loss=variational),
    "backprop": Backprop,
    "feedback_alignment": partial(Backprop, aligned=True),
    "similarity_matching": partial(Local, local_loss=similarity_matching),
    "heads_only": partial(Local, local_loss=heads_only),
}
TITLES = {
    "block_local": "**block-local**",
    "backprop": "backpropagation",
    "feedback_alignment": "feedback alignment",
    "similarity_matching": "similarity matching",
    "heads_only": "heads only",
}
