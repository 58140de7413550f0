"""The linearised convolution of observed inputs that stay the same from one iteration to the next, from their patches.

Moments and messages are those of `factors/linearised.py`. With x_p (d,) the patch of the inputs at position p (im2col), cut once
for all iterations, they are matrix products over patches:

    m_z = W x_p + b          v_z = v_W x_p^2 + v_b          g_W = sum_p g_p x_p'          G_W = sum_p G_p x_p^2'

and the bias is the weight of one more input, which is 1.
For filters of few weights that takes a third of the time of a convolution and its transpose, where most of the work is cutting.
Memory is 2 d + 2 numbers a position.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.factors.conv import ConvOptions

MOST = 32  # weights of a filter; with more the convolution is as fast


class Patches(NamedTuple):
    """What stays: patches (n, d + 1, h' w') of the inputs, then 1, and their squares; rows and columns of the output."""

    values: Tensor
    squares: Tensor
    size: tuple[int, int]


def patches_of(options: ConvOptions, kernel: tuple[int, int], images: Tensor) -> Patches:
    """Cuts images (n, c, h, w) for filters of this size.

    >>> patches_of(ConvOptions(), (2, 2), torch.ones(1, 3, 4, 5)).values.shape
    torch.Size([1, 13, 12])
    """
    values = F.unfold(images, kernel, options.dilation, options.padding, options.stride)
    values = F.pad(values, (0, 0, 0, 1), value=1.0)
    reach = [dilation * (side - 1) + 1 for dilation, side in zip(options.dilation, kernel, strict=True)]
    edges = zip(images.shape[2:], options.padding, reach, options.stride, strict=True)
    high, wide = ((side + 2 * border - span) // step + 1 for side, border, span, step in edges)
    return Patches(values, values * values, (high, wide))


def forward(
    held: Patches,
    mean: Tensor,  # (n, c, h, w), the images that were cut
    variance: None,
    weight_mean: Tensor,  # (o, c, kh, kw)
    weight_var: Tensor,  # the same or, shared, (1, c, 1, 1)
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o, h', w') each."""
    out_mean = _affine(held.values, weight_mean, bias_mean, held.size)
    out_var = _affine(held.squares, weight_var.expand_as(weight_mean), bias_var, held.size)
    return (out_mean, out_var), (weight_mean, weight_var, bias_mean)


def backward(held: Patches, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Centred messages to W and b."""
    weight_mean, weight_var, bias_mean = saved
    assert weight_mean is not None and weight_var is not None
    to_weight, to_bias = _gathered(score, held.values, weight_mean)
    sharp, bias_sharp = _gathered(precision, held.squares, weight_mean)
    biases = (None, None) if bias_mean is None else (to_bias, bias_sharp)
    return None, None, to_weight, sharp.sum_to_size(weight_var.shape), *biases


def _affine(patches: Tensor, kernel: Tensor, bias: Tensor | None, size: tuple[int, int]) -> Tensor:
    """W x_p (+ b) at every position, as an image."""
    last = kernel.new_zeros(len(kernel)) if bias is None else bias.expand(len(kernel))
    rows = torch.cat([kernel.flatten(1), last[:, None]], 1)
    return torch.matmul(rows, patches).unflatten(2, size)


def _gathered(message: Tensor, patches: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over examples and positions of message x patch, shaped as the kernel; and of the message."""
    told = torch.bmm(message.flatten(2), patches.transpose(1, 2)).sum(0)
    return told[:, :-1].reshape(like.shape), told[:, -1]


RULE = Rule(forward, backward)
