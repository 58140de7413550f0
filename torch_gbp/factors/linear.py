"""The linear factor z = W a + b, all three uncertain and independent; S = m_a^2 + v_a.

Forward (exact moments):
    m_z = m_a m_W' + m_b                        v_z = S v_W' + v_a (m_W^2)' + v_b
Backward (variational messages: d/dm and -d2/dm2 of E[g (z - m_z) - G (z - m_z)^2 / 2], W, a and b independent):
    g_W = g' m_a - m_W * (G' v_a)               G_W = G' S            (sums over examples)
    g_a = g m_W - m_a * (G v_W)                 G_a = G (m_W^2 + v_W)
    g_b = sum g                                 G_b = sum G
Where the input is observed and g is the derivative of the log evidence by m_z, g_W is that by m_W. Behind an uncertain input it
is not: v_z depends on m_W then, and d log Z / dv = (g^2 - G) / 2, of which layers take -G / 2. Likelihoods emit
G = -d2 log Z / dm2.
Source: forward, PBP (Hernandez-Lobato & Adams 2015); backward, the product factor of Stern, Herbrich & Graepel 2009, which is
the sum of the exact scalar messages without their leave-one-out terms, O(1 / fan-in).
"""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved


def forward(
    _: None,
    mean: Tensor,  # (n, i)
    variance: Tensor | None,  # (n, i), None for an observed input
    weight_mean: Tensor,  # (o, i)
    weight_var: Tensor,  # (o, i)
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,  # (o,)
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o) each."""
    second = mean * mean if variance is None else torch.addcmul(variance, mean, mean)
    out_mean = affine(mean, weight_mean, bias_mean)
    out_var = affine(second, weight_var, bias_var)
    squared = None
    if variance is not None:
        squared = weight_mean * weight_mean
        out_var.addmm_(variance, squared.t())
    return (out_mean, out_var), (mean, variance, second, weight_mean, squared, weight_var, bias_mean)


def backward(_: None, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Centred messages to a, W and b."""
    mean, variance, second, weight_mean, squared, weight_var, bias_mean = saved
    assert mean is not None and second is not None and weight_mean is not None and weight_var is not None
    to_weight = score.t() @ mean
    to_input = None, None
    if variance is not None and squared is not None:
        to_weight.addcmul_(weight_mean, precision.t() @ variance, value=-1)
        noise = precision @ weight_var
        to_input = (
            torch.addcmul(score @ weight_mean, mean, noise, value=-1),
            noise.addmm_(precision, squared),
        )
    to_bias = (None, None) if bias_mean is None else (score.sum(0), precision.sum(0))
    return *to_input, to_weight, precision.t() @ second, *to_bias


def affine(rows: Tensor, matrix: Tensor, offset: Tensor | None) -> Tensor:
    """rows matrix' + offset."""
    return rows @ matrix.t() if offset is None else torch.addmm(offset, rows, matrix.t())


RULE = Rule(forward, backward)
