"""PairwiseArgmax: Argmax with the exact message of every comparison, for iterated inference."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from torch_gbp.factors.numerics import COMPARISON_NOISE, log_normal_cdf
from torch_gbp.likelihoods.argmax import REGULARISER_VARIANCE, Argmax
from torch_gbp.likelihoods.base import Evidence


class PairwiseArgmax(Argmax):
    """`Argmax` whose messages are products over the comparisons, each of them exact ("AM-MP", without regulariser "AMNR").

    A comparison with derivatives (g, G) at an output N(m, v) says (g, G) / (1 - v G). The label's output gets the product
    of all comparisons. What another output gets keeps its mean and has its precision multiplied by Phi(t_i), the
    probability that the comparison was won before it was seen. The regulariser's messages come on top. Handed on are the
    derivatives that such a message has at the output, (g, R) / (1 + v R), so always v G < 1, which exact messages need;
    the sum of `Argmax` may exceed it.
    Source: AMP-BNN thesis section 3.2.3 and its code (the factor Phi is in the code).

    Args:
        noise_variance, regulariser_variance: as in `Argmax`.
        power: likelihood power, see `Likelihood`; 1 is Bayes' rule and what `ExampleByExample` takes.

    Shape: outputs (n, classes), labels (n,) of integers.

    >>> import torch
    >>> from torch_gbp import Gaussian
    >>> output = Gaussian(torch.zeros(1, 10), 100 * torch.ones(1, 10))
    >>> evidence = PairwiseArgmax().evidence(*output, torch.tensor([3]))
    >>> bool((output.variance * evidence.precision < 1).all())
    True
    """

    def __init__(
        self,
        noise_variance: float = COMPARISON_NOISE,
        regulariser_variance: float | None = REGULARISER_VARIANCE,
        power: float = 1.0,
    ) -> None:
        super().__init__(noise_variance, regulariser_variance, power)

    def evidence(self, mean: Tensor, variance: Tensor, target: Tensor) -> Evidence:
        label = F.one_hot(target.long(), mean.shape[1]).to(mean)
        t, pull, curvature = self._pairs(mean, variance, label)
        won, lost = 1 - (variance * label).sum(1, keepdim=True) * curvature, 1 - variance * curvature
        doubt = log_normal_cdf(t).exp()
        score = label * (pull / won).sum(1, keepdim=True) - doubt * pull / lost
        precision = label * (curvature / won).sum(1, keepdim=True) + doubt * curvature / lost
        if self.regulariser_variance is not None:
            score = score + (2 * label - 1 - mean) / self.regulariser_variance
            precision = precision + 1 / self.regulariser_variance
        rest = 1 + variance * precision
        return Evidence(super().evidence(mean, variance, target).log, score / rest, precision / rest)
