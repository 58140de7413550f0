"""What can be wrong with blocks, labels and batches of block-local learning, each told before a block has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_kind, require_values
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods import Softmax
from torch_gbp.likelihoods.targets import check_labels
from torch_gbp.modules import evaluating
from torch_gbp.weights.parameter import GaussianParameter


def require_several(blocks: Sequence[nn.Module]) -> None:
    """Raises InvalidInput for fewer than two blocks, or blocks that are no modules."""
    require_kind("blocks", blocks, (list, tuple, nn.Sequential, nn.ModuleList), "BlockLocal", fix="pass a list of modules")
    for k, block in enumerate(blocks):
        require_kind(f"block {k}", block, nn.Module, "BlockLocal", fix="pass modules, e.g. of split_equally(network, 4)")
    if len(blocks) < 2:
        raise InvalidInput(
            "block-local learning needs two blocks or more",
            where="BlockLocal",
            got=f"{len(blocks)}",
            cause="a network that was not split",
            fix="use split_equally(network, 4) or split_at, or plain backpropagation for one block",
        )


def require_pure(blocks: Sequence[nn.Module]) -> None:
    """Raises InvalidInput for a block with GBP layers and plain weights.

    A message is no gradient (its sign is that of the log evidence): plain weights before GBP layers would learn nonsense.
    """
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
def boundaries(blocks: Sequence[nn.Module], example: Tensor, classes: int) -> list[Tensor]:
    """The outputs of all blocks but the last, of one example; nothing in the blocks changes.

    Raises:
        InvalidInput: a block that does not take what comes before it, an output without channels, fewer outputs
            than classes.
    """
    with evaluating(nn.ModuleList(blocks)):
        *inner, last = _run(blocks, example)
    require_outputs(last, classes)
    return inner


def _run(blocks: Sequence[nn.Module], x: Any) -> list[Any]:
    outputs: list[Any] = []
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


def require_outputs(output: Any, classes: int) -> None:
    """Raises InvalidInput for fewer outputs than classes."""
    if isinstance(output, (Tensor, Gaussian)) and output.ndim == 2 and output.shape[1] < classes:
        raise InvalidInput(
            "the last block must have an output for each class, at least",
            where="BlockLocal",
            got=f"{output.shape[1]} outputs, num_classes={classes}",
            fix="widen the last layer, or give its width as num_classes",
        )


def require_each(optimizers: int, blocks: int) -> None:
    """Raises InvalidInput for another number of optimizers than blocks."""
    if optimizers != blocks:
        raise InvalidInput(
            "one optimizer for each block is needed",
            where="BlockLocal",
            got=f"{optimizers} optimizers, {blocks} blocks",
            fix="make one for each entry of block_parameters()",
        )


def require_labels(y: Tensor, examples: int, classes: int) -> None:
    """Raises InvalidInput unless y holds a class, or class probabilities, for each example."""
    require_kind("labels", y, Tensor, "BlockLocal", fix="pass integers (n,)")
    fitting = torch.zeros(()).expand(examples, classes)  # the shape alone is looked at
    if y.is_floating_point() and y.ndim == 2:
        Softmax().check(Gaussian(fitting, fitting), y)
    else:
        check_labels(Gaussian(fitting, fitting), y, "BlockLocal")


def require_finite_input(x: Tensor) -> None:
    """Raises InvalidInput for NaN or Inf in a batch."""
    require_kind("the input", x, Tensor, "BlockLocal", fix="pass a batch as one tensor")
    if not x.ndim or not len(x):
        raise InvalidInput("the batch is empty", where="BlockLocal", got=f"shape {tuple(x.shape)}", fix="skip empty batches")
    require_values(x, "BlockLocal")
    bad = ~x.isfinite()
    if bool(bad.any()):
        raise InvalidInput(
            f"{int(bad.sum())} of {x.numel()} input values are NaN or Inf",
            where="BlockLocal",
            cause="missing values, or a feature with zero spread that was standardised",
            fix="impute or drop them before the network",
        )


def require_finite(loss: Tensor, k: int) -> None:
    """Raises InvalidInput for a local loss that is NaN or Inf."""
    if not bool(loss.isfinite()):
        raise InvalidInput(
            f"the local loss of block {k} is {loss.item()}",
            where="BlockLocal",
            cause="a learning rate that is too large",
            fix="go back to a checkpoint, lower the rate of that block",
        )
