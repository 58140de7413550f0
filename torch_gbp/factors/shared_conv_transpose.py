"""The transposed convolution whose weights share their variances: v_W[o, c, h, w] = r[c], one for each input channel.

The equations are those of `factors/conv_transpose.py`. The part of v_z that comes from v_W is the same for every output of
a group: S summed over channels with r (the field), spread over windows of ones. Its transpose collects the
precisions of all outputs in the same way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.factors.conv_transpose import ConvTransposeOptions, gather, spread


def forward(
    options: ConvTransposeOptions,
    mean: Tensor,  # (n, c, h, w)
    variance: Tensor | None,  # (n, c, h, w), None for an observed input
    weight_mean: Tensor,  # (o / groups, c, kh, kw)
    weight_var: Tensor,  # r, (1, c, 1, 1)
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o, h', w') each."""
    second = mean * mean if variance is None else torch.addcmul(variance, mean, mean)
    field = (second * weight_var).unflatten(1, (options.groups, -1)).sum(2)  # (n, groups, h, w)
    window = weight_mean.new_ones(1, options.groups, *weight_mean.shape[2:])
    noise = spread(field, window, None, options)[:, :, None]  # (n, groups, 1, h', w')
    out_mean = spread(mean, weight_mean, bias_mean, options)
    own = out_mean.new_zeros(()) if bias_var is None else bias_var[:, None, None]
    if variance is not None:
        own = own + spread(variance, weight_mean * weight_mean, None, options)
    out_var = own.expand_as(out_mean).unflatten(1, (options.groups, -1)) + noise
    return (out_mean, out_var.flatten(1, 2)), (mean, variance, second, field, window, weight_mean, weight_var, bias_mean)


def backward(options: ConvTransposeOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Centred messages to a, W and b."""
    mean, variance, second, field, window, weight_mean, weight_var, bias_mean = saved
    assert mean is not None and second is not None and field is not None and window is not None
    assert weight_mean is not None and weight_var is not None
    told = precision.unflatten(1, (options.groups, -1)).sum(2)  # over outputs
    heard = gather(told, field, window, options, True)[0]  # and over windows, (n, groups, h, w)
    heard = heard.repeat_interleave(mean.shape[1] // options.groups, 1)  # by input channel
    to_shared = (second * heard).sum((0, 2, 3))
    score_a, to_weight = gather(score, mean, weight_mean, options, variance is not None)
    to_input: tuple[Tensor | None, Tensor | None] = None, None
    if variance is not None:
        precision_a, own = gather(precision, variance, weight_mean * weight_mean, options, True)
        to_weight = torch.addcmul(to_weight, weight_mean, own, value=-1)
        noise = heard * weight_var
        to_input = torch.addcmul(score_a, mean, noise, value=-1), precision_a + noise
    to_bias = (None, None) if bias_mean is None else (score.sum((0, 2, 3)), precision.sum((0, 2, 3)))
    return *to_input, to_weight, to_shared.view_as(weight_var), *to_bias


RULE = Rule(forward, backward)
