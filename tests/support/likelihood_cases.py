"""The likelihoods of classes, and outputs of every kind to try them on."""

import pytest
import torch

from torch_gbp import Argmax, Gaussian, IntegratedSoftmax, OneHotRegression, Softmax

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
