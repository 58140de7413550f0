"""The convolution of observed inputs that stay, as a bilinear map (`factors/maps.py`) of their patches, cut once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments
from torch_gbp.factors.convolutions import ConvOptions
from torch_gbp.factors.maps import Map, Parts


class HeldConvolution(Map):
    """The convolution of observed inputs that stay the same from one iteration to the next, as products with their patches.

    `options` are the patches, cut once; the images that come in are not looked at. For filters of few weights that takes a third
    of the time of a convolution and its transpose, where most of the work is cutting. Memory is 2 d numbers a position.
    """

    def seen(self, options: Patches, inputs: Tensor) -> Tensor:
        return options.values

    def square(self, options: Patches, inputs: Tensor) -> Tensor:
        return options.squares

    def affine(self, options: Patches, inputs: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        output = torch.matmul(weights.flatten(1), inputs).unflatten(2, options.size)
        return output if bias is None else output.add_(bias[:, None, None])

    def transpose(
        self, options: Any, message: Tensor, inputs: Tensor, weights: Tensor, to_inputs: bool = True, to_weights: bool = True
    ) -> tuple[Tensor, Tensor]:
        back = torch.bmm(message.flatten(2), inputs.transpose(1, 2)).sum(0).view(weights.shape)
        return None, back  # type: ignore[return-value]

    def to_bias(self, message: Tensor) -> Tensor:
        return message.sum((0, 2, 3))

    def shared(
        self, options: Any, inputs: Tensor, row: Tensor, second: Moments | None, like: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Parts]:
        return self.affine(options, inputs, row.expand_as(like), bias), (inputs, row, like)

    def to_row(self, options: Any, message: Tensor, kept: Parts) -> Tensor:
        inputs, row, like = kept
        return self.transpose(options, message, inputs, like)[1].sum_to_size(row.shape)


class Patches(NamedTuple):
    """The options of `HELD_CONV`: patches (n, d, h' w') of the inputs, their squares; rows and columns of the output."""

    values: Tensor
    squares: Tensor
    size: tuple[int, int]


HELD_MOST = 32  # weights of a filter; with more the convolution is as fast as `HELD_CONV`


def patches_of(options: ConvOptions, kernel: tuple[int, int], images: Tensor) -> Patches:
    """Cuts images (n, c, h, w) for filters of this size.

    >>> patches_of(ConvOptions(), (2, 2), torch.ones(1, 3, 4, 5)).values.shape
    torch.Size([1, 12, 12])
    """
    values = F.unfold(images, kernel, options.dilation, options.padding, options.stride)
    reach = [dilation * (side - 1) + 1 for dilation, side in zip(options.dilation, kernel, strict=True)]
    edges = zip(images.shape[2:], options.padding, reach, options.stride, strict=True)
    high, wide = ((side + 2 * border - span) // step + 1 for side, border, span, step in edges)
    return Patches(values, values * values, (high, wide))


HELD_CONV = HeldConvolution()
