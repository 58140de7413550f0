"""What the axes of a module's parameter are: which weights share a precision, how many an output adds up."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

_STACKED = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1, nn.LSTMCell: 4, nn.GRUCell: 3, nn.RNNCell: 1}


class Sharing(NamedTuple):
    """Which weights of a parameter share a precision: those that differ along `axes` alone, within each of the blocks of axis 0.

    With several blocks (stacked projections, groups of a convolution) the precision is stored for each weight. The row `constant`
    of axis 0 is none that is learnt: the padding of an embedding, which has no variance.
    """

    axes: tuple[int, ...] = ()
    blocks: int = 1
    constant: int | None = None

    def stored(self, shape: torch.Size) -> tuple[int, ...]:
        """Shape of the precision."""
        if self.blocks > 1:
            return tuple(shape)
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(shape))

    def average(self, values: Tensor) -> Tensor:
        """Means over the weights that share a precision, as the precision is stored.

        >>> Sharing((0,), blocks=2).average(torch.tensor([[1.0], [3.0], [5.0], [5.0]])).flatten()
        tensor([2., 2., 5., 5.])
        """
        if not self.axes:
            return values
        if self.blocks == 1:
            return values.mean(self.axes, keepdim=True)
        split = values.unflatten(0, (self.blocks, -1))
        return split.mean([axis + 1 for axis in self.axes], keepdim=True).expand_as(split).flatten(0, 1)


def sharing_of(module: nn.Module, name: str, parameter: Tensor) -> Sharing:
    """Weights that read one input share a precision; where nobody knows what an axis is, every weight has its own.

    >>> sharing_of(nn.MultiheadAttention(4, 1), "in_proj_weight", torch.zeros(12, 4))
    Sharing(axes=(0,), blocks=3, constant=None)
    """
    kernel = tuple(range(2, parameter.ndim))
    if isinstance(module, _ConvTransposeNd):
        return Sharing((1, *kernel))
    if isinstance(module, _ConvNd):
        return Sharing((0, *kernel), module.groups)
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return Sharing((1,), constant=module.padding_idx)
    if isinstance(module, nn.MultiheadAttention):
        return Sharing((0,), 3 if name == "in_proj_weight" else 1)
    stacked = next((parts for kind, parts in _STACKED.items() if isinstance(module, kind)), None)
    if stacked is not None and parameter.ndim == 2:
        return Sharing((0,), 1 if "_hr_" in name else stacked)
    return Sharing((0,)) if isinstance(module, nn.Linear) and parameter.ndim == 2 else Sharing()


def fans(module: nn.Module, name: str, parameter: Tensor) -> tuple[int, int]:
    """Fan-in and fan-out of a weight, as the prior's formula takes them: weights that are summed up, sums that read one input.

    Where an output has many positions the fan-out is taken to be the fan-in. A row of an embedding is read alone: 1.

    >>> fans(nn.Conv2d(4, 8, 3), "weight", torch.zeros(8, 4, 3, 3)), fans(nn.Linear(9, 3), "weight", torch.zeros(3, 9))
    ((36, 36), (9, 3))
    """
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or parameter.ndim < 2:
        return 1, 1
    if isinstance(module, _ConvTransposeNd):
        steps = zip(module.kernel_size, module.stride, strict=True)
        summed = module.in_channels // module.groups * math.prod(-(-size // step) for size, step in steps)
        return summed, summed
    summed = parameter[0].numel()
    if isinstance(module, _ConvNd) or parameter.ndim > 2:
        return summed, summed
    return summed, len(parameter) // sharing_of(module, name, parameter).blocks
