"""Covariances of the weights of a bilinear map: how they enter the variance of z, and what comes back to them.

`DIAGONAL` has a variance for every weight, `SHARED` one for each input, the same for all outputs, `FULL` a matrix for each
output's weights, to first order only. The equations are those of `factors/bilinear.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments
from torch_gbp.errors import MissingRule
from torch_gbp.factors.maps import Back, Map, Parts


class Terms(NamedTuple):
    """What v_z is made of: m_a, S, m_W, v_W as the covariance stores it, (v_a, m_W^2) or None for an observed input, v_b."""

    mean: Tensor
    second: Tensor
    weights: Tensor
    own: Tensor
    hidden: Moments | None
    bias: Tensor | None


class Covariance:
    """`spread` is the variance of z and `gather` its transpose at a message G; `_first` to first order, S = m_a^2."""

    def spread(self, map: Map, options: Any, terms: Terms) -> tuple[Tensor, Parts]:
        """v_z, and what `gather` needs."""
        raise NotImplementedError

    def gather(self, map: Map, options: Any, message: Tensor, kept: Parts) -> Back:
        """What comes back to the variances of weights and inputs."""
        raise NotImplementedError

    def spread_first(self, map: Map, options: Any, terms: Terms) -> tuple[Tensor, Parts]:
        """v_z, and what `gather_first` needs."""
        return self.spread(map, options, terms)

    def gather_first(
        self, map: Map, options: Any, message: Tensor, kept: Parts, weights: Tensor, to_inputs: bool
    ) -> tuple[Tensor | None, Tensor]:
        """G at `weights`, m_W^2, to the inputs (None where not wanted); and G at m_a^2, to the variances of the weights."""
        raise NotImplementedError


class Diagonal(Covariance):
    """Independent weights, a variance each."""

    def spread(self, map: Map, options: Any, terms: Terms) -> tuple[Tensor, Parts]:
        return map.dense(options, (terms.second, terms.own), terms.hidden, terms.bias)

    def gather(self, map: Map, options: Any, message: Tensor, kept: Parts) -> Back:
        return map.dense_transpose(options, message, kept)

    def spread_first(self, map: Map, options: Any, terms: Terms) -> tuple[Tensor, Parts]:
        return map.sum(options, (terms.second, terms.own), terms.hidden, terms.bias), (terms.second,)

    def gather_first(
        self, map: Map, options: Any, message: Tensor, kept: Parts, weights: Tensor, to_inputs: bool
    ) -> tuple[Tensor | None, Tensor]:
        return map.transpose(options, message, kept[0], weights, to_inputs)  # each at the other's argument: one call for both


class Shared(Covariance):
    """Independent weights that share their variances, r (1, i, ...)."""

    def spread(self, map: Map, options: Any, terms: Terms) -> tuple[Tensor, Parts]:
        return map.shared(options, terms.second, terms.own, terms.hidden, terms.weights, terms.bias)

    def gather(self, map: Map, options: Any, message: Tensor, kept: Parts) -> Back:
        return map.shared_transpose(options, message, kept)

    def gather_first(
        self, map: Map, options: Any, message: Tensor, kept: Parts, weights: Tensor, to_inputs: bool
    ) -> tuple[Tensor | None, Tensor]:
        to_row = map.to_row(options, message, kept)
        return map.transpose(options, message, kept[0], weights, to_weights=False)[0] if to_inputs else None, to_row


class Full(Covariance):
    """A joint Gaussian N(m_o, C_o) of the d weights of every output. With x_p (d,) the means that output position p looks at,

        v_z = x_p' C_o x_p + M(v_a, m_W^2) + v_b        G_W = sum_p x_p x_p' G_p / (1 - x_p' C_o x_p G_p)       (o, d, d)

    A factor's message to its d weights is exact in all of them: what they bring to v_z themselves is taken out of the precision.
    Source: GBP Learning (arXiv 2311.14649) equations 5 to 8 with the weights of an output as one variable.
    """

    def spread(self, map: Map, options: Any, terms: Terms) -> tuple[Tensor, Parts]:
        raise MissingRule("a full covariance is for linearised factors", where="Bilinear", got="order 2", fix="use order=1")

    def spread_first(self, map: Map, options: Any, terms: Terms) -> tuple[Tensor, Parts]:
        rows = map.rows(options, terms.mean, terms.weights)  # (n, groups d, p)
        patches = rows.unflatten(1, (map.groups(options), -1)).permute(1, 2, 0, 3).flatten(2)  # (groups, d, n p)
        each = len(terms.own) // len(patches)
        looked = (patches[o // each] for o in range(len(terms.own)))
        own = torch.stack([((cov @ x) * x).sum(0) for cov, x in zip(terms.own, looked, strict=True)])
        own = own.view(len(own), len(rows), -1).transpose(0, 1)  # (n, o, p)
        output = own if terms.bias is None else own + terms.bias[:, None]
        if terms.hidden is not None:
            output = output + map.affine(options, *terms.hidden, None).view_as(output)
        return output, (patches, own, terms.mean)

    def gather_first(
        self, map: Map, options: Any, message: Tensor, kept: Parts, weights: Tensor, to_inputs: bool
    ) -> tuple[Tensor | None, Tensor]:
        patches, own, mean = kept
        alone = message.view_as(own) / (1 - own * message.view_as(own))
        rows = alone.transpose(0, 1).flatten(1)  # (o, n p)
        each = len(rows) // len(patches)
        to_rows = torch.stack([(patches[o // each] * row) @ patches[o // each].t() for o, row in enumerate(rows)])
        return map.transpose(options, message, mean, weights, to_weights=False)[0] if to_inputs else None, to_rows


DIAGONAL, SHARED, FULL = Diagonal(), Shared(), Full()
