"""Tables of likelihoods, and outputs and targets of every kind to try them on."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from torch_gbp import Argmax, ElementwiseLikelihood, Gaussian, IntegratedSoftmax, OneHotRegression, Poisson, Softmax

CLASSIFIERS = {
    "softmax": Softmax(),
    "softmax_bayes": Softmax(power=1.0),
    "argmax": Argmax(),
    "argmax_plain": Argmax(regulariser_variance=None),
    "argmax_noisy": Argmax(noise_variance=2.0, regulariser_variance=0.5),
    "one_hot": OneHotRegression(),
    "integrated": IntegratedSoftmax(),
}
EXACT_CURVATURE = {name: CLASSIFIERS[name] for name in ("argmax", "argmax_plain", "argmax_noisy", "one_hot", "integrated")}
each_classifier = pytest.mark.parametrize("likelihood", CLASSIFIERS.values(), ids=CLASSIFIERS)


def beliefs(kind, n=12, outputs=5):
    """Outputs of moderate size, skewed, or with logits up to hundreds of deviations apart."""
    mean, variance = torch.randn(n, outputs, dtype=torch.float64), torch.rand(n, outputs, dtype=torch.float64).add(0.01)
    if kind == "asymmetric":
        return Gaussian(mean.exp(), variance.square())
    return Gaussian(mean, variance) if kind == "random" else Gaussian(100 * mean, 10 ** (6 * variance - 4))


def labels(n=12, outputs=5):
    return torch.arange(n) % outputs


class Measured(ElementwiseLikelihood):
    """Gaussian noise of variance 1/4: what `Regression` has in closed form."""

    def check(self, output, target):
        pass

    def known(self, outputs):
        return Normal(outputs, 0.5)

    def draw(self, outputs, generator):
        return outputs + 0.5 * torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)


class Coin(ElementwiseLikelihood):
    """Two outcomes, 0 and 1, of log odds z."""

    def check(self, output, target):
        pass

    def known(self, outputs):
        return Bernoulli(logits=outputs)

    def draw(self, outputs, generator):
        return torch.bernoulli(outputs.sigmoid(), generator=generator)


class Elementwise(NamedTuple):
    """A likelihood of one output each; `targets` draws some that fit outputs."""

    likelihood: ElementwiseLikelihood
    targets: Callable[[Tensor], Tensor]


ELEMENTWISE = {
    "measured": Elementwise(Measured(), lambda z: z + 2 * torch.randn_like(z)),
    "coin": Elementwise(Coin(), lambda z: torch.bernoulli(z.sigmoid())),
    "poisson": Elementwise(Poisson(), lambda z: torch.poisson(z.clamp_max(12).exp())),
}
each_elementwise = pytest.mark.parametrize("case", ELEMENTWISE.values(), ids=ELEMENTWISE)
