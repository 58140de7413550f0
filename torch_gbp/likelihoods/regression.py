"""Regression: real targets with Gaussian noise, whose variance is learned or given."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Normal

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import VARIANCE, require
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.standardise import Standardise, warn_unless_standard
from torch_gbp.likelihoods.base import Evidence, Likelihood, validation
from torch_gbp.likelihoods.evidence import ApartEvidence
from torch_gbp.likelihoods.noise import average, expected_square, tilted_square
from torch_gbp.likelihoods.targets import check_values

# Of standardised targets, to begin with: a network that follows the targets closely at first finds weights that one which takes
# everything for noise never does. So the noise is also held for a while.
FIRST_NOISE = 0.01
HOLD = 0.25
# A message's precision does not fall as the fit gets better, as that of classes does. So two layers with weights bear a larger
# rate; more of them, each of which takes a full step towards the same residual, a much smaller one. See benchmarks/README.md.
RATE_FACTOR, SHALLOW, DEEP, STEEP = 2.5, 2, 4, 4


class Regression(Likelihood):
    """Gaussian noise: y = output + e, e ~ N(0, noise_variance).

    log p(y) = log N(y; m, v + noise); g = (y - m) / (v + noise), G = 1 / (v + noise).

    `Regression()` is for networks with the layers' default prior: noise variance learned, power automatic, targets of any units.
    The network learns (y - mean) / scale, by statistics that `gbp.Trainer` and `GBPRegressor` take from their training data, or
    `fit_targets` in a hand-written loop; predictions and log evidence are in the targets' own units.
    `Regression(noise_variance)` is Bayes' rule with known noise, in the targets' units.

    Args:
        noise_variance: variance of the noise, in squared units of the target, > 0; where it starts if it is learned. None
            standardises the targets and learns it, from 0.01 of their variance and after a quarter of the passes.
        power: likelihood power, see `Likelihood`. None is 1, Bayes' rule, for noise that is given, and automatic for noise that
            is not. 1 is exact for one linear layer; a network with the default narrow prior underfits with it.
        learn_noise: let every `MessagePassing` step move `noise_variance`, then a buffer, to its closed-form EM value
            (`torch_gbp.likelihoods.noise`): noise <- (1 - s) noise + s average of (y - m)^2 + v, s the batch's share
            of the data. One variance for all (standardised) targets. None learns what is not given.

    Attributes:
        noise_variance: of the standardised targets, if the likelihood standardises them; `target_noise_variance` in their units.

    Shape: outputs and targets alike, (n, ...).

    Raises:
        InvalidInput: a noise variance that is not positive and finite, or neither given nor learned.

    >>> output = Gaussian(torch.zeros(2, 1), torch.ones(2, 1))
    >>> Regression(noise_variance=3.0).predictive(output).stddev[0].item()
    2.0
    >>> likelihood = Regression().fit_targets(torch.tensor([[90.0], [110.0]]))
    >>> likelihood.predictive(output).mean[0].item()
    100.0
    """

    automatic_power = 16.0  # chosen on held-out rows of tables, see benchmarks/README.md
    automatic_variance_factor = 8.0  # chosen likewise
    steady = True
    noise_variance: float | Tensor
    targets: Standardise | None

    def __init__(
        self, noise_variance: float | None = None, power: float | None = None, *, learn_noise: bool | None = None
    ) -> None:
        given = noise_variance is not None
        super().__init__(1.0 if power is None and given else power)
        self.learns = not given if learn_noise is None else learn_noise
        if not given and not self.learns:
            raise InvalidInput("noise is either given or learned", where="Regression", got="learn_noise=False", fix="give it")
        self._checked_scale = False  # whether the first targets were looked at
        self.targets, self.hold = (None, 0.0) if given else (Standardise(), HOLD)
        fix = "use the square of the targets' resolution, or leave it out to learn it"
        noise = (
            FIRST_NOISE if noise_variance is None else require("noise_variance", noise_variance, VARIANCE, "Regression", fix=fix)
        )
        if self.learns:
            self.register_buffer("noise_variance", torch.tensor(noise))
        else:
            self.noise_variance = noise

    @property
    def target_noise_variance(self) -> Tensor:
        """Variance of the noise in squared units of the targets: a number, or one for each target."""
        return self.noise_variance * self._units()[1].square()

    def fit_targets(self, y: Tensor) -> Regression:
        """Takes mean and scale of the training targets, for a hand-written loop; returns the likelihood."""
        if self.targets is None:
            where, fix = "Regression.fit_targets", "leave noise_variance out"
            raise InvalidInput("targets are not standardised where the noise is given", where=where, fix=fix)
        self.targets.fit(y)
        return self

    def check(self, output: Gaussian, target: Tensor) -> None:
        check_values(output, target, type(self).__name__)
        if self.targets is not None and not self._checked_scale and torch.is_grad_enabled() and not self.targets.fitted:
            fix = "call likelihood.fit_targets(y_train) once"
            self._checked_scale = warn_unless_standard(target, "the targets", "Regression", fix)

    def evidence(self, mean: Tensor, variance: Tensor, target: Tensor) -> Evidence:
        if self.targets is None:
            return gaussian_evidence(mean, variance, target, self.noise_variance)
        centre, scale = self._units(target.shape)
        found = gaussian_evidence(mean, variance, (target - centre) / scale, self.noise_variance)
        return ApartEvidence.of(found.parts - scale.log(), found.score, found.precision)

    def probe(self, output: Tensor, generator: torch.Generator) -> Tensor:
        return gaussian_probe(output, self.noise_variance, generator)

    def rate_factor(self, batches: float, layers: int = SHALLOW) -> float:
        """With learned noise 2.5 (2 / layers)^4, between two layers with weights and four; else as every likelihood's."""
        if self.targets is None:
            return super().rate_factor(batches, layers)
        return RATE_FACTOR * (SHALLOW / min(max(layers, SHALLOW), DEEP)) ** STEEP

    def learn(
        self, mean: Tensor, variance: Tensor, target: Tensor, seen: bool, share: float, known: Tensor | None = None
    ) -> None:
        """One damped EM step of the noise variance; the buffer is written only if the new value is sound."""
        assert isinstance(self.noise_variance, Tensor)
        (centre, scale), old = self._units(), self.noise_variance.to(mean)
        y = (target - centre) / scale
        if known is not None:
            mean, variance, y = mean[known], variance[known], y[known]
        new = expected_square(mean, variance, y) if seen else tilted_square(mean, variance, y, old / self.power)
        self.noise_variance.copy_(average(old, new, share))

    def distribution(self, output: Gaussian) -> Normal:
        """N(m, v + noise) of every target, led back to the targets' units."""
        centre, scale = self._units(output.mean.shape)
        deviation = scale * (output.variance + self.noise_variance).sqrt()
        return Normal(centre + scale * output.mean, deviation, validate_args=validation())

    def settings(self) -> dict[str, float | None]:
        return {"noise_variance": float(self.noise_variance)}

    def _units(self, shape: torch.Size | None = None) -> tuple[Tensor, Tensor]:
        """Mean and scale of the targets, of this shape if one is given; 0 and 1 where they are not standardised, or not yet."""
        statistics = _NONE if self.targets is None else self.targets
        if shape is not None and statistics.mean.ndim:
            statistics.require_shape(shape)
        return statistics.mean, statistics.scale


_NONE = Standardise()


def gaussian_probe(output: Tensor, noise: float | Tensor, generator: torch.Generator) -> Tensor:
    """Scores e / noise of targets that are drawn around the outputs, e ~ N(0, noise)."""
    draws = torch.randn(output.shape, generator=generator, device=output.device, dtype=output.dtype)
    return draws * noise**-0.5


def gaussian_evidence(mean: Tensor, variance: Tensor, target: Tensor, noise: float | Tensor) -> ApartEvidence:
    """Evidence of N(target; mean, variance + noise), summed over all but the batch axis."""
    precision = (variance + noise).reciprocal()
    gap = target - mean
    score = gap * precision
    log = 0.5 * (torch.log(precision / (2 * math.pi)) - gap * score)
    return ApartEvidence.of(log, score, precision)
