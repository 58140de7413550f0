"""Linearised factors: z = W a + b and a = f(z), expanded to first order at the means.

A product w a is w m_a + m_w a - m_w m_a near the means, so against `factors/linear.py` the terms of second order drop out:

    m_z = m_a m_W' + m_b                        v_z = m_a^2 v_W' + v_a (m_W^2)' + v_b
    g_W = g' m_a                                G_W = G' m_a^2                  (sums over examples, positions)
    g_a = g m_W                                 G_a = G m_W^2

and f(z), a rectifier or the logistic function, has mean f(m), variance f'(m)^2 v, and sends (f' g, f'^2 G). Iterated, the
means go to a stationary point of the graph's energy, where every residual is taken at the means.
Source: GBP Learning (arXiv 2311.14649) section 3.1, equations 5 to 8, with the messages of a layer summed up.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.factors.leaky_relu import LeakyReLUOptions


def leaky_relu_forward(options: LeakyReLUOptions, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
    """Moments of a; at 0 the slope is the one below."""
    return (F.leaky_relu(mean, options.slope), _sloped(variance, mean, options.slope**2)), (mean,)


def leaky_relu_backward(options: LeakyReLUOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Centred message to z."""
    (mean,) = saved
    assert mean is not None
    return _sloped(score, mean, options.slope), _sloped(precision, mean, options.slope**2)


def sigmoid_forward(_: None, mean: Tensor, variance: Tensor) -> tuple[Moments, Saved]:
    """Moments of 1 / (1 + exp(-z))."""
    height = torch.sigmoid(mean)
    slope = height * (1 - height)
    return (height, slope.square() * variance), (slope,)


def sigmoid_backward(_: None, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Centred message to z."""
    (slope,) = saved
    assert slope is not None
    return slope * score, slope.square() * precision


def _sloped(part: Tensor, at: Tensor, slope: float) -> Tensor:
    """part x (1 where at > 0, slope elsewhere), in one pass over memory."""
    return torch.ops.aten.leaky_relu_backward(part, at, slope, False)


LEAKY_RELU = Rule(leaky_relu_forward, leaky_relu_backward)
SIGMOID = Rule(sigmoid_forward, sigmoid_backward)
