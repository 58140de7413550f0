"""The linear factor z = W a + b whose weights share their variances: v_W[o, i] = r[i], one for each input.

Forward (exact moments, S = m_a^2 + v_a):
    m_z = m_a m_W' + m_b                        v_z = (S r) 1' + v_a (m_W^2)' + v_b
Backward (the variational messages of `factors/linear.py`; h = G 1, sums over outputs):
    g_W = g' m_a - m_W * (G' v_a)               G_r = h' S            (sums over examples)
    g_a = g m_W - m_a * (h r')                  G_a = G m_W^2 + h r'
    g_b = sum g                                 G_b = sum G
The matrix products with v_W of `factors/linear.py` are products with vectors here.
Source: `factors/linear.py` with tied variances.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.factors.linear import affine


def forward(
    _: None,
    mean: Tensor,  # (n, i)
    variance: Tensor | None,  # (n, i), None for an observed input
    weight_mean: Tensor,  # (o, i)
    weight_var: Tensor,  # r, (1, i)
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,  # (o,)
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o) each."""
    second = mean * mean if variance is None else torch.addcmul(variance, mean, mean)
    out_mean = affine(mean, weight_mean, bias_mean)
    noise = second @ weight_var.t()  # (n, 1)
    out_var = noise.expand_as(out_mean).clone() if bias_var is None else noise + bias_var
    squared = None
    if variance is not None:
        squared = weight_mean * weight_mean
        out_var.addmm_(variance, squared.t())
    return (out_mean, out_var), (mean, variance, second, weight_mean, squared, weight_var, bias_mean)


def backward(_: None, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Centred messages to a, W and b."""
    mean, variance, second, weight_mean, squared, weight_var, bias_mean = saved
    assert mean is not None and second is not None and weight_mean is not None and weight_var is not None
    heard = precision.sum(1, keepdim=True)  # h
    to_weight = score.t() @ mean
    to_input = None, None
    if variance is not None and squared is not None:
        to_weight.addcmul_(weight_mean, precision.t() @ variance, value=-1)
        noise = heard * weight_var
        to_input = torch.addcmul(score @ weight_mean, mean, noise, value=-1), noise.addmm_(precision, squared)
    to_bias = (None, None) if bias_mean is None else (score.sum(0), precision.sum(0))
    return *to_input, to_weight, heard.t() @ second, *to_bias


RULE = Rule(forward, backward)
