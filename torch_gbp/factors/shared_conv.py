"""The convolution z = W * a + b whose weights share their variances: v_W[o, c, h, w] = r[c], one for each input channel.

The equations are those of `factors/shared_linear.py` with products read as convolutions. The part of v_z that comes
from v_W is the same for every output of a group: S summed over channels with r (the field), then over the
window, which is a convolution of one map with ones. No convolution over channels is left of it.
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
    weight_mean: Tensor,  # (o, c / groups, kh, kw)
    weight_var: Tensor,  # r, (1, c / groups, 1, 1)
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o, h', w') each."""
    second = mean * mean if variance is None else torch.addcmul(variance, mean, mean)
    window = weight_mean.new_ones(options.groups, 1, *weight_mean.shape[2:])
    rows = weight_var.view(1, 1, -1).expand(options.groups, -1, -1)
    field = (rows @ _by_group(second, options.groups).flatten(3)).view(len(mean), options.groups, *mean.shape[2:])
    noise = F.conv2d(field, window, None, *options)[:, :, None]  # (n, groups, 1, h', w')
    out_mean = F.conv2d(mean, weight_mean, bias_mean, *options)
    squared = None
    if variance is None:
        offset = out_mean.new_zeros(1) if bias_var is None else bias_var
        out_var = (noise + _by_group(offset.expand(len(weight_mean)).view(1, -1, 1, 1), options.groups)).flatten(1, 2)
    else:
        squared = weight_mean * weight_mean
        out_var = F.conv2d(variance, squared, bias_var, *options)
        _by_group(out_var, options.groups).add_(noise)
    return (out_mean, out_var), (mean, variance, second, field, window, weight_mean, squared, weight_var, bias_mean)


def backward(options: ConvOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Centred messages to a, W and b."""
    mean, variance, second, field, window, weight_mean, squared, weight_var, bias_mean = saved
    assert mean is not None and second is not None and field is not None and window is not None
    assert weight_mean is not None and weight_var is not None
    told = _by_group(precision, options.groups).sum(2)  # over outputs
    heard = _spread_back(told, field, window, options)  # and over windows, (n, groups, h, w)
    to_shared = (_by_group(second, options.groups).flatten(3) @ heard.flatten(2)[..., None]).sum((0, 1))
    score_a, to_weight = transpose(score, mean, weight_mean, options, variance is not None)
    to_input: tuple[Tensor | None, Tensor | None] = None, None
    if variance is not None and squared is not None:
        precision_a, own = transpose(precision, variance, squared, options, True)
        to_weight.addcmul_(weight_mean, own, value=-1)
        noise = (heard[:, :, None] * weight_var[:, None]).flatten(1, 2)
        to_input = score_a.addcmul_(mean, noise, value=-1), precision_a.add_(noise)
    to_bias = (None, None) if bias_mean is None else (score.sum((0, 2, 3)), precision.sum((0, 2, 3)))
    return *to_input, to_weight, to_shared.view_as(weight_var), *to_bias


def _by_group(maps: Tensor, groups: int) -> Tensor:
    """(n, c, h, w) as (n, groups, c / groups, h, w)."""
    return maps.unflatten(1, (groups, -1))


def _spread_back(told: Tensor, field: Tensor, window: Tensor, options: ConvOptions) -> Tensor:
    """The window sum's transpose, (n, groups, h, w); without strides it is a window sum itself, 20 times faster."""
    (high, wide), (top, left), (down, right) = window.shape[2:], options.padding, options.dilation
    rest = down * (high - 1) - top, right * (wide - 1) - left
    if options.stride == (1, 1) and min(rest) >= 0:
        return F.conv2d(told, window, None, 1, rest, options.dilation, options.groups)
    return transpose(told, field, window, options, True, False)[0]


RULE = Rule(forward, backward)
