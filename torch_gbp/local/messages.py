"""The messages at a block boundary: forward alpha, backward beta, their product rho, and how far rho is from alpha.

What a boundary's latent variable is: the block's activations, averaged over space and normalised for each example to
mean 0 and mean square 1 over the channels. Only so do variances that are known beforehand have a unit; without it a
block makes its loss smaller by shrinking its activations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from torch_gbp.gaussian import Gaussian


def channels(activations: Tensor) -> Tensor:
    """Normalised channel activations (n, c) of activations (n, c) or (n, c, ...): mean 0, mean square 1 over c.

    >>> channels(torch.tensor([[[[1.0, 3.0]], [[4.0, 6.0]]]])).round()
    tensor([[-1.,  1.]])
    """
    pooled = activations.flatten(2).mean(2) if activations.ndim > 2 else activations
    return F.layer_norm(pooled, pooled.shape[1:])


def message(mean: Tensor, variance: float) -> Gaussian:
    """Gaussian of known variance, the same in every channel: alpha_k around activations, beta_k around feedback."""
    return Gaussian(mean, torch.full_like(mean, variance))


def posterior(alpha: Gaussian, beta: Gaussian) -> Gaussian:
    """rho proportional to alpha beta: precisions add; at equal variances v its mean is (a + b) / 2, its variance v / 2.

    Source: block-local learning, equation (2).

    >>> posterior(message(torch.zeros(1), 1.0), message(torch.ones(1), 1.0))
    Gaussian(mean=tensor([0.5000]), variance=tensor([0.5000]))
    """
    return (alpha.message() * beta.message()).belief()


def divergence(rho: Gaussian, alpha: Gaussian) -> Tensor:
    """D_KL(rho || alpha) of every example (n,), nats: sum over channels of (r + d^2 / v_alpha - 1 - log r) / 2.

    r = v_rho / v_alpha is the ratio of variances, d the distance of the means. Source: block-local learning, equation (5),
    first term. Where rho = alpha beta and both have variance v it is |a - b|^2 / (8 v) plus a constant.

    >>> divergence(message(torch.ones(1, 2), 1.0), message(torch.zeros(1, 2), 1.0))
    tensor([1.])
    """
    return kl_divergence(*(Normal(m, v.sqrt(), validate_args=False) for m, v in (rho, alpha))).flatten(1).sum(1)
