"""The convolution with exact scalar messages: the linear factor of `factors/exact_linear.py` at every position.

Every position of every example is a row of that factor, its patch the row's inputs; a message to the kernel is the
product over rows, one to an input the product over the patches that it lies in. The cavity of a kernel or bias (see
`memory.ExactMemory`) leaves out a whole example, so it is the same at all of its positions.
Memory and time: examples x positions x outputs x patch, for small data.
Source: AMP-BNN thesis section 4.1 and its code; padding adds observed zeros here, mirrored pixels there.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.factors import conv, exact_linear
from torch_gbp.factors.conv import ConvOptions


def forward(
    options: ConvOptions,
    mean: Tensor,  # (n, c, h, w)
    variance: Tensor | None,  # (n, c, h, w), None for an observed input
    weight_mean: Tensor,  # (o, c / groups, kh, kw)
    weight_var: Tensor,  # the same, or (1, c / groups, 1, 1) where they are shared
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o, h', w') each."""
    tied = weight_var.expand_as(weight_mean)
    moments, _ = conv.forward(options, mean, variance, weight_mean, tied, bias_mean, bias_var)
    return moments, (mean, variance, weight_mean, weight_var, bias_var)


def backward(options: ConvOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Messages to a, W and b, centred at the means that went forward."""
    weight_var = saved[3]
    assert weight_var is not None
    groups = [_group(options, *group) for group in _by_group(options.groups, saved, score, precision)]
    channels = (1, 1, 0, 0, 0, 0)  # the axis that the groups divide
    pairs = zip(channels, zip(*groups, strict=True), strict=True)
    joined = [None if parts[0] is None else torch.cat(parts, axis) for axis, parts in pairs]
    to_precision = joined[3]
    assert to_precision is not None
    return *joined[:3], to_precision.sum_to_size(weight_var.shape), *joined[4:]


def _by_group(count: int, saved: Saved, score: Tensor, precision: Tensor) -> Iterator[tuple[Tensor | None, ...]]:
    """The channels of each group: inputs, kernels, biases, and what comes from above."""
    mean, variance, weight_mean, weight_var, bias_var = saved
    assert weight_mean is not None and weight_var is not None
    by_output = weight_mean, weight_var.expand_as(weight_mean), bias_var
    outer = [None if part is None else part.chunk(count, 0) for part in by_output]
    inner = [None if part is None else part.chunk(count, 1) for part in (mean, variance, score, precision)]
    for group in range(count):
        yield tuple(None if parts is None else parts[group] for parts in (*inner[:2], *outer, *inner[2:]))


def _group(options: ConvOptions, *group: Tensor | None) -> tuple[Tensor | None, ...]:
    """The messages of one group, its patches the rows of a linear factor."""
    mean, variance, weight_mean, weight_var, bias_var, score, precision = group
    assert mean is not None and weight_mean is not None and weight_var is not None
    kernel = weight_mean.shape[2:]
    rows = [None if part is None else _patches(options, part, kernel) for part in (mean, variance)]
    above = (part.flatten(2).transpose(1, 2).flatten(0, 1) for part in (score, precision) if part is not None)
    found = exact_linear.backward(None, (*rows, weight_mean.flatten(1), weight_var.flatten(1), bias_var), *above)
    to_input = (None if part is None else _fold(options, part, mean.shape, kernel) for part in found[:2])
    return *to_input, *(part.view_as(weight_mean) for part in found[2:4] if part is not None), *found[4:]


def _patches(options: ConvOptions, images: Tensor, kernel: torch.Size) -> Tensor:
    """What the kernel covers at every position, (n positions, patch)."""
    found = F.unfold(images, tuple(kernel), options.dilation, options.padding, options.stride)
    return found.transpose(1, 2).flatten(0, 1)


def _fold(options: ConvOptions, rows: Tensor, shape: torch.Size, kernel: torch.Size) -> Tensor:
    """Product over the patches that an input lies in: the sum of their messages, (n, c, h, w)."""
    patches = rows.unflatten(0, (shape[0], -1)).transpose(1, 2)
    return F.fold(patches, tuple(shape[2:]), tuple(kernel), options.dilation, options.padding, options.stride)


RULE = Rule(forward, backward)
