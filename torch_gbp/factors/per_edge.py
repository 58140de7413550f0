"""The bilinear factor z = M(a, W) + b with exact scalar messages: to each variable, of all others only.

Forward as in `factors/bilinear.py`. Backward, every output of every position being a row z = w' a + b, S = m_a^2 + v_a, and what
one product contributes to the variance of z

    V_oi = E[a_i^2] E[w_oi^2] - (E[a_i] E[w_oi])^2 = S_i v_W,oi + v_a,i m_W,oi^2,    k_oi = 1 / (1 - G_o V_oi)

the message of every row, with (g, G) the derivatives of its log evidence at z:

    to w_oi    k (g_o m_a - m_W G_o v_a, G_o S)                    product over rows
    to a_i     k (g_o m_W - m_a G_o v_W, G_o (m_W^2 + v_W))        product over outputs, and the rows that it lies in
    to b_o     (g_o, G_o) / (1 - G_o v_b)

So k is the leave-one-out term that the sums of `factors/bilinear.py` drop. In terms of a message (eta, R) to z it is
(1 + R v_z) / D_oi with D_oi = 1 + R (v_z - V_oi). The cavity of a kernel or bias (see `inference/exact.py`) leaves out a whole
example, so it is the same at all of its positions. Memory and time: examples x positions x outputs x inputs, for small data.
Source: AMP-BNN thesis sections 3.2.1 and 4.1 and its code; with an observed input the weighted sum with constant coefficients;
padding adds observed zeros here, mirrored pixels there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Saved
from torch_gbp.errors import ImproperMarginal
from torch_gbp.factors.bilinear import Bilinear
from torch_gbp.factors.covariance import DIAGONAL
from torch_gbp.factors.factor import Factor
from torch_gbp.factors.maps import Map


@dataclass(frozen=True)
class PerEdge(Factor):
    """The exact scalar messages of a map's factor; weights have a variance each, or (1, i, ...) shared ones."""

    map: Map

    def forward(self, options: Any, *inputs: Tensor | None) -> tuple[Moments, Saved]:
        """Moments of z.

        Raises:
            MissingRule: a map that cannot list the inputs of its outputs.
        """
        mean, variance, weight_mean, weight_var, bias_mean, bias_var = inputs
        assert mean is not None and weight_mean is not None and weight_var is not None
        self.map.require_rows()
        every = mean, variance, weight_mean, weight_var.expand_as(weight_mean), bias_mean, bias_var
        return Bilinear(self.map, DIAGONAL).moments(options, *every), (mean, variance, weight_mean, weight_var, bias_var)

    def backward(self, options: Any, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
        """Messages to a, W and b, centred at the means that went forward."""
        mean, _, weight_mean, weight_var, _ = saved
        assert mean is not None and weight_mean is not None and weight_var is not None
        groups = [_exact(*group) for group in self._groups(options, saved, score, precision)]  # type: ignore[arg-type]
        pairs = zip((1, 1, 0, 0, 0, 0), zip(*groups, strict=True), strict=True)  # the axis that the groups divide
        *to_input, to_weight, to_variance, to_bias, sharp = (_joined(axis, parts) for axis, parts in pairs)
        back = (None if part is None else self._fold(options, part, mean, weight_mean) for part in to_input)
        assert to_weight is not None and to_variance is not None
        to_variance = to_variance.view_as(weight_mean).sum_to_size(weight_var.shape)
        return *back, to_weight.view_as(weight_mean), to_variance, to_bias, sharp

    def _groups(self, options: Any, saved: Saved, score: Tensor, precision: Tensor) -> Iterator[tuple[Tensor | None, ...]]:
        """Rows, weights, biases and what comes from above, of each group."""
        mean, variance, weight_mean, weight_var, bias_var = saved
        assert weight_mean is not None and weight_var is not None
        count, weights = self.map.groups(options), (weight_mean, weight_var.expand_as(weight_mean))
        rows = [None if part is None else _by_row(self.map.rows(options, part, weight_mean)) for part in (mean, variance)]
        above = [_by_row(part.flatten(2) if part.ndim > 2 else part[:, :, None]) for part in (score, precision)]
        inner = [None if part is None else part.chunk(count, 1) for part in (*rows, *above)]
        outer = [None if part is None else part.chunk(count, 0) for part in (*(part.flatten(1) for part in weights), bias_var)]
        for group in range(count):
            yield tuple(None if parts is None else parts[group] for parts in (*inner[:2], *outer, *inner[2:]))

    def _fold(self, options: Any, rows: Tensor, mean: Tensor, weights: Tensor) -> Tensor:
        """The product over the rows that an input lies in: the sum of their messages."""
        return self.map.fold(options, rows.unflatten(0, (len(mean), -1)).transpose(1, 2), mean, weights)


def _by_row(parts: Tensor) -> Tensor:
    """(n, i, positions) as (n positions, i)."""
    return parts.transpose(1, 2).flatten(0, 1)


def _joined(axis: int, parts: tuple[Tensor | None, ...]) -> Tensor | None:
    """Messages of all groups."""
    found = [part for part in parts if part is not None]
    return torch.cat(found, axis) if found else None


def _exact(
    mean: Tensor,  # (n, i)
    variance: Tensor | None,
    weight_mean: Tensor,  # (o, i)
    weight_var: Tensor,
    bias_var: Tensor | None,  # (o,)
    score: Tensor,  # (n, o)
    precision: Tensor,
) -> tuple[Tensor | None, ...]:
    """Messages of the rows of one group to a, W and b."""
    to_bias = _to_bias(bias_var, score, precision)
    mean, score, precision = mean.unsqueeze(1), score.unsqueeze(2), precision.unsqueeze(2)  # (n, o, i)
    second, explained, to_input = mean * mean, None, (None, None)
    if variance is not None:
        variance = variance.unsqueeze(1)
        second = second + variance
        squared = weight_mean * weight_mean
        explained = variance * squared
    keep = _leave_out(second * weight_var if explained is None else explained.addcmul_(second, weight_var), precision)
    to_weight = keep * score
    if variance is not None:
        to_input = _to_input(mean, to_weight, keep * precision, weight_mean, weight_var, squared)
    to_weight.mul_(mean)
    share = keep.mul_(precision)
    if variance is not None:
        to_weight.addcmul_(share * variance, weight_mean, value=-1)
    return *to_input, _product(to_weight), _product(share.mul_(second)), *to_bias


def _to_input(
    mean: Tensor, score: Tensor, precision: Tensor, weight_mean: Tensor, weight_var: Tensor, squared: Tensor
) -> tuple[Tensor, Tensor]:
    """Product over outputs of what each says to the inputs; score and precision are k g and k G."""
    to_precision = torch.einsum("noi,oi->ni", precision, squared + weight_var)
    noise = torch.einsum("noi,oi->ni", precision, weight_var)
    return torch.einsum("noi,oi->ni", score, weight_mean) - mean.squeeze(1) * noise, to_precision


def _product(messages: Tensor) -> Tensor:
    """Product over rows of what each says to the weights."""
    return messages[0] if len(messages) == 1 else messages.sum(0)


def _to_bias(bias_var: Tensor | None, score: Tensor, precision: Tensor) -> tuple[Tensor | None, Tensor | None]:
    if bias_var is None:
        return None, None
    keep = _leave_out(bias_var.expand_as(precision).clone(), precision)
    return (score * keep).sum(0), (precision * keep).sum(0)


def _leave_out(explained: Tensor, precision: Tensor) -> Tensor:
    """1 / (1 - G V) from V (overwritten) and G; G V is the product's share of what the evidence explains."""
    rest = explained.mul_(precision).neg_().add_(1)
    if rest.amin() <= 0:  # NaN passes: the optimizer finds it, and names the layer
        raise ImproperMarginal(
            f"{int((rest <= 0).sum())} of {rest.numel()} exact messages have no finite precision",
            where="the linear factor with exact messages",
            got=f"worst 1 - G V {rest.min():.3g}",
            cause="evidence of more than one factor: a likelihood power above 1, or a variable with several uses",
            fix="use power=1, or AllAtOnce()",
        )
    return rest.reciprocal_()
