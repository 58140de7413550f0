"""FilterBelief: the weights of a convolution's filters during a visit to a batch, one joint Gaussian for each filter.

Neighbouring pixels are alike, so a factor says much of the sum of a filter's weights and little of each: told one by one, they
all answer at once, and summed messages must be damped until they creep. Told together,

    Lambda = diag(Lambda0) + sum of the (d, d) messages,    m = Lambda^-1 (Lambda0 m0 + sum of their information)

there is nothing to overshoot. After the batch the marginals keep the means and the diagonal of Lambda: the product of Gaussians q
that is closest to the joint one p in D_KL(q || p). (1 / variance of each weight, which `JointNode` keeps for a dense layer, would
forget from batch to batch what is known of a filter's sum.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.inference.damping import Iteration
from torch_gbp.inference.weights import WeightBelief
from torch_gbp.weights.parameter import GaussianParameter


class FilterBelief(WeightBelief):
    """Belief of filters (o, c, h, w); its variance, while the batch is looked at, is a covariance (o, d, d) for each filter."""

    def __init__(self, marginal: GaussianParameter) -> None:
        super().__init__(marginal)
        self.variance = torch.diag_embed(self._rows(self.variance))

    def receive(self, score: Tensor, precision: Tensor, now: Iteration) -> None:
        """Takes the centred message of the whole batch, g (o, c, h, w) and G (o, d, d), damped."""
        mean = self._rows(self.mean)
        joint = torch.cat([precision, (self._rows(score) + (precision @ mean[:, :, None])[:, :, 0])[:, :, None]], 2)
        # A column for each filter: dropout takes all of a filter or nothing, else its precision would be no covariance.
        (kept,) = self.message_so_far.update([joint.flatten(1).t()], now, now.weight_rate, joined=True)
        matrix, information = kept.t().reshape(joint.shape).split([mean.shape[1], 1], 2)
        own = torch.diag_embed(self._rows(self.before.precision))
        root = torch.linalg.cholesky(matrix + own)
        information = information + self._rows(self.before.information)[:, :, None]
        self.mean = torch.cholesky_solve(information, root)[:, :, 0].view_as(self.mean)
        self.precision = self._stored((matrix + own).diagonal(dim1=1, dim2=2))
        self.variance = torch.cholesky_inverse(root)

    def _stored(self, rows: Tensor) -> Tensor:
        """(o, d) as the marginal stores precisions: their average over the weights that share one."""
        shared = self.before.precision.numel() / rows.numel()
        return rows.view_as(self.mean).sum_to_size(self.before.precision.shape) * shared

    def _rows(self, part: Tensor) -> Tensor:
        """(o, c, h, w), or what broadcasts to it, as (o, d)."""
        return part.expand_as(self.mean).flatten(1)
