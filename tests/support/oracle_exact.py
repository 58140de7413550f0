"""Exact scalar messages of the weighted factors, one product at a time, as the published method writes them."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from oracle import conv_moments, linear_moments
from torch import Tensor


def exact_linear(score: Tensor, precision: Tensor, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
    """Exact scalar messages of z = W a + b in natural form, one product at a time, as the published method writes them.

    (eta, R) the message to z; D = 1 + R (v_z - V), to w: R E[a^2] / D and E[a] (eta - R (m_z - E[a] E[w])) / D.
    """
    mean, variance, weight_mean, weight_var, bias_mean, bias_var = inputs
    assert mean is not None and weight_mean is not None and weight_var is not None
    full = weight_var.expand_as(weight_mean)
    out_mean, out_var = linear_moments(mean, variance, weight_mean, full, bias_mean, bias_var)
    hidden = torch.zeros_like(mean) if variance is None else variance
    rho = precision / (1 - out_var * precision)
    tau = score / (1 - out_var * precision) + rho * out_mean
    to_w, to_a, to_b = (torch.zeros(2, *like.shape, dtype=torch.float64) for like in (weight_mean, mean, weight_mean[:, 0]))
    for n, o in itertools.product(range(len(mean)), range(len(weight_mean))):
        for i in range(mean.shape[1]):
            a, w = mean[n, i], weight_mean[o, i]
            a2, w2 = a**2 + hidden[n, i], w**2 + full[o, i]
            own = a2 * full[o, i] + hidden[n, i] * w**2  # E[a^2] E[w^2] - (E[a] E[w])^2, without the cancellation
            d = 1 + rho[n, o] * (out_var[n, o] - own)
            rest = (tau[n, o] - rho[n, o] * (out_mean[n, o] - a * w)) / d
            to_w[:, o, i] += torch.stack([a * rest - a2 * rho[n, o] / d * w, a2 * rho[n, o] / d])  # centred
            to_a[:, n, i] += torch.stack([w * rest - w2 * rho[n, o] / d * a, w2 * rho[n, o] / d])
        if bias_mean is not None and bias_var is not None:
            d = 1 + rho[n, o] * (out_var[n, o] - bias_var[o])
            eta = (tau[n, o] - rho[n, o] * (out_mean[n, o] - bias_mean[o])) / d
            to_b[:, o] += torch.stack([eta - rho[n, o] / d * bias_mean[o], rho[n, o] / d])
    to_a, to_b = (None, None) if variance is None else to_a, (None, None) if bias_mean is None else to_b
    return out_mean, out_var, *to_a, to_w[0], to_w[1].sum_to_size(weight_var.shape), *to_b


def exact_conv(options: Any, score: Tensor, precision: Tensor, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
    """`exact_linear` at one position after the other, its patch cut out of the padded image."""
    mean, variance, weight_mean, weight_var, bias_mean, bias_var = inputs
    assert mean is not None and weight_mean is not None and weight_var is not None
    (sh, sw), (ph, pw), (dh, dw), groups = options
    outputs, channels, kh, kw = weight_mean.shape
    moments = conv_moments(options, mean, variance, weight_mean, weight_var.expand_as(weight_mean), bias_mean, bias_var)
    parts = [None if part is None else torch.nn.functional.pad(part, (pw, pw, ph, ph)) for part in (mean, variance)]
    to_a = torch.zeros(2, *torch.nn.functional.pad(mean, (pw, pw, ph, ph)).shape, dtype=torch.float64)
    to_w, to_b = (torch.zeros(2, *like.shape, dtype=torch.float64) for like in (weight_mean, weight_mean[:, 0, 0, 0]))
    for group, y, x in itertools.product(range(groups), range(score.shape[2]), range(score.shape[3])):
        own, out = (
            slice(group * channels, (group + 1) * channels),
            slice(group * outputs // groups, (group + 1) * outputs // groups),
        )
        place = (slice(None), own, slice(y * sh, y * sh + dh * (kh - 1) + 1, dh), slice(x * sw, x * sw + dw * (kw - 1) + 1, dw))
        patch = [None if part is None else part[place].flatten(1) for part in parts]
        kernel = [part.expand_as(weight_mean)[out].flatten(1) for part in (weight_mean, weight_var)]
        bias = [None if part is None else part[out] for part in (bias_mean, bias_var)]
        found = exact_linear(score[:, out, y, x], precision[:, out, y, x], *patch, *kernel, *bias)[2:]
        for total, index, pair in ((to_a, place, found[:2]), (to_w, (out,), found[2:4]), (to_b, (out,), found[4:])):
            for own_total, part in zip(total, pair, strict=True):
                if part is not None:
                    own_total[index] += part.view_as(own_total[index])
    inside = (slice(None), slice(None), slice(ph, ph + mean.shape[2]), slice(pw, pw + mean.shape[3]))
    back = (None, None) if variance is None else (to_a[0][inside], to_a[1][inside])
    return *moments, *back, to_w[0], to_w[1].sum_to_size(weight_var.shape), *((None, None) if bias_mean is None else to_b)
