"""BALD of Gaussian logits against quadrature over their difference, brute force in the space of logits, and Monte Carlo."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import torch_gbp as gbp
from torch_gbp import Gaussian, mutual_information
from torch_gbp.errors import InvalidInput
from torch_gbp.predictive import Outputs, Predictive

WITHIN = 2e-6


def of_two(mean, variance):
    """Of two classes only the difference counts: adaptive quadrature over it."""
    centre, spread = float(mean[0] - mean[1]), math.sqrt(float(variance.sum()))

    def expected(f):
        bends = [(at - centre) / spread for at in (-40, -10, -3, 0, 3, 10, 40)]
        inside = [bend for bend in bends if abs(bend) < 9.9]
        density = lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi)  # noqa: E731
        return quad(lambda x: f(centre + spread * x) * density(x), -10, 10, points=inside or None, limit=500, epsabs=1e-12)[0]

    def entropy(difference):
        small = math.exp(-abs(difference))
        return abs(difference) * small / (1 + small) + math.log1p(small)

    p = expected(lambda t: 1 / (1 + math.exp(-max(t, -700))))
    return sum(-q * math.log(q) for q in (p, 1 - p) if q > 0) - expected(entropy)


@pytest.mark.parametrize("uneven", [0, 4])
@pytest.mark.parametrize("variance", [1e-6, 0.3, 1.0, 30.0, 1e3, 1e6])
@pytest.mark.parametrize("scale", [0.3, 3.0, 300.0])
def test_two_classes_against_quadrature(scale, variance, uneven):
    generator = torch.Generator().manual_seed(0)
    mean = scale * torch.randn(2, 2, generator=generator, dtype=torch.float64)
    variance = variance * torch.rand(2, 2, generator=generator, dtype=torch.float64) ** uneven
    truth = torch.tensor([of_two(*row) for row in zip(mean, variance, strict=True)], dtype=torch.float64)
    assert (mutual_information(Gaussian(mean, variance)) - truth).abs().max() < WITHIN


def test_three_classes_against_brute_force():
    mean, variance = torch.tensor([[1.0, -0.5, 0.2]]).double(), torch.tensor([[0.4, 3.0, 1.5]]).double()
    x = torch.linspace(-8, 8, 81, dtype=torch.float64)
    weight = torch.softmax(-0.5 * torch.cartesian_prod(x, x, x).square().sum(1), 0)
    p = (mean + variance.sqrt() * torch.cartesian_prod(x, x, x)).softmax(1)
    truth = torch.special.entr(weight @ p).sum() - weight @ torch.special.entr(p).sum(1)
    assert abs(float(mutual_information(Gaussian(mean, variance)) - truth)) < WITHIN


@pytest.mark.parametrize("variance", [0.01, 0.3, 3.0, 30.0, 1000.0])
def test_ten_classes_against_monte_carlo(variance):
    generator, draws = torch.Generator().manual_seed(0), 40_000
    mean = 3 * torch.randn(3, 10, generator=generator, dtype=torch.float64)
    variance = variance * torch.rand(3, 10, generator=generator, dtype=torch.float64).square()
    found = mutual_information(Gaussian(mean, variance))
    for row, value in enumerate(found):
        z = mean[row] + variance[row].sqrt() * torch.randn(draws, 10, generator=generator, dtype=torch.float64)
        p = z.softmax(1)
        average, entropy = p.mean(0), torch.special.entr(p).sum(1)
        truth = torch.special.entr(average).sum() - entropy.mean()
        error = (-(p * average.log()).sum(1) - entropy).std() / draws**0.5  # of the difference, to first order
        assert abs(value - truth) < 4 * error + WITHIN


def test_the_predictives_own_draws_come_close():
    generator = torch.Generator().manual_seed(0)
    mean, variance = 3 * torch.randn(50, 10, generator=generator), 30 * torch.rand(50, 10, generator=generator).square()
    likelihood = gbp.Softmax()
    drawn = Predictive(likelihood, Outputs(mean, variance / likelihood.variance_factor), "moments").epistemic
    exact = mutual_information(Gaussian(mean, variance))
    assert (drawn - exact).abs().max() < 0.08
    assert np.corrcoef(drawn, exact)[0, 1] > 0.995


def test_blocks_and_a_constant_change_nothing_and_float32_is_kept():
    generator = torch.Generator().manual_seed(0)
    mean, variance = torch.randn(300, 4, generator=generator), 9 * torch.rand(300, 4, generator=generator) ** 3
    found = mutual_information(Gaussian(mean, variance))
    each = torch.cat([mutual_information(Gaussian(mean[i : i + 1] + 7, variance[i : i + 1])) for i in range(0, 300, 30)])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[::30], each, rtol=0, atol=WITHIN)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InvalidInput, match="logits of shape"):
        mutual_information(Gaussian(torch.zeros(shape), torch.ones(shape)))
