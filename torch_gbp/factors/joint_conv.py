"""The linearised convolution whose kernels have a joint Gaussian belief each: N(m_o, C_o) over all d weights of filter o.

With x_p (d,) the patch of the input's means at position p (im2col),

    m_z = W * m_a + b            v_z = x_p' C_o x_p + v_a * m_W^2 + v_b
    g_W = sum_p g_p x_p          G_W = sum_p x_p x_p' G_p / (1 - x_p' C_o x_p G_p)       (d, d) for every filter

A factor's message to its d weights is exact in all of them: what they bring to v_z themselves is taken out of the precision.
The other messages are those of `factors/linearised.py`.
Source: GBP Learning (arXiv 2311.14649) equations 5 to 8 with the weights of a filter as one variable.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.factors.conv import ConvOptions, transpose


def forward(
    options: ConvOptions,
    mean: Tensor,  # (n, c, h, w)
    variance: Tensor | None,  # (n, c, h, w), None for an observed input
    weight_mean: Tensor,  # (o, c, kh, kw)
    weight_cov: Tensor,  # (o, d, d), d = c kh kw
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o, h', w') each."""
    out_mean = F.conv2d(mean, weight_mean, bias_mean, *options)
    patches = _patches(mean, weight_mean, options)
    own = torch.stack([((cov @ patches) * patches).sum(0) for cov in weight_cov])  # (o, n h' w')
    own = own.view(len(own), len(mean), *out_mean.shape[2:]).transpose(0, 1)
    out_var = own if bias_var is None else own + bias_var[:, None, None]
    if variance is not None:
        out_var = out_var + F.conv2d(variance, weight_mean.square(), None, *options)
    kept = mean, variance, patches, own, weight_mean, bias_mean
    return (out_mean, out_var), kept


def backward(options: ConvOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Centred messages to a, W (its precision a matrix for every filter) and b."""
    mean, variance, patches, own, weight_mean, bias_mean = saved
    assert mean is not None and patches is not None and own is not None and weight_mean is not None
    hidden = variance is not None
    score_a, score_w = transpose(score, mean, weight_mean, options, hidden)
    noise_a, _ = transpose(precision, mean, weight_mean.square(), options, hidden, to_kernel=False)
    without = (precision / (1 - own * precision)).transpose(0, 1).flatten(1)  # (o, n h' w')
    precision_w = torch.stack([(patches * row) @ patches.t() for row in without])
    to_bias = (None, None) if bias_mean is None else (score.sum((0, 2, 3)), precision.sum((0, 2, 3)))
    return score_a, noise_a, score_w, precision_w, *to_bias


def _patches(images: Tensor, kernel: Tensor, options: ConvOptions) -> Tensor:
    """im2col, (d, n h' w')."""
    patches = F.unfold(images, kernel.shape[2:], options.dilation, options.padding, options.stride)
    return patches.transpose(0, 1).flatten(1)


RULE = Rule(forward, backward)
