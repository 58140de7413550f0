"""ElementwiseLikelihood: a likelihood of targets that depend on one output each, derived from its density."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.base import Evidence, Likelihood, validation
from torch_gbp.likelihoods.evidence import ApartEvidence, per_example
from torch_gbp.likelihoods.quantiles import cdf
from torch_gbp.likelihoods.tilted import derivatives, rule, slope

_NODES, _REACH = 128, 9.0  # of the mixture that stands for a predictive distribution, in deviations of the output
_SAME = 1e-12  # difference of two probabilities that are one
_STEEP, _CLOSER = 0.2, 2  # difference from node to node at which the nodes are put closer together, and how often at most


class ElementwiseLikelihood(Likelihood):
    """Likelihood p(y | z) of targets that depend on one output each, from its density alone; log-concave in z.

    With the output's belief z ~ N(m, v), l = log p(y | z) and E, Var over the tilted belief N(z; m, v) p(y | z) / Z,

        log p(y) = log Z        g = E[l']        G = -E[l''] - Var[l']

    by adaptive quadrature in float64 (`torch_gbp.likelihoods.tilted`); l' and l'' by autograd. They are the exact first and
    second derivatives of log Z, to 1e-8 for deviations of z up to 5; G >= 0, because Z is log-concave in m where p(y | z) is
    in z, and v G <= 1. The predictive is the compound distribution E[p(y | z)].

    A subclass writes `known`, the torch distribution of a target at known outputs, and
     * `check`, which refuses targets that do not fit;
     * `draw`, for probes (the means sweep);
     * `log_prob`, where that of `known` is not finite or not differentiable twice at every output.

    Args:
        power: likelihood power, see `Likelihood`; 1 is Bayes' rule.

    Shape: outputs and targets alike, (n, ...).
    Source: the derivatives of a Gaussian convolution (Bonnet 1964, Price 1958); Brascamp & Lieb 1976 for G >= 0.

    >>> class Coin(ElementwiseLikelihood):
    ...     def check(self, output, target):
    ...         pass
    ...
    ...     def known(self, outputs):
    ...         return torch.distributions.Bernoulli(logits=outputs, validate_args=False)
    >>> output = Gaussian(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [4.0]]))
    >>> Coin().log_evidence(output, torch.ones(2, 1)).exp()
    tensor([0.5000, 0.8704])
    """

    def known(self, outputs: Tensor) -> Distribution:
        raise NotImplementedError

    def log_prob(self, outputs: Tensor, target: Tensor) -> Tensor:
        """log p(y | z) of every target, elementwise; with two derivatives with respect to the outputs."""
        return self.known(outputs).log_prob(target)

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Targets drawn from p(y | z) at known outputs; without it the likelihood has no probes."""
        return super().probe(outputs, generator)

    def evidence(self, mean: Tensor, variance: Tensor, target: Tensor) -> Evidence:
        log, score, precision = self.of_each(mean, variance, target)
        return ApartEvidence.of(log, score, precision)

    def known_evidence(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return per_example(self.log_prob(output, target)), self.score(output, target)

    def probe(self, output: Tensor, generator: torch.Generator) -> Tensor:
        return self.score(output, self.draw(output, generator))

    def distribution(self, output: Gaussian) -> Compound:
        return Compound(self, output)

    def variance_of_means(self, output: Gaussian) -> Tensor:
        parts = self.distribution(output)
        weights, means = parts.mixture_distribution.probs, parts.component_distribution.mean
        return (weights * (means - parts.mean.unsqueeze(-1)).square()).sum(-1)

    def of_each(self, mean: Tensor, variance: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log p(y), g and G of every target by itself, as the outputs are shaped.

        log p(y) is differentiable: by the mean as often as l is, by the variance once, where the derivative is (g^2 - G) / 2.
        """
        m, v, y = mean.double(), variance.detach().double(), target.double().unsqueeze(-1)
        deviation = v.clamp_min(0).sqrt()
        x, log_weight = rule(lambda z: self.log_prob(z, y), m.detach(), deviation)
        z = m.unsqueeze(-1) + deviation.unsqueeze(-1) * x
        log_joint = log_weight + self.log_prob(z, y)
        with torch.no_grad():
            slopes = derivatives(lambda z: self.log_prob(z, y), z)
            score, precision = _message(torch.softmax(log_joint, -1), x, v, slopes)
            largest = torch.finfo(mean.dtype).max
            by_variance = (0.5 * (score.square() - precision)).clamp(-largest, largest).to(mean)
        log = torch.logsumexp(log_joint, -1).to(mean) + by_variance * (variance - variance.detach())
        return log, score.to(mean), precision.to(mean)

    def score(self, outputs: Tensor, target: Tensor) -> Tensor:
        """l', the derivative of log p(y | z), at known outputs."""
        return slope(lambda z: self.log_prob(z, target), outputs)


def _message(chance: Tensor, x: Tensor, variance: Tensor, slopes: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """g and G by moments where the target says more than the belief, or so little that l'' falls between the nodes."""
    spread, *wide = _by_moments(chance, x, variance.clamp_min(0).sqrt())
    narrow = _by_derivatives(chance, *slopes)
    score, precision = (torch.where((variance > 1) | (spread < 0.5), *both) for both in zip(wide, narrow, strict=True))
    return score, precision


def _by_derivatives(chance: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """g = E[l'] and G = -E[l''] - Var[l'], which lose no digits where the output is nearly known."""
    score = (chance * first).sum(-1)
    spread = (chance * (first - score.unsqueeze(-1)).square()).sum(-1)
    return score, (-(chance * second).sum(-1) - spread).clamp_min(0)  # below 0 by rounding only


def _by_moments(chance: Tensor, x: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Var[x], g = E[x] / s and G = (1 - Var[x]) / s^2, which lose no digits where the target says more than the belief."""
    centre = (chance * x).sum(-1)
    spread = (chance * (x - centre.unsqueeze(-1)).square()).sum(-1)
    scale = deviation.clamp_min(torch.finfo(x.dtype).eps)
    return spread, centre / scale, (1 - spread).clamp_min(0) / scale.square()


class Compound(MixtureSameFamily):
    """Compound distribution E[p(y | z)], z ~ N(m, v): its density by adaptive quadrature, the rest by a mixture of 128 parts.

    Mean and variance are those of the parts at z = m + s x, x from -9 to 9: right to 1e-6 for log rates of deviation up to 2.
    P(Y <= y), by the parts, would be a stair where p(y | z) is narrower than they lie apart: it is integrated anew between
    those z at which P(Y <= y | z) changes, to 1e-8.
    """

    def __init__(self, likelihood: ElementwiseLikelihood, output: Gaussian) -> None:
        x = torch.linspace(-_REACH, _REACH, _NODES, dtype=output.mean.dtype, device=output.device)
        z = output.mean.unsqueeze(-1) + output.variance.sqrt().unsqueeze(-1) * x
        log_weight = torch.log_softmax(-0.5 * x.square(), 0).expand_as(z)
        weights = Categorical(logits=log_weight, validate_args=validation())
        super().__init__(weights, likelihood.known(z), validate_args=validation())
        self._likelihood, self._output = likelihood, output

    def log_prob(self, value: Any) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        mean, variance, value = torch.broadcast_tensors(*self._output, value)
        return self._likelihood.of_each(mean, variance, value)[0]

    def cdf(self, value: Any) -> Tensor:
        """P(Y <= y), of a likelihood whose distribution at known outputs has one."""
        mean, deviation = self._output.mean.double().unsqueeze(-1), self._output.variance.double().sqrt().unsqueeze(-1)

        def below(x: Tensor) -> Tensor:
            """P(Y <= y | z = m + s x)."""
            return cdf(self._likelihood.known(mean + deviation * x), value.double().unsqueeze(-1))

        low, high = (torch.full_like(mean, end) for end in (-_REACH, _REACH))
        for _ in range(_CLOSER):
            values = below(_nodes(low, high))
            if bool((values.diff().abs() < _STEEP).all()):
                break
            low, high = _where_it_changes(values, low, high)
        else:
            values = below(_nodes(low, high))
        return _gaussian_average(values, low, high).to(self._output.mean)


def _nodes(low: Tensor, high: Tensor) -> Tensor:
    return low + (high - low) / (_NODES - 1) * torch.arange(_NODES, dtype=low.dtype, device=low.device)


def _where_it_changes(values: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Two of 128 nodes, outside of which the values (..., nodes) are what they are at the ends."""
    steady = [(values - end).abs() <= _SAME for end in (values[..., :1], values[..., -1:])]
    first = steady[0].long().cumprod(-1).sum(-1, keepdim=True).sub(1).clamp_max(_NODES - 2)
    last = _NODES - steady[1].flip(-1).long().cumprod(-1).sum(-1, keepdim=True)
    x = _nodes(low, high).expand(values.shape)
    return x.gather(-1, first), x.gather(-1, torch.maximum(last, first + 1))


def _gaussian_average(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """E[f(x)], x ~ N(0, 1), of a function that is steady below `low` and above `high`, by the corrected trapezoidal rule."""
    x, step = _nodes(low, high), (high - low) / (_NODES - 1)
    heights = values * torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
    ends = [heights[..., :1], heights[..., -1:]]
    inside = step * (heights.sum(-1, keepdim=True) - 0.5 * (ends[0] + ends[1]))
    corrected = inside + step.square() / 12 * (high * ends[1] - low * ends[0])  # the slope of a height is -x times it
    outside = values[..., :1] * torch.special.ndtr(low) + values[..., -1:] * torch.special.ndtr(-high)
    return (corrected + outside).squeeze(-1).clamp(0, 1)
