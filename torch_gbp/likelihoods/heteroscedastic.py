"""HeteroscedasticRegression: every target has a noise variance of its own, which the network predicts as well."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.base import Evidence, Likelihood, validation
from torch_gbp.likelihoods.evidence import ApartEvidence
from torch_gbp.likelihoods.regression import gaussian_probe
from torch_gbp.likelihoods.targets import check_values

_NODES = 128  # of the trapezoidal rule over the log variance, whose error falls exponentially with them
_REACH = 8.0  # deviations of the log variance on each side of its mean, or of where an outlier draws it
_FAR = 40.0  # above the mean, where the target is not known: outliers of 60 deviations draw it as far
_LARGEST_LOG = 60.0  # log variances beyond +-60 count as +-60: float32 holds their exponentials


class HeteroscedasticRegression(Likelihood):
    """Gaussian noise of predicted variance: y = f + e, e ~ N(0, exp(s)), f and s the two halves of the outputs.

    With f ~ N(m, v), s ~ N(m_s, v_s), tau(s) = v + exp(s) and r = y - m, the evidence is a one-dimensional integral,

        p(y) = integral of N(r; 0, tau(s)) N(s; m_s, v_s) ds,

    taken by the trapezoidal rule. With E the expectation over s given y and l = exp(s) / tau:

        g_f = E[r / tau]                     G_f = E[1 / tau]
        g_s = E[l (r^2 / tau - 1)] / 2       G_s = E[l^2] / 2

    The scores are the derivatives of log p(y); the precisions are the Fisher information of N(r; 0, tau) on f and s,
    averaged over s (Gauss-Newton): never negative, v G_f <= 1, G_s <= 1/2, while the second derivatives may have either
    sign. Error in float64 below 1e-6 of the largest entry for 0.01 <= v_s <= 4 and |r| up to 30 deviations.

    Args:
        power: likelihood power, see `Likelihood`.

    Shape: outputs (n, 2 k), means of the k targets and then their log variances; targets (n, k). Units: s is the log
    of squared target units; start the network near it by standardising the targets.

    >>> output = Gaussian(torch.zeros(1, 2), torch.zeros(1, 2))
    >>> round(HeteroscedasticRegression().predictive(output).stddev.item(), 4)
    1.0
    """

    def __init__(self, power: float = 1.0) -> None:
        super().__init__(power)

    def forward(self, output: Gaussian | Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """As every likelihood's; a mask of known targets may be as these are shaped, (n, k), too."""
        if isinstance(known, Tensor) and known.ndim > 1 and known.shape == target.shape:
            known = torch.cat([known, known], -1)  # of a target's mean and of its log variance
        return super().forward(output, target, known)

    def check(self, output: Gaussian, target: Tensor) -> None:
        where = type(self).__name__
        if output.ndim < 2 or output.shape[-1] % 2:
            raise InvalidInput(
                "the outputs must be means and log variances, two for each target",
                where=where,
                got=f"outputs {tuple(output.shape)}",
                cause="a last layer with one output per target",
                fix="make it twice as wide",
            )
        check_values(output[..., : output.shape[-1] // 2], target, where)

    def evidence(self, mean: Tensor, variance: Tensor, target: Tensor) -> Evidence:
        (m, m_s), (v, v_s), target = mean.chunk(2, -1), variance.chunk(2, -1), target.to(mean)
        square = (target - m).square()
        s, log_weight = _rule(m_s, v_s, square)
        log_tau = torch.logaddexp(_log(v).unsqueeze(-1), s)
        each = square.unsqueeze(-1) * torch.exp(-log_tau)  # r^2 / tau
        log_joint = log_weight - 0.5 * (log_tau + each + math.log(2 * math.pi))
        log = torch.logsumexp(log_joint, -1)
        chance, share = torch.softmax(log_joint, -1), torch.exp(s - log_tau)
        precision = (chance * torch.exp(-log_tau)).sum(-1)
        score_s = 0.5 * (chance * share * (each - 1)).sum(-1)
        score = torch.cat([(target - m) * precision, score_s], -1)
        precision = torch.cat([precision, 0.5 * (chance * share.square()).sum(-1)], -1)
        return ApartEvidence.of(torch.cat([log, torch.zeros_like(log)], -1), score, precision)

    def probe(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """With e ~ N(0, 1): e exp(-s / 2) to the mean, (e^2 - 1) / 2 to the log variance s."""
        draws, deviation = gaussian_probe(output.chunk(2, -1)[0], 1.0, generator), (0.5 * output.chunk(2, -1)[1]).exp()
        return torch.cat([draws / deviation, 0.5 * (draws.square() - 1)], -1)

    def distribution(self, output: Gaussian) -> MixtureSameFamily:
        """The mixture of N(m, v + exp(s)) over s ~ N(m_s, v_s) that the rule takes for p(y)."""
        (m, m_s), (v, v_s) = output.mean.chunk(2, -1), output.variance.chunk(2, -1)
        s, log_weight = _rule(m_s, v_s, torch.zeros_like(m), _FAR)
        valid = validation()
        parts = Normal(m.unsqueeze(-1).expand_as(s), (v.unsqueeze(-1) + s.exp()).sqrt(), validate_args=valid)
        return MixtureSameFamily(Categorical(logits=log_weight.expand_as(s), validate_args=valid), parts, validate_args=valid)

    def known(self, outputs: Tensor) -> Normal:
        mean, log_variance = outputs.chunk(2, -1)
        deviation = (0.5 * log_variance.clamp(-_LARGEST_LOG, _LARGEST_LOG)).exp()
        return Normal(mean, deviation, validate_args=validation())


def _rule(mean: Tensor, variance: Tensor, square: Tensor, far: float = _REACH) -> tuple[Tensor, Tensor]:
    """Nodes s and log weights, last axis, of E[f(s)] for s ~ N(mean, variance), wide enough for a residual^2 `square`.

    Given y the mode lies at most W(a) <= log(1 + a) above the mean, a = square exp(-mean) variance / 2 (W of Lambert).
    """
    deviation = variance.clamp_min(torch.finfo(variance.dtype).eps ** 2).sqrt()
    drawn = F.softplus(_log(square) - mean + 2 * _log(deviation) - math.log(2)) / deviation
    reach = (drawn + far).detach()
    steps = torch.linspace(0, 1, _NODES, dtype=mean.dtype, device=mean.device)
    x = torch.lerp(torch.full_like(reach, -_REACH).unsqueeze(-1), reach.unsqueeze(-1), steps)
    log_weight = torch.log_softmax(-0.5 * x.square(), -1)
    return (mean.unsqueeze(-1) + deviation.unsqueeze(-1) * x).clamp(-_LARGEST_LOG, _LARGEST_LOG), log_weight


def _log(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).tiny).log()
