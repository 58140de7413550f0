"""The factor z = M(a, W) + b of a bilinear map M: inputs a, weights W and biases b, all uncertain and independent.

Moment-matched (order 2), with S = m_a^2 + v_a, M' the transpose of M at its other argument:

    m_z = M(m_a, m_W) + m_b                          v_z = M(S, v_W) + M(v_a, m_W^2) + v_b
    g_W = M'(g, m_a) - m_W M'(G, v_a)                G_W = M'(G, S)          (sums over examples, positions)
    g_a = M'(g, m_W) - m_a M'(G, v_W)                G_a = M'(G, m_W^2 + v_W)
    g_b = sum g                                      G_b = sum G

which are the exact moments, and the variational messages: d/dm and -d2/dm2 of E[g (z - m_z) - G (z - m_z)^2 / 2]. Where the input
is observed and g is the derivative of the log evidence by m_z, g_W is that by m_W. Behind an uncertain input it is not: v_z
depends on m_W then, and d log Z / dv = (g^2 - G) / 2, of which layers take -G / 2. Likelihoods emit G = -d2 log Z / dm2.

Linearised (order 1): a product w a is w m_a + m_w a - m_w m_a near the means, so the terms of second order drop out:

    m_z as above                                     v_z = M(m_a^2, v_W) + M(v_a, m_W^2) + v_b
    g_W = M'(g, m_a)                                 G_W = M'(G, m_a^2)
    g_a = M'(g, m_W)                                 G_a = M'(G, m_W^2)

Iterated, the means go to a stationary point of the graph's energy, where every residual is taken at the means.
Sources: moments, PBP (Hernandez-Lobato & Adams 2015); messages, the product factor of Stern, Herbrich & Graepel 2009, which is
the sum of the exact scalar messages (`factors/per_edge.py`) without their leave-one-out terms, O(1 / fan-in); linearised, GBP
Learning (arXiv 2311.14649) section 3.1, equations 5 to 8, with the messages of a layer summed up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.factors.covariance import DIAGONAL, SHARED, Covariance, Terms
from torch_gbp.factors.factor import Factor
from torch_gbp.factors.maps import Map


@dataclass(frozen=True)
class Bilinear(Factor):
    """The factor of a map whose weights have a covariance, to second (moment-matched) or first (linearised) order.

    >>> from torch_gbp.factors.covariance import DIAGONAL
    >>> from torch_gbp.factors.maps import MATMUL
    >>> one = torch.ones(1, 1)
    >>> Bilinear(MATMUL, DIAGONAL, 2).moments(None, 2 * one, one, 3 * one, one, None, None)
    (tensor([[6.]]), tensor([[14.]]))
    """

    map: Map
    covariance: Covariance
    order: int = 2

    def moments(self, options: Any, *inputs: Tensor | None) -> Moments:
        return self.forward(options, *inputs)[0]  # type: ignore[arg-type]

    def forward(
        self,
        options: Any,
        mean: Tensor,  # (n, i, ...)
        variance: Tensor | None,  # (n, i, ...), None for an observed input
        weight_mean: Tensor,  # (o, i, ...)
        weight_var: Tensor,  # as the covariance stores it
        bias_mean: Tensor | None,  # (o,)
        bias_var: Tensor | None,
    ) -> tuple[Moments, Saved]:
        """Moments of z, and what the way back needs."""
        first, seen = self.order == 1, self.map.seen(options, mean)
        matched = variance is not None and not first
        second = torch.addcmul(variance, seen, seen) if matched else self.map.square(options, seen)  # type: ignore[arg-type]
        squared = None if variance is None else weight_mean * weight_mean
        hidden = None if variance is None or squared is None else (variance, squared)
        out_mean = self.map.affine(options, seen, weight_mean, bias_mean)
        spread = self.covariance.spread_first if first else self.covariance.spread
        out_var, kept = spread(self.map, options, Terms(seen, second, weight_mean, weight_var, hidden, bias_var))
        return (out_mean, out_var.view_as(out_mean)), (seen, weight_mean, squared, bias_mean, *kept)

    def backward(self, options: Any, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
        """Centred messages to a, W and b."""
        mean, weight_mean, squared, bias_mean, *kept = saved
        assert mean is not None and weight_mean is not None
        hidden, noise, own = squared is not None, None, None
        back = self.map, options, precision, tuple(kept)
        if self.order == 1:
            at = weight_mean if squared is None else squared
            precision_a, precision_w = self.covariance.gather_first(*back, at, hidden)  # type: ignore[arg-type]
        else:
            precision_w, noise, precision_a, own = self.covariance.gather(*back)  # type: ignore[arg-type]
        score_a, score_w = self.map.transpose(options, score, mean, weight_mean, hidden)  # after G, which is still in the cache
        if noise is not None and own is not None:
            score_a.addcmul_(mean, noise, value=-1)
            score_w.addcmul_(weight_mean, own, value=-1)
        to_input = (score_a, precision_a) if hidden else (None, None)
        to_bias = (None, None) if bias_mean is None else (self.map.to_bias(score), self.map.to_bias(precision))
        return *to_input, score_w, precision_w, *to_bias


@cache
def rule_of(map: Map, covariance: Covariance, order: int = 2) -> Rule:
    """The rule of `Bilinear(map, covariance, order)`, made once."""
    return Bilinear(map, covariance, order).rule()


def rules_of(map: Map) -> dict[tuple[bool, bool], Rule]:
    """A layer's rules of independent weights, by (whether they share their variances, whether linearised)."""
    covariances = {False: DIAGONAL, True: SHARED}
    return {
        (shared, first): rule_of(map, covariance, 1 if first else 2)
        for shared, covariance in covariances.items()
        for first in (False, True)
    }
