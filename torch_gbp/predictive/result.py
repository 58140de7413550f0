"""Predictive: what a prediction hands out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution
from torch.quasirandom import SobolEngine

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import OPEN_SHARE, require
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods import Likelihood
from torch_gbp.likelihoods.information import entropy, mutual_information
from torch_gbp.likelihoods.quantiles import quantile
from torch_gbp.predictive.outputs import Outputs

DRAWS = 128  # of Gaussian outputs, where uncertainty is told apart; a low-discrepancy sequence, so the same in every call


class Predictive:
    """Prediction of a batch: the distribution of the targets, the outputs behind it, and its uncertainty in two parts.

    Epistemic is what other weights that fit the training data as well would say otherwise, and would shrink with more data;
    aleatoric is what each of them expects to remain. Classes, in nats (entropy H, outputs z, average E over the weights):

        total H(E[p(y | z)]) = epistemic (mutual information of target and weights, "BALD") + aleatoric E[H(p(y | z))]

    Real targets, in squared units: total Var[y] = epistemic Var[E[y | z]] + aleatoric E[Var[y | z]].
    Samples are averaged over; Gaussian outputs of classes over draws of a fixed low-discrepancy sequence.

    Attributes:
        how: the way of predicting.
        belief: mean and variance of the outputs (of the samples, if there are any), before the variance factor and temperature.
        covariance: (n, k, k), joint covariances of the outputs of how="linear", else None.
        outputs: (S, n, ...), the sampled networks' own outputs of how="samples", else None.

    Source: Houlsby et al. 2011 (BALD); Depeweg et al. 2018 (the two parts of the variance).

    >>> import torch_gbp as gbp
    >>> found = Predictive(gbp.Softmax(), Outputs(torch.zeros(1, 2), torch.zeros(1, 2)), "means")
    >>> found.probs, found.epistemic, found.aleatoric
    (tensor([[0.5000, 0.5000]]), tensor([0.]), tensor([0.6931]))
    """

    def __init__(self, likelihood: Likelihood, found: Outputs, how: str) -> None:
        self.how, self.belief = how, found.belief
        self.covariance, self.outputs = found.covariance, found.samples
        self._likelihood, self._found = copy.deepcopy(likelihood), found  # as it is now: it may be calibrated later
        self.distribution: Distribution = found.distribution(likelihood)
        self._parts: tuple[Tensor, Tensor] | None = None

    @property
    def probs(self) -> Tensor:
        """Class probabilities (n, classes).

        Raises:
            InvalidInput: real targets.
        """
        if not isinstance(self.distribution, Categorical):
            raise InvalidInput(
                "only classes have probabilities",
                where="Predictive.probs",
                got=f"a {type(self._likelihood).__name__}",
                fix="use .distribution, its mean and its variance",
            )
        return self.distribution.probs

    @property
    def sample_probs(self) -> Tensor:
        """Class probabilities (S, n, classes) of each sampled network, as the prediction takes them; their average is `probs`.

        Raises:
            InvalidInput: real targets, or a way of predicting without samples.
        """
        if self.outputs is None or not isinstance(self.distribution, Categorical):
            raise InvalidInput(
                "there are no sampled class probabilities",
                where="Predictive.sample_probs",
                got=f"how={self.how!r} and a {type(self._likelihood).__name__}",
                fix="predict classes with how='samples'",
            )
        return self._logits().exp()

    @property
    def epistemic(self) -> Tensor:
        """Mutual information (n,) of class and weights, or variance (n, ...) that the weights add."""
        return self._uncertainty()[0]

    @property
    def aleatoric(self) -> Tensor:
        """Expected entropy (n,) of the class, or expected variance (n, ...) of the noise."""
        return self._uncertainty()[1]

    def quantile(self, level: float) -> Tensor:
        """The value (n, ...) that a target stays below with this probability: of real targets in their units, or of counts.

        Of samples that of the whole mixture, by bisection (`torch_gbp.likelihoods.quantiles`).

        Raises:
            InvalidInput: a level that is not between 0 and 1; classes; a distribution without a cumulative one.

        >>> import torch_gbp as gbp
        >>> Predictive(gbp.Regression(1.0), Outputs(torch.zeros(1, 1), torch.zeros(1, 1)), "means").quantile(0.5)
        tensor([[0.]])
        """
        level = require("level", level, OPEN_SHARE, "Predictive.quantile", fix="use 0.05 for 5 %")
        return quantile(self.distribution, level)

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Ends (n, ...) of the central interval that holds a target with this probability; of counts with at least that.

        Raises:
            InvalidInput: as `quantile`.

        >>> import torch_gbp as gbp
        >>> low, high = Predictive(gbp.Regression(1.0), Outputs(torch.zeros(1, 1), torch.zeros(1, 1)), "means").interval(0.95)
        >>> round(low.item(), 2), round(high.item(), 2)
        (-1.96, 1.96)
        """
        level = require("level", level, OPEN_SHARE, "Predictive.interval", fix="use 0.9 for 90 %")
        return quantile(self.distribution, (1 - level) / 2), quantile(self.distribution, (1 + level) / 2)

    def _uncertainty(self) -> tuple[Tensor, Tensor]:
        if self._parts is None:
            with torch.no_grad():
                self._parts = self._of_classes() if isinstance(self.distribution, Categorical) else self._of_values()
        return self._parts

    def _of_classes(self) -> tuple[Tensor, Tensor]:
        p = self._logits().exp()
        return mutual_information(p), entropy(p).mean(0)

    def _logits(self) -> Tensor:
        """Log-probabilities (S, n, classes) where the outputs are one of the samples, or draws."""
        outputs = self._cooled()
        return self._likelihood.known(outputs.flatten(0, 1)).logits.unflatten(0, outputs.shape[:2])  # type: ignore[attr-defined]

    def _cooled(self) -> Tensor:
        """Outputs (S, n, classes) as the prediction takes them: the samples, or draws of the Gaussian ones."""
        found, likelihood = self._found, self._likelihood
        if found.samples is not None:
            return likelihood.spread_out(found.samples, found.centre)
        outputs = found.mean[None] if found.certain else found.drawn(_normal(found.mean[0].numel()), self._factor())
        return outputs if likelihood.temperature is None else outputs / likelihood.temperature

    def _of_values(self) -> tuple[Tensor, Tensor]:
        found, likelihood, total = self._found, self._likelihood, self.distribution.variance
        if found.samples is not None:
            means = likelihood.known(likelihood.spread_out(found.samples, found.centre).flatten(0, 1)).mean
            epistemic = means.unflatten(0, found.samples.shape[:2]).var(0, unbiased=False)
        else:
            epistemic = likelihood.variance_of_means(Gaussian(found.mean, self._factor() * found.variance))
        return epistemic, (total - epistemic).clamp_min(0)

    def _factor(self) -> Tensor:
        """On the variance of Gaussian outputs."""
        return self._likelihood.variance_factor if self.covariance is None else self._likelihood.spread


def _normal(width: int) -> Tensor:
    """Points (draws, width) that fill N(0, 1) evenly, with mean 0; in more dimensions than Sobol's sequence has, random ones."""
    if width > SobolEngine.MAXDIM:
        points = torch.randn(DRAWS, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return points - points.mean(0)
    even = SobolEngine(width, scramble=True, seed=0).draw(DRAWS, dtype=torch.float64)
    points = torch.special.ndtri(even.clamp(1e-9, 1 - 1e-9))
    return points - points.mean(0)
