"""The noise variance of a regression: given and checked, or learned in closed form from the sweeps.

EM: with the outputs' marginals q(z) fixed, the expected log likelihood sum E_q[log N(y; z, n)] has its maximum at

    n = average of E_q[(y - z)^2] = average of (y - m)^2 + v

over all examples and targets, so no step lowers the evidence (its lower bound, where q is factorised or tempered).
q must know the example's own target, exactly once:

    marginal   N(m, v) as the network gives it, where the store's marginals contain what the example said before
    tilted     N(m, v) N(y; z, n / power), where the marginals are a cavity that has not seen it: with
               k = n / (n + power v), y - z has mean k (y - m) and variance k v under it

At the fixed point of expectation propagation the two are the same belief. The tilted form ends where
sum log N(y; m, v + n / power) over the cavities, the leave-out predictive likelihood, has its maximum (for power = 1).
Source: Dempster, Laird & Rubin 1977; Minka 2001, section 3.2; the running average as in online EM, Cappe & Moulines 2009.
"""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from torch_gbp.errors import ImproperMarginal


def expected_square(mean: Tensor, variance: Tensor, target: Tensor) -> Tensor:
    """Average of E[(y - z)^2] = (y - m)^2 + v under marginals N(m, v) that have seen the targets; a scalar.

    >>> expected_square(torch.tensor([1.0]), torch.tensor([0.5]), torch.tensor([3.0])).item()
    4.5
    """
    return ((target - mean).square() + variance).mean()


def tilted_square(mean: Tensor, variance: Tensor, target: Tensor, noise: Tensor | float) -> Tensor:
    """The same under N(m, v) N(y; z, noise), for cavities N(m, v) that have not seen the targets.

    >>> tilted_square(torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([3.0]), 1.0).item()
    1.5
    """
    share = noise / (noise + variance)
    return ((share * (target - mean)).square() + share * variance).mean()


def average(old: Tensor, new: Tensor, share: float) -> Tensor:
    """The running average (1 - share) old + share new.

    Under torch.distributed `share` and `new` are one process's; what counts is the sum of the shares, and the average of
    all `new` weighted by them.

    Raises:
        ImproperMarginal: an average that is not positive and finite.
    """
    if dist.is_available() and dist.is_initialized():
        parts = torch.stack([share * new, torch.full_like(new, share)])
        dist.all_reduce(parts)
        new, share = parts[0] / parts[1], parts[1].item()
    after = torch.lerp(old, new.to(old), share)
    if not (math.isfinite(value := after.item()) and value > 0):
        raise ImproperMarginal(
            "the learned noise variance would not be positive and finite",
            where="Regression",
            got=f"{value:.3g}",
            cause="targets that a network without uncertainty meets exactly, or targets too large for their dtype",
            fix="standardise the targets, or give the noise variance instead of learning it",
        )
    return after
