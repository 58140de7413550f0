"""Prior: what is known of weights before data, and where their marginals start.

All-zero weights are a symmetric point that no message can leave, so the marginals start at random means: with variance
2 / fan-in, which hands the energy of a signal on through a rectifier, however many layers follow. Prior means are 0; with
`mean="start"` they are the random start, then of the thesis' "spectral" scale, variance min(1, fan-out / fan-in) / fan-in.
Source: AMP-BNN thesis, Appendix B; He et al. 2015, eq. 10, for the start; the default formula, the narrow scale and the zero
prior mean were chosen by measurement (benchmarks/README.md).
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import DEVIATION_OR_0, VARIANCE, Range, require, shown
from torch_gbp.errors.renamed import renamed
from torch_gbp.weights.variances import VarianceFormula, offset_scaled

SCALE = 0.1  # times the formula's variance; chosen on validation data, see benchmarks/README.md
BIAS_VARIANCE = 0.5
BIAS_START_VARIANCE = (
    0.01  # all examples say something to a bias, so it needs no doubt to be moved, and in a forward pass it is noise
)
RECTIFIER_GAIN = 2.0  # variance of the start times fan-in: half of a signal's energy goes through a rectifier

_LARGEST = 1e15
MEAN = Range("finite in float32, as its square", lambda value: abs(value) <= _LARGEST)

Covariance = Literal["shared", "diagonal", "full", "shared_full"]


@dataclass(frozen=True)
class Prior:
    """Gaussian prior N(mean, variance) of each weight of a layer, the prior of its biases, and the start of their marginals.

    Args:
        variance: of a weight; a number, or a formula of `torch_gbp.weights.variances`, or one of your own, of the fan-in and the
            ratio min(1, fan-out / fan-in).
        start_deviation: standard deviation of the random means at which the first sweep starts; None takes sqrt(2 / fan-in), for
            `mean="start"` sqrt(min(1, fan-out / fan-in) / fan-in), and 0 about a mean that is given.
        scale: factor on a formula's variance.
        mean: prior mean, a number or a tensor of the weights' shape; "start" takes the random start (the weights that are there,
            where a network has some).
        start_variance: largest variance of the marginals at the start, for a store that anneals precisions; None for as wide as
            the prior.
        bias: variance of the prior N(0, bias) of the biases, which start at 0; or a `Prior` of their own.

    Raises:
        InvalidInput: variances that are not positive and finite in float32, a negative deviation, a mean that is not finite, a
            scale beside a variance that is a number.

    >>> Prior().resolved(fan_in=256, fan_out=256)
    Prior(variance=0.000600..., start_deviation=0.088..., scale=0.1, mean=0.0, start_variance=None, bias=0.5)
    """

    variance: float | VarianceFormula = offset_scaled
    start_deviation: float | None = None
    _: KW_ONLY
    scale: float = SCALE
    mean: float | Tensor | Literal["start"] = 0.0
    start_variance: float | None = None
    bias: float | Prior = BIAS_VARIANCE
    adapts: ClassVar[bool] = False  # whether the message depends on the marginal, and is made anew after every step

    def precision(self, moment: Tensor) -> Tensor:
        """Precision of a resolved prior's Gaussian message to weights with these E[(w - m0)^2] under their marginals."""
        return torch.full_like(moment, 1.0 / self.width)

    def __post_init__(self) -> None:
        if callable(self.variance):
            _variance("scale", self.scale)
        else:
            _variance("variance", self.variance)
            self._require_no_scale()
        if self.start_deviation is not None:
            require("start_deviation", self.start_deviation, DEVIATION_OR_0, "Prior", fix="use 0 to start at the prior mean")
        if self.start_variance is not None:
            _variance("start_variance", self.start_variance)
        if not isinstance(self.bias, Prior):
            _variance("bias", self.bias)
        self._require_mean()

    def _require_no_scale(self) -> None:
        if self.scale != SCALE:
            got = f"variance={shown(self.variance)}, scale={shown(self.scale)}"
            raise InvalidInput("scale is a factor on a formula's variance", where="Prior", got=got, fix="multiply the variance")

    def _require_mean(self) -> None:
        if isinstance(self.mean, Tensor):
            mean = self.mean.detach()
            object.__setattr__(self, "mean", mean)  # a prior is known before data, and no function of parameters
            if not (mean.is_floating_point() and bool((mean.abs() <= _LARGEST).all())):
                got = f"{mean.dtype} of shape {tuple(mean.shape)}"
                raise InvalidInput(
                    "mean must be finite numbers of floating point",
                    where="Prior",
                    got=got,
                    fix="use the weights' shape and dtype",
                )
        elif not (isinstance(self.mean, str) and self.mean == "start"):
            require("mean", self.mean, MEAN, "Prior", fix='use 0, "start" for the random start, or a tensor')

    def resolved(self, fan_in: int, fan_out: int) -> Prior:
        """The prior of one weight tensor: its variance and the deviation of its start as numbers.

        v = scale formula(fan_in, r) with r = min(1, fan_out / fan_in), unless the variance is a number.

        Raises:
            InvalidInput: a formula's variance that is not positive and finite.
        """
        ratio = min(1.0, fan_out / fan_in)
        variance, deviation = self.variance, self.start_deviation
        if callable(variance):
            variance = _variance("scale times the formula's variance", self.scale * variance(fan_in, ratio))
        if deviation is None:
            start = ratio if isinstance(self.mean, str) else RECTIFIER_GAIN
            deviation = 0.0 if self.given is not None else math.sqrt(start / fan_in)
        return replace(self, variance=float(variance), start_deviation=float(deviation), scale=SCALE)

    def of_bias(self) -> Prior:
        """The prior of the biases: N(0, bias), started at its mean with little variance, unless it is a `Prior`."""
        if isinstance(self.bias, Prior):
            return self.bias if self.bias.start_deviation is not None else replace(self.bias, start_deviation=0.0)
        return Prior(self.bias, 0.0, start_variance=BIAS_START_VARIANCE)

    @property
    def width(self) -> float:
        """The variance of a resolved prior.

        Raises:
            InvalidInput: a formula, which needs a fan-in.
        """
        if callable(self.variance) or self.start_deviation is None:
            fix = "use prior.resolved(fan_in, fan_out), or give variance and start_deviation"
            raise InvalidInput("the prior depends on a fan-in", where="a marginal", got=shown(self), fix=fix)
        return float(self.variance)

    @property
    def given(self) -> float | Tensor | None:
        """The prior mean, unless it is 0 or the start."""
        if isinstance(self.mean, Tensor):
            return self.mean
        return None if self.mean == "start" or self.mean == 0 else float(self.mean)


def empirical_variance(moment: Tensor) -> Tensor:
    """The prior variance that the marginals of a layer's weights favour (empirical Bayes), a scalar.

    v0 = average over the weights of E[(w - m0)^2] = (m - m0)^2 + v. It maximises the expected log prior
    sum E_q[log N(w; m0, v0)] under the marginals q = N(m, v), whose derivative with respect to v0 is
    sum ((m - m0)^2 + v - v0) / (2 v0^2): the M step of EM for the evidence, or for its lower bound where q is factorised.

    >>> empirical_variance(torch.tensor([0.0, 4.0]) + 0.5).item()
    2.5
    """
    return moment.mean()


def require_prior(prior: Any, where: str) -> Prior:
    """The prior, or the default one for None.

    Raises:
        InvalidInput: anything else.
    """
    if prior is None:
        return Prior()
    if not isinstance(prior, Prior):
        raise InvalidInput("prior must be a Prior", where=where, got=shown(prior), fix="use prior=Prior(variance=0.1)")
    return prior


def require_covariance(covariance: Any, where: str, full: bool = False) -> bool:
    """Whether the weights of an input share a precision; `full` is whether "full" may be.

    Raises:
        InvalidInput: no covariance of `Covariance`.
    """
    allowed = ("shared", "diagonal", "full", "shared_full") if full else ("shared", "diagonal")
    if covariance not in allowed:
        fix = 'use "shared", or "diagonal" for a precision for each weight'
        what = "covariance must be " + " or ".join(f'"{name}"' for name in allowed)
        raise InvalidInput(what, where=where, got=shown(covariance), fix=fix)
    return "shared" in covariance


def _variance(name: str, value: Any) -> float:
    cause, fix = "a variance of 0 would fix the weight for ever", "give a small positive value"
    return require(name, value, VARIANCE, "Prior", cause=cause, fix=fix)


prior_arguments = renamed(
    prior_variance="prior=Prior(variance={})",
    prior_scale="prior=Prior(scale={})",
    prior_formula="prior=Prior(variance=<a formula of torch_gbp.weights.variances>)",
    random_prior_mean='prior=Prior(mean="start") for True',
    bias_variance="prior=Prior(bias={})",
    shared_precision='covariance="shared" for True, "diagonal" for False',
)
"""Decorator: the arguments that `Prior` and `covariance` stand for raise InvalidInput, with the new spelling."""
