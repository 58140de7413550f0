"""The convolution z = W * a + b: the linear factor applied at every position with shared weights.

The equations are those of `factors/linear.py` with matrix products read as convolutions; a message to the
kernel is the product over examples and positions. Padding adds observed zeros (mean 0, variance 0).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved


class ConvOptions(NamedTuple):
    """Geometry of a two-dimensional convolution, as in torch.nn.Conv2d."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


def forward(
    options: ConvOptions,
    mean: Tensor,  # (n, c, h, w)
    variance: Tensor | None,  # (n, c, h, w), None for an observed input
    weight_mean: Tensor,  # (o, c / groups, kh, kw)
    weight_var: Tensor,
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o, h', w') each."""
    inputs, kernel = _stack(mean, variance, weight_mean, weight_var, options.groups)
    out_mean = F.conv2d(mean, weight_mean, bias_mean, *options)
    out_var = F.conv2d(inputs, kernel, bias_var, *options)
    return (out_mean, out_var), (mean, inputs, kernel, weight_mean, bias_mean)


def backward(options: ConvOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Centred messages to a, W and b."""
    mean, inputs, kernel, weight_mean, bias_mean = saved
    assert mean is not None and inputs is not None and kernel is not None and weight_mean is not None
    hidden = inputs.shape[1] > mean.shape[1]  # the input has a variance of its own
    score_a, score_w = transpose(score, mean, weight_mean, options, hidden)
    noise, precision_w = transpose(precision, inputs, kernel, options, hidden)
    to_input: tuple[Tensor | None, Tensor | None] = None, None
    if hidden:
        noise_w, noise_m = _unstack(noise, options.groups)
        precision_w, own = _unstack(precision_w, 1)
        score_w.addcmul_(weight_mean, own, value=-1)
        to_input = torch.addcmul(score_a, mean, noise_w, value=-1), noise_w + noise_m
    to_bias = (None, None) if bias_mean is None else (score.sum((0, 2, 3)), precision.sum((0, 2, 3)))
    return *to_input, score_w, precision_w, *to_bias


def _stack(mean: Tensor, variance: Tensor | None, weight_mean: Tensor, weight_var: Tensor, groups: int) -> Moments:
    """[S, v] and [v_W, m_W^2] stacked by channel within each group, so that v_z is one convolution.

    One convolution of twice the channels costs less than two, the more so the fewer the channels.
    """
    if variance is None:
        return mean * mean, weight_var
    parts = [part.unflatten(1, (groups, -1)) for part in (torch.addcmul(variance, mean, mean), variance)]
    return torch.cat(parts, 2).flatten(1, 2), torch.cat([weight_var, weight_mean * weight_mean], 1)


def _unstack(stacked: Tensor, groups: int) -> Moments:
    """The two halves of every group's channels."""
    halves = stacked.unflatten(1, (groups, 2, -1))
    return halves[:, :, 0].flatten(1, 2), halves[:, :, 1].flatten(1, 2)


def transpose(
    message: Tensor, inputs: Tensor, kernel: Tensor, options: ConvOptions, to_input: bool, to_kernel: bool = True
) -> Moments:
    """What the convolution's transpose sends to its input and to its kernel (None where not wanted)."""
    stride, padding, dilation, groups = options
    to_inputs, to_kernels, _ = torch.ops.aten.convolution_backward(
        message, inputs, kernel, None, stride, padding, dilation, False, (0, 0), groups, (to_input, to_kernel, False)
    )
    return to_inputs, to_kernels


RULE = Rule(forward, backward)
