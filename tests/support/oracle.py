"""Independent answers in float64: quadrature, dense Gaussian posteriors, loops. Nothing here calls a rule of the library."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NODES, _WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(20))
PANELS = 160  # per piece; exact to rounding for what is smooth over a panel of 0.15 standard deviations


def grid(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights, last axis, of Gauss-Legendre on equal panels of [low, high]; an empty piece has weight 0."""
    width = (high - low).clamp_min(0).unsqueeze(-1) / PANELS
    start = low.unsqueeze(-1) + width * torch.arange(PANELS, dtype=torch.float64)
    nodes = start.unsqueeze(-1) + width.unsqueeze(-1) * (_NODES + 1) / 2
    return nodes.flatten(-2), (width.unsqueeze(-1) * _WEIGHTS / 2).expand_as(nodes).flatten(-2)


def expectation(function: Callable[[Tensor], Tensor], mean: Tensor, variance: Tensor, kink: float = 0.0) -> Tensor:
    """E[function(z)], z ~ N(mean, variance), for a function smooth on both sides of the kink."""
    deviation = variance.sqrt()
    low, high, middle = mean - 12 * deviation, mean + 12 * deviation, torch.full_like(mean, kink)
    middle = torch.minimum(torch.maximum(middle, low), high)
    total = torch.zeros_like(mean)
    for bounds in ((low, middle), (middle, high)):
        z, weight = grid(*bounds)
        density = torch.exp(-0.5 * ((z - mean.unsqueeze(-1)) / deviation.unsqueeze(-1)) ** 2)
        total += (weight * density * function(z)).sum(-1) / (deviation * math.sqrt(2 * math.pi))
    return total


def tilted_moments(
    mean: Tensor,
    variance: Tensor,
    log_factor: Callable[[Tensor], Tensor],
    low: Tensor,
    high: Tensor,
    of: Callable[[Tensor], Tensor] = lambda z: z,
) -> tuple[Tensor, Tensor]:
    """Mean and variance of `of(z)`, z ~ N(z; mean, variance) exp(log_factor(z)) / Z on [low, high], smooth off 0."""
    zero = torch.zeros_like(mean)
    pieces = [grid(low, zero), grid(zero, high)]
    z, weight = (torch.cat(parts, -1) for parts in zip(*pieces, strict=True))
    log = log_factor(z) - 0.5 * (z - mean.unsqueeze(-1)) ** 2 / variance.unsqueeze(-1)
    mass = weight * torch.exp(log - log.amax(-1, keepdim=True))
    mass = mass / mass.sum(-1, keepdim=True)
    value = of(z)
    centre = (mass * value).sum(-1)
    return centre, (mass * (value - centre.unsqueeze(-1)) ** 2).sum(-1)


def condition(mean: Tensor, variance: Tensor, matrix: Tensor, noise: float, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Marginal means and variances of u ~ N(mean, diag(variance)) given A u + e = y, e ~ N(0, noise); and log p(y)."""
    covariance = torch.diag(variance)
    joint = matrix @ covariance @ matrix.T + noise * torch.eye(len(matrix), dtype=torch.float64)
    gain = torch.linalg.solve(joint, matrix @ covariance).T
    gap = observed - matrix @ mean
    log = -0.5 * (gap @ torch.linalg.solve(joint, gap) + torch.logdet(2 * math.pi * joint))
    return mean + gain @ gap, torch.diag(covariance - gain @ matrix @ covariance), log


def linear_moments(mean: Tensor, variance: Tensor | None, *weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Moments of sum_i W_oi a_i + b_o, term by term: Var[W a] = v_W v_a + v_W m_a^2 + m_W^2 v_a."""
    weight_mean, weight_var, bias_mean, bias_var = weights
    mean, variance = (mean[:, None], 0 if variance is None else variance[:, None])
    out_mean = (mean * weight_mean).sum(-1)
    out_var = (weight_var * variance + weight_var * mean**2 + weight_mean**2 * variance).sum(-1)
    return (out_mean, out_var) if bias_mean is None else (out_mean + bias_mean, out_var + bias_var)


def conv_moments(options: Any, mean: Tensor, variance: Tensor | None, *weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Moments of a convolution: `linear_moments` of every patch, found by index arithmetic."""
    weight_mean, weight_var, bias_mean, bias_var = weights
    (stride_h, stride_w), (pad_h, pad_w), (step_h, step_w), groups = options
    outs, ins, kernel_h, kernel_w = weight_mean.shape
    padded = [None if p is None else torch.nn.functional.pad(p, (pad_w, pad_w, pad_h, pad_h)) for p in (mean, variance)]
    rows = (padded[0].shape[2] - step_h * (kernel_h - 1) - 1) // stride_h + 1
    columns = (padded[0].shape[3] - step_w * (kernel_w - 1) - 1) // stride_w + 1
    result = [[[[None] * columns for _ in range(rows)] for _ in range(groups)] for _ in range(2)]
    per = outs // groups
    for group, row, column in itertools.product(range(groups), range(rows), range(columns)):
        own, into = slice(group * ins, (group + 1) * ins), slice(group * per, (group + 1) * per)
        where = (
            slice(None),
            own,
            slice(row * stride_h, row * stride_h + step_h * (kernel_h - 1) + 1, step_h),
            slice(column * stride_w, column * stride_w + step_w * (kernel_w - 1) + 1, step_w),
        )
        patch = [None if p is None else p[where].flatten(1) for p in padded]
        kernels = [weight_mean[into].flatten(1), weight_var[into].flatten(1)]
        biases = [None if b is None else b[into] for b in (bias_mean, bias_var)]
        for k, part in enumerate(linear_moments(*patch, *kernels, *biases)):
            result[k][group][row][column] = part
    stacked = [
        torch.cat([torch.stack([torch.stack(line, -1) for line in group], -2) for group in moment], 1) for moment in result
    ]
    return stacked[0], stacked[1]


def conv_transpose_moments(options: Any, mean: Tensor, variance: Tensor | None, *weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Moments of a transposed convolution: every entry's products are added where its kernel lies."""
    weight_mean, weight_var, bias_mean, bias_var = weights  # (o / groups, c, kh, kw)
    assert weight_mean is not None and weight_var is not None
    stride, padding, extra, groups, step = options
    per, ins, *kernel = weight_mean.shape
    spread = torch.zeros_like(mean) if variance is None else variance
    size = [(mean.shape[2 + d] - 1) * stride[d] + step[d] * (kernel[d] - 1) + 1 + extra[d] for d in (0, 1)]
    outs = [torch.zeros(len(mean), groups * per, *size, dtype=torch.float64) for _ in range(2)]
    for c, row, column in itertools.product(range(ins), *(range(length) for length in mean.shape[2:])):
        m, v = (part[:, c, row, column, None, None, None] for part in (mean, spread))
        w, r = weight_mean[:, c], weight_var[:, c]
        first = c // (ins // groups) * per
        top, left = row * stride[0], column * stride[1]
        reach = [slice(at, at + step[d] * (kernel[d] - 1) + 1, step[d]) for d, at in ((0, top), (1, left))]
        where = (slice(None), slice(first, first + per), *reach)
        outs[0][where] += m * w
        outs[1][where] += r * v + r * m**2 + w**2 * v
    inside = [slice(padding[d], size[d] - padding[d]) for d in (0, 1)]
    moments = [out[:, :, inside[0], inside[1]] for out in outs]
    if bias_mean is None or bias_var is None:
        return moments[0], moments[1]
    return moments[0] + bias_mean[:, None, None], moments[1] + bias_var[:, None, None]


def copied(size: tuple[int, int], mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest upsampling: output pixel i of an axis copies entry floor(i length / size)."""
    rows, columns = ([i * mean.shape[2 + d] // size[d] for i in range(size[d])] for d in (0, 1))
    return mean[:, :, rows][..., columns], variance[:, :, rows][..., columns]


def tied(moments: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """The moments where weights share variances: every weight gets the one of its input."""

    def answer(mean: Tensor, variance: Tensor | None, *weights: Tensor | None) -> tuple[Tensor, Tensor]:
        weight_mean, weight_var, *bias = weights
        assert weight_mean is not None and weight_var is not None
        return moments(mean, variance, weight_mean, weight_var.expand_as(weight_mean), *bias)

    return answer


def by_autograd(moments: Callable[..., tuple[Tensor, Tensor]], kinds: str) -> Callable[..., tuple[Tensor, ...]]:
    """Moments and messages of a factor: g = dF/dm and G = -2 dF/dv of F = sum g m_z - sum G v_z / 2.

    `kinds` says of every input whether it is a mean ("m"), a variance ("v"), absent or observed ("-": no message).
    """

    def answer(score: Tensor, precision: Tensor, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        leaves = [x if kind == "-" else x.clone().requires_grad_() for x, kind in zip(inputs, kinds, strict=True)]
        out_mean, out_var = moments(*leaves)
        functional = (score * out_mean).sum() - 0.5 * (precision * out_var).sum()
        grads = iter(torch.autograd.grad(functional, [x for x, kind in zip(leaves, kinds, strict=True) if kind != "-"]))
        messages = [None if kind == "-" else next(grads) * {"m": 1.0, "v": -2.0}[kind] for kind in kinds]
        return (out_mean.detach(), out_var.detach(), *messages)

    return answer


def linearised(moments: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """First-order moments: the variance has the means as fixed slopes, and no product of two variances."""

    def answer(mean: Tensor, variance: Tensor | None, *weights: Tensor | None) -> tuple[Tensor, Tensor]:
        weight_mean, weight_var, bias_mean, bias_var = weights
        out_mean, _ = moments(mean, variance, *weights)
        slopes = weight_mean.detach()
        _, out_var = moments(mean.detach(), None, slopes, weight_var, bias_mean, bias_var)
        if variance is not None:
            out_var = out_var + moments(mean.detach() * 0, variance, slopes, weight_var.detach() * 0, None, None)[1]
        return out_mean, out_var

    return answer


def noisy_copy(
    noise: float, prior: float, score: Tensor, precision: Tensor, mean: Tensor, variance: Tensor
) -> tuple[Tensor, ...]:
    """y = z + e with a prior precision: the message to y and the prior, multiplied in natural form and sent through the noise."""
    spread = variance + noise
    out_mean, out_var = mean / (1 + spread * prior), spread / (1 + spread * prior)
    told = precision / (1 - out_var * precision)  # natural form of the derivatives at the belief of y
    information = score / (1 - out_var * precision) + told * out_mean
    total = told + prior
    back = (information - mean * total) / (1 + spread * total), total / (1 + spread * total)
    return out_mean, out_var, *back


BARE = {  # torch's own maps of inputs, weights and biases
    "matmul": lambda options, a, w, b: torch.nn.functional.linear(a, w, b),
    "conv": lambda options, a, w, b: torch.nn.functional.conv2d(a, w, b, *options),
}


def joint(function: Callable[..., Tensor], score: Tensor, precision: Tensor, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
    """A bilinear map whose outputs' weights have a covariance each, by torch's Jacobians J; messages J' g and J' G J."""
    mean, variance, weight, cov, bias, bias_var = inputs
    of_input, of_weight = torch.autograd.functional.jacobian(lambda a, w: function(a, w, None).flatten(), (mean, weight))
    of_input, of_weight = of_input.flatten(1), of_weight.reshape(len(of_weight), len(weight), -1)
    own = torch.einsum("pod,ode,poe->p", of_weight, cov, of_weight).view_as(score)
    spread = own if variance is None else own + (of_input.square() @ variance.flatten()).view_as(own)
    moments = [function(mean, weight, bias), spread]
    if bias_var is not None:
        moments[1] = spread + bias_var.view(-1, *(1 for _ in score.shape[2:]))
    alone = (precision / (1 - own * precision)).flatten()
    to_input = [(of_input.T @ score.flatten()).view_as(mean), (of_input.square().T @ precision.flatten()).view_as(mean)]
    to_weight = [torch.einsum("pod,p->od", of_weight, score.flatten()).view_as(weight)]
    to_weight.append(torch.einsum("pod,p,poe->ode", of_weight, alone, of_weight))
    to_bias = [None, None] if bias is None else [part.transpose(0, 1).flatten(1).sum(1) for part in (score, precision)]
    return (*moments, *([None, None] if variance is None else to_input), *to_weight, *to_bias)
