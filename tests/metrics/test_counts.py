"""Distributions of counts against scipy, sums and draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ive
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Poisson

import torch_gbp as gbp
from torch_gbp import Gaussian
from torch_gbp.metrics.counts import Counts
from torch_gbp.metrics.real import distance_from_uniform

RATES, WEIGHTS = [0.01, 3.0, 60.0], [0.5, 0.2, 0.3]


def of_poissons(copies: int = 1) -> Counts:
    rates, weights = (torch.tensor(part, dtype=torch.float64).expand(copies, 1, 3) for part in (RATES, WEIGHTS))
    return Counts([MixtureSameFamily(Categorical(weights), Poisson(rates))])


def pmf(count: np.ndarray) -> np.ndarray:
    return sum(w * stats.poisson(rate).pmf(count) for w, rate in zip(WEIGHTS, RATES, strict=True))


def column(*counts: float) -> Tensor:
    return torch.tensor(counts, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("y", [0, 2, 61, 300])
def test_probabilities_and_crps_are_those_of_the_sums(y: int) -> None:
    """Counts to 300 on one side of the target lie closer than the nodes of the score, which goes by parts of them."""
    every = np.arange(1000)
    below = pmf(every).cumsum()
    found = of_poissons()
    assert found.cdf(column(y)).item() == pytest.approx(below[y], abs=1e-9)  # torch's gammaincc has ten digits
    assert found.log_prob(column(y)).item() == pytest.approx(np.log(pmf(np.array([y]))[0]), rel=1e-9)
    exact = float(((below - (every >= y)) ** 2).sum())
    assert found.crps(column(y)).item() == pytest.approx(exact, rel=1e-8 if y < 128 else 1e-3)


@pytest.mark.parametrize("rate", [1e-3, 0.7, 12.0, 900.0, 1e6])
@pytest.mark.parametrize("off", [-3.0, 0.0, 8.0])
def test_crps_of_poisson_is_the_closed_form(rate: float, off: float) -> None:
    """Wei & Held 2014: (y - r)(2 F(y) - 1) + 2 r f(y) - r exp(-2 r) (I0(2 r) + I1(2 r))."""
    y, own = max(0.0, round(rate + off * rate**0.5)), stats.poisson(rate)
    exact = (y - rate) * (2 * own.cdf(y) - 1) + 2 * rate * own.pmf(y) - rate * (ive(0, 2 * rate) + ive(1, 2 * rate))
    found = Counts([Poisson(column(rate))]).crps(column(y)).item()
    assert found == pytest.approx(exact, rel=1e-8 if rate < 100 else 1e-3, abs=1e-9)


def test_moments_are_those_of_draws() -> None:
    mean, std = of_poissons().moments()
    draws = of_poissons().parts[0].sample((200_000,)).double()
    assert mean.item() == pytest.approx(draws.mean().item(), rel=0.02) and std.item() == pytest.approx(
        draws.std().item(), rel=0.02
    )


def test_targets_drawn_from_the_prediction_are_uniform_after_the_transform() -> None:
    """Without the random part in it three of four draws, which are 0 or 1, would lie on few points."""
    torch.manual_seed(0)
    found = of_poissons(4000)
    y = found.parts[0].sample().double()
    assert distance_from_uniform(found.transform(y)) < 1.63 / 4000**0.5  # of Kolmogorov and Smirnov at 1 %
    assert distance_from_uniform(found.cdf(y)) > 0.2
    torch.testing.assert_close(found.transform(y), found.transform(y), rtol=0, atol=0)


def test_batches_come_one_after_the_other() -> None:
    output = Gaussian(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.1]))
    one, other = gbp.Poisson().predictive(output), Poisson(torch.tensor([3.0]))
    both, y = Counts([one, other]), torch.tensor([[1.0], [2.0], [4.0]])
    expected = torch.cat([one.log_prob(y[:2, 0]), other.log_prob(y[2:, 0])])
    torch.testing.assert_close(both.log_prob(y), expected.double()[:, None])
    assert both.cdf(y).shape == both.crps(y).shape == both.quantile(0.9).shape == (3, 1)
    assert both.moments()[0].dtype == torch.float64
