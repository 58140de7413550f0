"""Argmax: the label's output is larger than every other, by pairwise comparisons."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical

from torch_gbp.errors.checks import VARIANCE, require
from torch_gbp.factors.numerics import (
    COMPARISON_NOISE,
    inverse_mills,
    log_normal_cdf,
    log_probability_of_maximum,
    truncated_moments,
)
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.base import Evidence, Likelihood, validation
from torch_gbp.likelihoods.regression import gaussian_evidence, gaussian_probe
from torch_gbp.likelihoods.targets import check_labels

REGULARISER_VARIANCE = 0.1


class Argmax(Likelihood):
    """The label wins every noisy comparison: a_y - a_i + e > 0 for all i != y, e ~ N(0, noise_variance).

    log p(y) = sum_{i != y} log Phi(t_i), t_i = (m_y - m_i) / s_i, s_i^2 = v_y + v_i + noise;
    with v(t) = phi / Phi: g_y = sum v(t_i) / s_i, g_i = -v(t_i) / s_i, G_i = v(t_i) (v(t_i) + t_i) / s_i^2, G_y = sum G_i.
    With a regulariser the label's output is also observed as +1, the others as -1, with that variance.
    Source: AMP-BNN thesis section 3.2.3 and its code (noise 0.3, regulariser variance 0.1), in score form.

    Args:
        noise_variance: variance of the comparison noise, > 0.
        regulariser_variance: variance of the +-1 observations; None for no regulariser.
        power: likelihood power, see `Likelihood`.

    Shape: outputs (n, classes), labels (n,) of integers.

    >>> import torch
    >>> output = Gaussian(torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2))
    >>> Argmax().predictive(output).probs.argmax().item()
    0
    """

    classes = True
    automatic_power = 16.0  # chosen on validation data

    def __init__(
        self,
        noise_variance: float = COMPARISON_NOISE,
        regulariser_variance: float | None = REGULARISER_VARIANCE,
        power: float | None = None,
    ) -> None:
        super().__init__(power)
        where, fix = type(self).__name__, "use 0.1 to 0.3"
        self.noise_variance = require("noise_variance", noise_variance, VARIANCE, where, fix=fix)
        if regulariser_variance is not None:
            regulariser_variance = require("regulariser_variance", regulariser_variance, VARIANCE, where, fix=fix)
        self.regulariser_variance = regulariser_variance

    def check(self, output: Gaussian, target: Tensor) -> None:
        check_labels(output, target, type(self).__name__)

    def evidence(self, mean: Tensor, variance: Tensor, target: Tensor) -> Evidence:
        label = F.one_hot(target.long(), mean.shape[1]).to(mean)
        comparisons = self._comparisons(mean, variance, label)
        if self.regulariser_variance is None:
            return comparisons
        nudge = gaussian_evidence(mean, variance, 2 * label - 1, self.regulariser_variance)
        return Evidence(*(a + b for a, b in zip(comparisons, nudge, strict=True)))

    def _comparisons(self, mean: Tensor, variance: Tensor, label: Tensor) -> Evidence:
        """Sum of log Phi over the other classes, and its derivatives."""
        t, pull, curvature = self._pairs(mean, variance, label)
        score = label * pull.sum(1, keepdim=True) - pull
        log = (log_normal_cdf(t) * (1 - label)).sum(1)
        return Evidence(log, score, label * curvature.sum(1, keepdim=True) + curvature)

    def _pairs(self, mean: Tensor, variance: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """t_i, v(t_i) / s_i and v(t_i) (v(t_i) + t_i) / s_i^2 of every comparison, the last two 0 at the label."""
        own_mean, own_var = ((part * label).sum(1, keepdim=True) for part in (mean, variance))
        deviation = (variance + own_var + self.noise_variance).sqrt()
        t = (own_mean - mean) / deviation
        mills = inverse_mills(t) * (1 - label)
        pull = mills / deviation
        return t, pull, mills * truncated_moments(t)[0] / deviation.square()

    def probe(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Noise with the covariance of minus the second derivatives, for a label that is drawn from the prediction: each of the
        comparisons has a curvature c_i along (label) - (class i), the regulariser one along every output.
        """
        zero = torch.zeros_like(output)
        chances = self.distribution(Gaussian(output, zero)).probs
        label = F.one_hot(torch.multinomial(chances, 1, generator=generator)[:, 0], output.shape[1]).to(output)
        curvature = self._pairs(output, zero, label)[2].clamp_min(0)
        each = gaussian_probe(output, 1.0, generator) * curvature.sqrt()
        score = label * each.sum(1, keepdim=True) - each
        return (
            score if self.regulariser_variance is None else score + gaussian_probe(output, self.regulariser_variance, generator)
        )

    def distribution(self, output: Gaussian) -> Categorical:
        """p_j ~ prod_{i != j} Phi((m_j - m_i) / sqrt(v_i + v_j + noise))."""
        return Categorical(logits=log_probability_of_maximum(*output, self.noise_variance), validate_args=validation())

    def settings(self) -> dict[str, float | None]:
        return {"noise_variance": self.noise_variance, "regulariser_variance": self.regulariser_variance}
