"""OneHotRegression: classification as regression on one-hot targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical

from torch_gbp.errors.checks import VARIANCE, require
from torch_gbp.factors.numerics import COMPARISON_NOISE, log_probability_of_maximum
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.base import Evidence, Likelihood, validation
from torch_gbp.likelihoods.regression import gaussian_evidence, gaussian_probe
from torch_gbp.likelihoods.targets import check_labels


class OneHotRegression(Likelihood):
    """Classification as regression on one-hot targets ("R-MP").

    Messages as in `Regression` with targets 1 for the label and 0 elsewhere. A class is predicted with the
    probability that its noisy output is the largest, p_j ~ prod_i Phi((m_j - m_i) / sqrt(v_i + v_j + 2 noise + 0.3)).
    Source: AMP-BNN thesis sections 3.2.3 and 5.2 (R-MP, noise variance 0.01 on MNIST).

    Args:
        noise_variance: variance of the noise on the one-hot targets, > 0.
        power: likelihood power, see `Likelihood`.

    Shape: outputs (n, classes), labels (n,) of integers.

    >>> import torch
    >>> output = Gaussian(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
    >>> OneHotRegression().predictive(output).probs.sum().item()
    1.0
    """

    classes = True
    steady = True
    automatic_power = 8.0  # chosen on validation data

    def __init__(self, noise_variance: float = 0.01, power: float | None = None) -> None:
        super().__init__(power)
        self.noise_variance = require("noise_variance", noise_variance, VARIANCE, "OneHotRegression", fix="use 0.01")

    def check(self, output: Gaussian, target: Tensor) -> None:
        check_labels(output, target, type(self).__name__)

    def evidence(self, mean: Tensor, variance: Tensor, target: Tensor) -> Evidence:
        return gaussian_evidence(mean, variance, F.one_hot(target.long(), mean.shape[1]).to(mean), self.noise_variance)

    def probe(self, output: Tensor, generator: torch.Generator) -> Tensor:
        return gaussian_probe(output, self.noise_variance, generator)

    def distribution(self, output: Gaussian) -> Categorical:
        """Probability of each class to have the largest noisy output."""
        variance = output.variance + self.noise_variance
        return Categorical(logits=log_probability_of_maximum(output.mean, variance, COMPARISON_NOISE), validate_args=validation())

    def settings(self) -> dict[str, float | None]:
        return {"noise_variance": self.noise_variance}
