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
from torch_gbp.factors.conv import ConvOptions, transpose
from torch_gbp.factors.conv_transpose import ConvTransposeOptions, gather, spread
from torch_gbp.factors.leaky_relu import LeakyReLUOptions
from torch_gbp.factors.linear import affine


def linear_forward(
    _: None,
    mean: Tensor,  # (n, i)
    variance: Tensor | None,  # (n, i), None for an observed input
    weight_mean: Tensor,  # (o, i)
    weight_var: Tensor,  # (o, i) or, shared, (1, i)
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o) each."""
    second = mean * mean
    out_var = affine(second, weight_var.expand_as(weight_mean), bias_var)
    squared = None
    if variance is not None:
        squared = weight_mean * weight_mean
        out_var.addmm_(variance, squared.t())
    kept = mean, second, weight_mean, squared, weight_var, bias_mean
    return (affine(mean, weight_mean, bias_mean), out_var), kept


def linear_backward(_: None, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Centred messages to a, W and b."""
    mean, second, weight_mean, squared, weight_var, bias_mean = saved
    assert mean is not None and second is not None and weight_mean is not None and weight_var is not None
    to_input = (None, None) if squared is None else (score @ weight_mean, precision @ squared)
    to_bias = (None, None) if bias_mean is None else (score.sum(0), precision.sum(0))
    return *to_input, score.t() @ mean, (precision.t() @ second).sum_to_size(weight_var.shape), *to_bias


def conv_forward(
    options: ConvOptions,
    mean: Tensor,  # (n, c, h, w)
    variance: Tensor | None,  # (n, c, h, w), None for an observed input
    weight_mean: Tensor,  # (o, c / groups, kh, kw)
    weight_var: Tensor,  # the same or, shared, (1, c / groups, 1, 1)
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o, h', w') each."""
    second = mean * mean
    out_var = F.conv2d(second, weight_var.expand_as(weight_mean), bias_var, *options)
    squared = None
    if variance is not None:
        squared = weight_mean * weight_mean
        out_var += F.conv2d(variance, squared, None, *options)
    kept = mean, second, weight_mean, squared, weight_var, bias_mean
    return (F.conv2d(mean, weight_mean, bias_mean, *options), out_var), kept


def conv_backward(options: ConvOptions, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Centred messages to a, W and b."""
    mean, second, weight_mean, squared, weight_var, bias_mean = saved
    assert mean is not None and second is not None and weight_mean is not None and weight_var is not None
    hidden = squared is not None
    score_a, score_w = transpose(score, mean, weight_mean, options, hidden)
    precision_a, precision_w = transpose(precision, second, weight_mean if squared is None else squared, options, hidden)
    to_input = (score_a, precision_a) if hidden else (None, None)
    to_bias = (None, None) if bias_mean is None else (score.sum((0, 2, 3)), precision.sum((0, 2, 3)))
    return *to_input, score_w, precision_w.sum_to_size(weight_var.shape), *to_bias


def conv_transpose_forward(
    options: ConvTransposeOptions,
    mean: Tensor,  # (n, c, h, w)
    variance: Tensor | None,  # (n, c, h, w), None for an observed input
    weight_mean: Tensor,  # (o / groups, c, kh, kw)
    weight_var: Tensor,  # the same or, shared, (1, c, 1, 1)
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o, h', w') each."""
    second = mean * mean
    out_var = spread(second, weight_var.expand_as(weight_mean), bias_var, options)
    squared = None
    if variance is not None:
        squared = weight_mean * weight_mean
        out_var += spread(variance, squared, None, options)
    kept = mean, second, weight_mean, squared, weight_var, bias_mean
    return (spread(mean, weight_mean, bias_mean, options), out_var), kept


def conv_transpose_backward(
    options: ConvTransposeOptions, saved: Saved, score: Tensor, precision: Tensor
) -> tuple[Tensor | None, ...]:
    """Centred messages to a, W and b."""
    mean, second, weight_mean, squared, weight_var, bias_mean = saved
    assert mean is not None and second is not None and weight_mean is not None and weight_var is not None
    hidden = squared is not None
    score_a, score_w = gather(score, mean, weight_mean, options, hidden)
    precision_a, precision_w = gather(precision, second, weight_mean if squared is None else squared, options, hidden)
    to_input = (score_a, precision_a) if hidden else (None, None)
    to_bias = (None, None) if bias_mean is None else (score.sum((0, 2, 3)), precision.sum((0, 2, 3)))
    return *to_input, score_w, precision_w.sum_to_size(weight_var.shape), *to_bias


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


LINEAR = Rule(linear_forward, linear_backward)
CONV = Rule(conv_forward, conv_backward)
CONV_TRANSPOSE = Rule(conv_transpose_forward, conv_transpose_backward)
LEAKY_RELU = Rule(leaky_relu_forward, leaky_relu_backward)
SIGMOID = Rule(sigmoid_forward, sigmoid_backward)
