"""Mixtures of Gaussians against scipy, quadrature and draws."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import kstest, norm

from torch_gbp.metrics import Mixture, quantile_calibration_error
from torch_gbp.metrics.real import distance_from_uniform, interval_coverage

WEIGHTS, MEANS, DEVIATIONS = [0.2, 0.5, 0.3], [-2.0, 0.5, 9.0], [0.3, 1.0, 2.0]


@pytest.fixture
def mixture(float64):
    return Mixture(*(torch.tensor([part]) for part in ([math.log(w) for w in WEIGHTS], MEANS, DEVIATIONS)))


def cdf(y):
    return sum(w * norm.cdf(y, m, s) for w, m, s in zip(WEIGHTS, MEANS, DEVIATIONS, strict=True))


@pytest.mark.parametrize("y", [-3.0, 0.1, 20.0])
def test_density_and_distribution_function_are_scipys(mixture, y):
    density = sum(w * norm.pdf(y, m, s) for w, m, s in zip(WEIGHTS, MEANS, DEVIATIONS, strict=True))
    assert float(mixture.log_prob(torch.tensor([y]))) == pytest.approx(math.log(density), abs=1e-12)
    assert float(mixture.cdf(torch.tensor([y]))) == pytest.approx(cdf(y), abs=1e-12)


@pytest.mark.parametrize("y", [-3.0, 0.1, 20.0])
def test_crps_is_its_integral(mixture, y):
    left, _ = quad(lambda t: cdf(t) ** 2, -15, y, limit=200, points=[-2.0])
    right, _ = quad(lambda t: (1 - cdf(t)) ** 2, y, 40, limit=200)
    assert float(mixture.crps(torch.tensor([y]))) == pytest.approx(left + right, abs=1e-7)


def test_crps_of_one_gaussian_is_the_closed_form(float64):
    mean, std, y = torch.randn(50, 2), torch.rand(50, 2) + 0.1, 3 * torch.randn(50, 2)
    z = ((y - mean) / std).numpy()
    expected = std.numpy() * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))
    np.testing.assert_allclose(Mixture.gaussian(mean, std).crps(y).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("level", [0.01, 0.5, 0.975])
def test_quantiles_invert_the_distribution_function(mixture, level):
    assert cdf(float(mixture.quantile(level))) == pytest.approx(level, abs=1e-12)


def test_moments_are_those_of_draws(mixture):
    which = torch.tensor(WEIGHTS).multinomial(1_000_000, replacement=True)
    draws = torch.tensor(MEANS)[which] + torch.tensor(DEVIATIONS)[which] * torch.randn(1_000_000)
    mean, std = mixture.moments()
    assert float(mean) == pytest.approx(float(draws.mean()), abs=0.02)
    assert float(std) == pytest.approx(float(draws.std()), abs=0.02)


def test_targets_drawn_from_the_prediction_are_calibrated(mixture):
    which = torch.tensor(WEIGHTS).multinomial(20_000, replacement=True)
    pit = mixture.cdf(torch.tensor(MEANS)[which] + torch.tensor(DEVIATIONS)[which] * torch.randn(20_000))
    assert quantile_calibration_error(pit) < 0.01 and distance_from_uniform(pit) < 0.015
    assert interval_coverage(pit, 0.9) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("power", [0.7, 1.5], ids=["too large", "too small"])
def test_distance_from_uniform_is_the_kolmogorov_smirnov_statistic(power):
    pit = torch.rand(300, dtype=torch.float64) ** power
    assert distance_from_uniform(pit) == pytest.approx(kstest(pit.numpy(), "uniform").statistic, abs=1e-12)
