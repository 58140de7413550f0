"""Poisson: counts whose log rate is the output."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Poisson as PoissonDistribution

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.base import validation
from torch_gbp.likelihoods.elementwise import ElementwiseLikelihood
from torch_gbp.likelihoods.targets import check_values

_LARGEST_LOG = 60.0  # log rates beyond it grow no further but linearly: float32 holds exp(60), and torch draws such counts


class Poisson(ElementwiseLikelihood):
    """Counts with a log link: y ~ Poisson(exp(output)).

    log p(y | z) = y z - exp(z) - log y!, with l' = y - exp(z) and l'' = -exp(z); evidence, message and predictive follow by
    quadrature (`ElementwiseLikelihood`).

    Args:
        power: likelihood power, see `Likelihood`; 1, the default, is Bayes' rule, and no other was tuned.

    Shape: outputs and targets alike, (n, ...); targets are whole numbers, of an integer or a floating dtype.

    Raises:
        InvalidInput: targets that are negative or no whole numbers, or of another shape.

    >>> output = Gaussian(torch.tensor([[0.0]]), torch.tensor([[0.5]]))
    >>> round(Poisson().predictive(output).mean.item(), 4)  # exp(m + v / 2)
    1.284
    """

    def check(self, output: Gaussian, target: Tensor) -> None:
        if target.dtype == torch.bool or target.is_complex():
            raise InvalidInput("targets must be numbers", where="Poisson", got=str(target.dtype), fix="convert with y.float()")
        counts = target.to(output.mean.dtype)
        check_values(output, counts, "Poisson")
        if bool((counts < 0).any()) or bool((counts != counts.round()).any()):
            raise InvalidInput(
                "targets must be counts: 0, 1, 2, ...",
                where="Poisson",
                got=f"lowest {counts.min().item():.3g}, {int((counts != counts.round()).sum())} not whole",
                cause="rates or standardised targets in the place of counts",
                fix="pass the counts themselves, or use Regression()",
            )

    def known(self, outputs: Tensor) -> PoissonDistribution:
        return PoissonDistribution(_rate(outputs), validate_args=validation())

    def log_prob(self, outputs: Tensor, target: Tensor) -> Tensor:
        return target * outputs - _rate(outputs) - torch.lgamma(target + 1.0)

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return torch.poisson(_rate(outputs), generator=generator)


def _rate(z: Tensor) -> Tensor:
    """exp(z), and its tangent beyond 60: log-concave everywhere, and finite."""
    return z.clamp_max(_LARGEST_LOG).exp() * (1 + (z - _LARGEST_LOG).clamp_min(0))
