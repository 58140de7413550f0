"""Normal tails: every ratio that loses its digits in the textbook form, and the only epsilon.

Notation: t in standard deviations, phi and Phi the density and distribution function of N(0, 1).
X ~ N(t, 1) truncated to X > 0 has

    inverse Mills ratio   v(t) = phi(t) / Phi(t)
    mean                  h(t) = v(t) + t                       (positive)
    variance              r(t) = 1 - v(t) h(t)                  (between 0 and 1)

At t = -60 the two differences cancel completely in float32. Far below 0 they are therefore taken
from Laplace's continued fraction for v (Abramowitz & Stegun 26.2.14), which has no subtraction of
nearly equal numbers: with x = -t, K_n = n / (x + K_{n+1}), h = K_1 and r = (K_2 - K_1) / (x + K_2).
"""

import math

import torch
from torch import Tensor

SQRT_HALF = math.sqrt(0.5)
SQRT_PI = math.sqrt(math.pi)
INV_SQRT_PI = 1.0 / SQRT_PI
COMPARISON_NOISE = 0.3  # variance, as in AMP-BNN's code
# Below -crossover the continued fraction converges in so many terms, above it the differences keep their digits.
_TAIL = {torch.float64: (4.0, 30)}
_TAIL_FLOAT32 = (2.0, 24)


def floored(variance: Tensor) -> Tensor:
    """A variance that is never 0, so that mean / deviation is defined for a known variable.

    max(v, tiny), tiny the smallest normal number of the dtype. This is the library's only epsilon.

    >>> floored(torch.tensor([4.0, 0.0])) > 0
    tensor([True, True])
    """
    return variance.clamp_min(torch.finfo(variance.dtype).tiny)


def log_normal_cdf(t: Tensor) -> Tensor:
    """log Phi(t) (torch.special.log_ndtr).

    Relative error over -100 <= t <= 0: 5e-7 in float32, 1e-15 in float64. Above 0, where log Phi goes to 0 as
    exp(-t^2 / 2), the absolute error is below these numbers.
    """
    return torch.special.log_ndtr(t)


def inverse_mills(t: Tensor) -> Tensor:
    """Inverse Mills ratio v(t) = phi(t) / Phi(t) of the truncation to positive values.

    v(t) = sqrt(2 / pi) / erfcx(-t / sqrt 2). Relative error in float32: 1e-6 for -100 <= t <= 0, and
    2e-5 up to where v underflows (t about 13); 0 beyond.

    >>> round(inverse_mills(torch.tensor(-60.0)).item(), 2)
    60.02
    """
    return math.sqrt(2.0 / math.pi) / torch.special.erfcx(-t * SQRT_HALF)


def truncated_moments(t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean h(t) and variance r(t) of N(t, 1) truncated to positive values.

    Relative error in float32 over -100 <= t <= 100: 4e-6 (mean) and 2e-5 (variance); in float64: 2e-13.
    Source: Johnson, Kotz & Balakrishnan, Continuous Univariate Distributions 1, section 10.1.

    >>> mean, variance = truncated_moments(torch.tensor([-100.0, 0.0, 100.0]))
    >>> [f"{x:.6f}" for x in mean.tolist()], [f"{x:.7f}" for x in variance.tolist()]
    (['0.009998', '0.797885', '100.000000'], ['0.0000999', '0.3633802', '1.0000000'])
    """
    first, second, x = _continued_fraction(t)
    mills = inverse_mills(t)
    near_mean = mills + t
    far = t < -_tail(t)[0]
    mean = torch.where(far, first, near_mean)
    return mean, torch.where(far, (second - first) / (x + second), 1 - mills * near_mean)


def log_probability_of_maximum(mean: Tensor, variance: Tensor, noise: float) -> Tensor:
    """Log-probability, up to a constant, of each entry of the last axis to be the largest, by pairwise comparisons.

    log p_j = sum_{i != j} log Phi((m_j - m_i) / sqrt(v_i + v_j + noise)); `noise` is the variance of a comparison.
    Source: AMP-BNN thesis section 3.2.3.

    >>> log_probability_of_maximum(torch.tensor([2.0, 0.0]), torch.zeros(2), 0.3).argmax().item()
    0
    """
    gap = mean.unsqueeze(-1) - mean.unsqueeze(-2)
    deviation = (variance.unsqueeze(-1) + variance.unsqueeze(-2) + noise).sqrt()
    return log_normal_cdf(gap / deviation).sum(-1)  # the entry's own comparison adds the same log Phi(0) to all


def _continued_fraction(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """K_1, K_2 and x = max(-t, crossover), evaluated from the innermost term outwards."""
    crossover, terms = _tail(t)
    x = (-t).clamp_min(crossover)
    second = tail = torch.zeros_like(x)
    for n in range(terms, 0, -1):
        second, tail = tail, n / (x + tail)
    return tail, second, x


def _tail(t: Tensor) -> tuple[float, int]:
    return _TAIL.get(t.dtype, _TAIL_FLOAT32)
