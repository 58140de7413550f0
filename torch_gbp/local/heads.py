"""Local prediction heads: small networks that read the label from the activations at a block boundary.

A head is thrown away after training. The heads of the released code of block-local learning get no gradient and stay at
their random weights; these are trained together with their block, by the block's own optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from torch_gbp.errors.checks import require_count
from torch_gbp.local.losses import require_shape

Shape = Sequence[int]  # of one example's activations: (channels,) or (channels, height, width)
COARSE = 4  # side of the image, in pixels, down to which `conv_head` halves it


def linear_head(shape: Shape, classes: int, grid: int = 2) -> nn.Sequential:
    """Averages over the cells of a grid, then one linear layer.

    Args:
        shape: of the boundary without the batch, (channels,) or (channels, height, width).
        classes: number of outputs.
        grid: cells along a side of the image, at most its pixels.

    >>> list(linear_head((16, 8, 8), 10))[-1]
    Linear(in_features=64, out_features=10, bias=True)
    """
    shape, classes = require_shape(shape, "linear_head"), require_count("classes", classes, "linear_head", fix="use 10")
    grid = require_count("grid", grid, "linear_head", fix="use 2")
    if len(shape) != 3:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
    cells = min(grid, shape[1]), min(grid, shape[2])
    return nn.Sequential(nn.AdaptiveAvgPool2d(cells), nn.Flatten(), nn.Linear(shape[0] * math.prod(cells), classes))


def fine_head(shape: Shape, classes: int, widest: int = 4096) -> nn.Sequential:
    """A linear layer on as fine a grid as gives `widest` numbers at most, the head of Nokland & Eidnes 2019.

    >>> fine_head((16, 32, 32), 10)[-1].in_features
    4096
    """
    shape = require_shape(shape, "fine_head")
    widest = require_count("widest", widest, "fine_head", fix="use 4096")
    return linear_head(shape, classes, math.isqrt(max(1, widest // shape[0])))


def conv_head(shape: Shape, classes: int, widest: int = 256, first: int = 8) -> nn.Sequential:
    """What the rest of a network does, in few wide layers: convolutions that halve the image and double channels, then linear.

    The first convolution widens more: a narrow head makes its block learn what is easy to read, not what the next blocks can use.

    Args:
        shape: of the boundary without the batch; other than (channels, height, width) gives `linear_head`.
        classes: number of outputs.
        widest: channels at most.
        first: factor by which the first convolution multiplies the channels.

    >>> [tuple(p.shape) for p in conv_head((16, 16, 16), 10).parameters() if p.ndim > 1]
    [(128, 16, 3, 3), (256, 128, 3, 3), (10, 256)]
    """
    shape, classes = require_shape(shape, "conv_head"), require_count("classes", classes, "conv_head", fix="use 10")
    widest = require_count("widest", widest, "conv_head", fix="use 256")
    first = require_count("first", first, "conv_head", fix="use 8")
    if len(shape) != 3:
        return linear_head(shape, classes)
    layers: list[nn.Module] = []
    inputs, side, factor = shape[0], min(shape[1:]), first
    while side > COARSE or not layers:
        outputs, side, factor = max(inputs, min(factor * inputs, widest)), side // 2, 2
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, *linear_head((inputs, 1, 1), classes, 1))
