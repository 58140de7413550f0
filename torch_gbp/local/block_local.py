"""BlockLocal: a network in blocks, each trained on its own loss; no gradient crosses a boundary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods import Softmax
from torch_gbp.likelihoods.base import check_labels
from torch_gbp.local.losses import LocalLoss
from torch_gbp.local.recipes import variational
from torch_gbp.parameter import GaussianParameter

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
        _require_several(blocks)
        _require_pure(blocks)
        self.num_classes, self.end_loss = num_classes, end_loss
        self.blocks = nn.ModuleList(blocks)
        for k, output in enumerate(_boundaries(blocks, example)):
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
            return BlockStep(output, {"end": self.end_loss(output, y)})
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
        _require_finite(loss, k)
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
        if optimizers not in (None, len(self.blocks)):
            raise InvalidInput(
                "one optimizer for each block is needed",
                where="BlockLocal",
                got=f"{optimizers} optimizers, {len(self.blocks)} blocks",
                fix="make one for each entry of block_parameters()",
            )
        _require_finite_input(x)
        fitting = torch.zeros(()).expand(len(x), self.num_classes)  # the shape alone is looked at
        if y.is_floating_point() and y.ndim == 2:
            Softmax().check(Gaussian(fitting, fitting), y)
        else:
            check_labels(Gaussian(fitting, fitting), y, "BlockLocal")


def _require_several(blocks: Sequence[nn.Module]) -> None:
    if len(blocks) < 2:
        raise InvalidInput(
            "block-local learning needs two blocks or more",
            where="BlockLocal",
            got=f"{len(blocks)}",
            cause="a network that was not split",
            fix="use split_equally(network, 4) or split_at, or plain backpropagation for one block",
        )


def _require_pure(blocks: Sequence[nn.Module]) -> None:
    """A message is no gradient (its sign is that of the log evidence): plain weights before GBP layers would learn nonsense."""
    for k, block in enumerate(blocks):
        beliefs = [own for module in block.modules() if isinstance(module, GaussianParameter) for own in module.parameters()]
        others = len(list(block.parameters())) - len(beliefs)
        if beliefs and others:
            raise InvalidInput(
                f"block {k} has GBP layers and plain weights",
                where="BlockLocal",
                got=f"{others} plain of {others + len(beliefs)} parameters",
                cause="a boundary that is not just before the first GBP layer",
                fix="put all GBP layers, and nothing else with weights, into the last block",
            )


@torch.no_grad()
def _boundaries(blocks: Sequence[nn.Module], example: Tensor) -> list[Tensor]:
    """The outputs of all blocks but the last, of one example; nothing in the blocks changes."""
    modes = [(module, module.training) for block in blocks for module in block.modules()]
    try:
        return _run(blocks, example)
    finally:
        for module, mode in modes:
            module.training = mode


def _run(blocks: Sequence[nn.Module], x: Any) -> list[Tensor]:
    outputs: list[Tensor] = []
    for k, block in enumerate(blocks):
        before = tuple(x.shape)
        try:
            x = block.eval()(x)
        except (RuntimeError, ValueError) as error:
            raise InvalidInput(
                f"block {k} does not take what comes before it",
                where="BlockLocal",
                got=f"{'input' if k == 0 else f'output of block {k - 1}'} of shape {before}: {error}",
                cause="blocks in another order, or a missing nn.Flatten",
                fix="let each block take the shape that the block before it gives",
            ) from error
        if k < len(blocks) - 1:
            _require_channels(x, k)
            outputs.append(x[:1])
    return outputs


def _require_channels(x: Any, k: int) -> None:
    if not isinstance(x, Tensor) or x.ndim < 2:
        raise InvalidInput(
            f"the output of block {k} has no channels",
            where="BlockLocal",
            got=f"{type(x).__name__} of shape {tuple(x.shape)}",
            cause="a boundary after a layer that returns one value per example, or after GBP layers",
            fix="put the boundary where activations are (n, channels, ...), GBP layers into the last block",
        )


def _require_finite_input(x: Tensor) -> None:
    bad = ~x.isfinite()
    if bool(bad.any()):
        raise InvalidInput(
            f"{int(bad.sum())} of {x.numel()} input values are NaN or Inf",
            where="BlockLocal",
            cause="missing values, or a feature with zero spread that was standardised",
            fix="impute or drop them before the network",
        )


def _require_finite(loss: Tensor, k: int) -> None:
    if not bool(loss.isfinite()):
        raise InvalidInput(
            f"the local loss of block {k} is {loss.item()}",
            where="BlockLocal",
            cause="a learning rate that is too large",
            fix="go back to a checkpoint, lower the rate of that block",
        )
