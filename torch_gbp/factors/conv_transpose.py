"""The transposed convolution z = W^T * a + b: every entry of the input adds its kernel, weighted, to a window of the output.

The equations are those of `factors/linear.py` with matrix products read as transposed convolutions:

    m_z = m_W^T * m_a + m_b                      v_z = v_W^T * S + (m_W^2)^T * v_a + v_b,  S = m_a^2 + v_a
    g_a = m_W * g - m_a (v_W * G)                G_a = (m_W^2 + v_W) * G
    g_W = corr(m_a, g) - m_W corr(v_a, G)        G_W = corr(S, G)                (sums over examples, positions)

Kernels are stored as (outputs, inputs, ...), the axes of `GaussianParameter`, so torch's with the first two exchanged.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved


class ConvTransposeOptions(NamedTuple):
    """Geometry of a two-dimensional transposed convolution, as in torch.nn.ConvTranspose2d."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    output_padding: tuple[int, int] = (0, 0)
    groups: int = 1
    dilation: tuple[int, int] = (1, 1)


def forward(
    options: ConvTransposeOptions,
    mean: Tensor,  # (n, c, h, w)
    variance: Tensor | None,  # (n, c, h, w), None for an observed input
    weight_mean: Tensor,  # (o / groups, c, kh, kw)
    weight_var: Tensor,
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o, h', w') each."""
    inputs, kernel = _stack(mean, variance, weight_mean, weight_var, options.groups)
    out_mean = spread(mean, weight_mean, bias_mean, options)
    out_var = spread(inputs, kernel, bias_var, options)
    return (out_mean, out_var), (mean, inputs, kernel, weight_mean, bias_mean)


def backward(options: ConvTransposeOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Centred messages to a, W and b."""
    mean, inputs, kernel, weight_mean, bias_mean = saved
    assert mean is not None and inputs is not None and kernel is not None and weight_mean is not None
    hidden = inputs.shape[1] > mean.shape[1]  # the input has a variance of its own
    score_a, score_w = gather(score, mean, weight_mean, options, hidden)
    noise, precision_w = gather(precision, inputs, kernel, options, hidden)
    to_input: tuple[Tensor | None, Tensor | None] = None, None
    if hidden:
        noise_w, noise_m = _halves(noise, options.groups)
        precision_w, own = _halves(precision_w, options.groups)
        score_w = torch.addcmul(score_w, weight_mean, own, value=-1)
        to_input = torch.addcmul(score_a, mean, noise_w, value=-1), noise_w + noise_m
    to_bias = (None, None) if bias_mean is None else (score.sum((0, 2, 3)), precision.sum((0, 2, 3)))
    return *to_input, score_w, precision_w, *to_bias


def spread(inputs: Tensor, kernel: Tensor, bias: Tensor | None, options: ConvTransposeOptions) -> Tensor:
    """The transposed convolution itself, of a kernel (o / groups, c, kh, kw)."""
    return F.conv_transpose2d(inputs, kernel.transpose(0, 1), bias, *options)


def gather(message: Tensor, inputs: Tensor, kernel: Tensor, options: ConvTransposeOptions, to_input: bool) -> Moments:
    """What its transpose sends to its input (None where not wanted) and to its kernel."""
    stride, padding, output_padding, groups, dilation = options
    geometry = stride, padding, dilation, True, output_padding, groups
    to_inputs, to_kernel, _ = torch.ops.aten.convolution_backward(
        message, inputs, kernel.transpose(0, 1), None, *geometry, (to_input, True, False)
    )
    return to_inputs, to_kernel.transpose(0, 1)


def _stack(mean: Tensor, variance: Tensor | None, weight_mean: Tensor, weight_var: Tensor, groups: int) -> Moments:
    """[S, v] and [v_W, m_W^2] stacked by input channel within each group: v_z is one transposed convolution."""
    if variance is None:
        return mean * mean, weight_var
    pairs = (torch.addcmul(variance, mean, mean), variance), (weight_var, weight_mean * weight_mean)
    inputs, kernel = (torch.cat([part.unflatten(1, (groups, -1)) for part in pair], 2).flatten(1, 2) for pair in pairs)
    return inputs, kernel


def _halves(stacked: Tensor, groups: int) -> Moments:
    """The two halves of every group's input channels."""
    halves = stacked.unflatten(1, (groups, 2, -1))
    return halves[:, :, 0].flatten(1, 2), halves[:, :, 1].flatten(1, 2)


RULE = Rule(forward, backward)
