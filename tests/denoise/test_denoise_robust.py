"""Robust energies: the value, the weight and the derivative that the weighted Gaussian factor has."""

import pytest
import torch
from torch.testing import assert_close

from torch_gbp.denoise.robust import Huber, Quadratic, Tukey

pytestmark = pytest.mark.usefixtures("float64")
ENERGIES = [Quadratic(), Tukey(0.2), Tukey(1.4), Huber(0.7), Huber(3.0)]


def distances(robust):
    """Both sides of the threshold, from 1e-4 to 1e4 of it, and just beside the threshold."""
    scale = getattr(robust, "threshold", 1.0)
    return scale * torch.cat([torch.logspace(-4, 4, 200), torch.tensor([1 - 1e-9, 1 + 1e-9])])


@pytest.mark.parametrize("robust", ENERGIES, ids=repr)
def test_the_weighted_gaussian_energy_has_the_robust_value(robust):
    """k M^2 / 2 against the textbook energies, written in M."""
    m = distances(robust)
    n = getattr(robust, "threshold", torch.inf)
    far = n * m - n**2 / 2 if isinstance(robust, Huber) else torch.full_like(m, n**2 / 2)
    textbook = torch.where(m <= n, m**2 / 2, far)
    assert_close(robust.weight(m**2) * m**2 / 2, textbook, rtol=1e-12, atol=0)
    assert_close(robust.energy(m**2), textbook, rtol=1e-12, atol=0)


@pytest.mark.parametrize("robust", ENERGIES, ids=repr)
def test_the_weighted_factor_pulls_with_the_gradient_of_the_descended_energy(robust):
    """Force k r / sigma^2 of the Gaussian factor against autograd, residuals of both signs."""
    deviation = 0.3
    residual = torch.cat([distances(robust), -distances(robust)]).mul_(deviation).requires_grad_()
    squared = (residual / deviation).square()
    (gradient,) = torch.autograd.grad(robust.descended(squared).sum(), residual)
    force = robust.weight(squared.detach()) * residual.detach() / deviation**2
    assert_close(force, gradient, rtol=1e-9, atol=0)


@pytest.mark.parametrize("robust", [Tukey(0.2), Huber(0.7)], ids=repr)
def test_a_joint_distance_weighs_all_its_residuals_alike(robust):
    """One weight for the channels of a pixel: the gradient of the energy of M^2 = sum r^2 / sigma^2."""
    residual = torch.randn(500, 3).requires_grad_()
    squared = residual.square().sum(1, keepdim=True)
    (gradient,) = torch.autograd.grad(robust.descended(squared).sum(), residual)
    assert_close((robust.weight(squared) * residual).detach(), gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("robust", ENERGIES, ids=repr)
def test_float32_and_zero_and_huge_distances(robust):
    m = distances(robust)
    squared = torch.cat([m.float() ** 2, torch.tensor([0.0, 1e30])])
    for function in (robust.weight, robust.energy, robust.descended):
        exact = function(squared.double())
        assert exact.isfinite().all()
        assert_close(function(squared).double(), exact, rtol=3e-5, atol=1e-12)
    assert robust.weight(squared).max() <= 1 and robust.weight(squared).min() > 0
