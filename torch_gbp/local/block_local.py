"""BlockLocal: a network in blocks, each trained on its own loss; no gradient crosses a boundary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_gbp.errors.checks import require_callable, require_count
from torch_gbp.local.checks import (
    boundaries,
    require_each,
    require_finite,
    require_finite_input,
    require_labels,
    require_pure,
    require_several,
)
from torch_gbp.local.losses import LocalLoss
from torch_gbp.local.recipes import variational

Backward = Callable[[Tensor], Any]


class BlockStep(NamedTuple):
    """What one block made of a batch: its output, and the terms of its loss by name, weighted; `step` detaches both."""

    output: Any
    terms: dict[str, Tensor]


class BlockLocal(nn.Module):
    """Blocks run one after the other; block k learns from its own loss alone, through inputs that carry no gradient.

    Every block but the last has a local loss at its output (`local/losses.py`); the last has the network's own.
    Called like a network, it gives the last block's output.

    Args:
        blocks: two or more modules in their order; they are trained in place.
        num_classes: number of classes.
        example: a small batch of inputs, for the shapes at the boundaries.
        local_loss: from the boundary's shape without the batch, and the number of classes, to its `LocalLoss`.
        end_loss: of the last output and the labels as given, e.g. `torch_gbp.Softmax()` after GBP layers.

    Shape: input as the first block takes it; labels (n,) integers, or class probabilities (n, classes).

    Raises:
        InvalidInput: fewer than two blocks, shapes that do not chain, a boundary without channels, GBP layers beside plain
            weights in one block, labels out of range.

    >>> blocks = [nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 3)]
    >>> network = BlockLocal(blocks, 3, torch.zeros(2, 4))
    >>> optimizers = [torch.optim.SGD(parameters, 0.1) for parameters in network.block_parameters()]
    >>> steps = network.step(torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]), optimizers)
    >>> [sorted(step.terms) for step in steps], network(torch.zeros(1, 4)).shape
    ([['feedback', 'prediction'], ['end']], torch.Size([1, 3]))
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        num_classes: int,
        example: Tensor,
        *,
        local_loss: Callable[[tuple[int, ...], int], LocalLoss] = variational,
        end_loss: Callable[[Any, Tensor], Tensor] = F.cross_entropy,
    ) -> None:
        super().__init__()
        require_several(blocks)
        require_pure(blocks)
        self.num_classes, self.end_loss = require_count("num_classes", num_classes, "BlockLocal", fix="use 10"), end_loss
        require_callable("local_loss", local_loss, "BlockLocal", fix="use variational")
        require_callable("end_loss", end_loss, "BlockLocal", fix="use torch.nn.functional.cross_entropy")
        require_finite_input(example)
        self.blocks = nn.ModuleList(blocks)
        for k, output in enumerate(boundaries(blocks, example, self.num_classes)):
            self.register_buffer(f"output{k}", output, persistent=False)  # a buffer goes along to other devices and dtypes
        self.losses = nn.ModuleList(local_loss(tuple(out.shape[1:]), num_classes).to(out) for out in self.outputs)

    @property
    def outputs(self) -> list[Tensor]:
        """What each block but the last made of the first example, (1, channels, ...): shape, dtype and device of its boundary."""
        return [self.get_buffer(f"output{k}") for k in range(len(self.blocks) - 1)]

    def forward(self, x: Any) -> Any:
        """The last block's output."""
        for block in self.blocks:
            x = block(x)
        return x

    def block_parameters(self) -> list[list[nn.Parameter]]:
        """What each block learns: its own parameters and those of its local loss (heads, feedback by gradient)."""
        local = [list(loss.parameters()) for loss in self.losses]
        return [[*block.parameters(), *own] for block, own in zip(self.blocks, [*local, []], strict=True)]

    def local_terms(self, k: int, x: Any, y: Tensor) -> BlockStep:
        """Block k's output, with its graph, and the terms of its loss; the input is cut off from what made it."""
        output = self.blocks[k](x.detach())
        if k == len(self.blocks) - 1:
            return BlockStep(output, {"end": self.end_loss(output, y if y.is_floating_point() else y.long())})
        return BlockStep(output, self.losses[k](output, self.probabilities(y, output)))

    def learn(self, k: int, terms: dict[str, Tensor], optimizer: Any, backward: Backward = Tensor.backward) -> dict[str, Tensor]:
        """Backward and step of block k, from its `local_terms`; gives the terms, detached.

        Args:
            k: number of the block, from 0.
            terms: of its loss, with their graph.
            optimizer: over `block_parameters()[k]`.
            backward: in place of `loss.backward()`, e.g. Lightning's `manual_backward`.

        Raises:
            InvalidInput: the loss is not finite; the block's weights are as before.
        """
        loss = torch.stack([*terms.values()]).sum()
        require_finite(loss, k)
        optimizer.zero_grad()
        backward(loss)
        optimizer.step()
        return {name: term.detach() for name, term in terms.items()}

    def step(self, x: Any, y: Tensor, optimizers: Sequence[Any], backward: Backward = Tensor.backward) -> list[BlockStep]:
        """Trains every block on one batch, first to last; a block's graph is freed before the next one's is made.

        Each output is the one from before its block's step.

        Raises:
            InvalidInput: another number of optimizers than blocks, NaN or Inf, labels out of range (nothing has changed); a
                loss that is not finite (no weights of that block and of later ones have changed).
        """
        self.check(x, y, len(optimizers))
        steps: list[BlockStep] = []
        for k, optimizer in enumerate(optimizers):
            output, terms = self.local_terms(k, x, y)
            x = output.detach()
            steps.append(BlockStep(x, self.learn(k, terms, optimizer, backward)))
        return steps

    def probabilities(self, y: Tensor, like: Tensor) -> Tensor:
        """Labels as class probabilities (n, classes): one-hot, or smoothed ones as they are; never in half precision."""
        rows = y if y.is_floating_point() else F.one_hot(y.long(), self.num_classes)
        return rows.to(like.device, torch.promote_types(like.dtype, torch.float32))

    def check(self, x: Tensor, y: Tensor, optimizers: int | None = None) -> None:
        """Raises InvalidInput for NaN or Inf, labels that are no classes of the inputs, or a wrong number of optimizers."""
        if optimizers is not None:
            require_each(optimizers, len(self.blocks))
        require_finite_input(x)
        require_labels(y, len(x), self.num_classes)
