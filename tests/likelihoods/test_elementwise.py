"""Likelihoods that are derived from a density: against brute-force quadrature, at extremes, and in training."""

import math

import oracle
import pytest
import torch
from helpers import messages
from likelihood_cases import ELEMENTWISE, Measured, each_elementwise
from torch.testing import assert_close

from torch_gbp import Gaussian, Regression
from torch_gbp.likelihoods.tilted import rule


def beliefs(kind, case, n=40):
    """Outputs and targets: drawn from them; skewed, with targets of other outputs; or wide, narrow and far from the targets."""
    mean, variance = torch.randn(n, 2, dtype=torch.float64), torch.rand(n, 2, dtype=torch.float64) + 0.05
    if kind == "asymmetric":
        mean, variance = mean.exp(), variance.square()
        return Gaussian(mean, variance), case.targets(mean).roll(1, 0)
    if kind == "extreme":
        mean, variance = 3 * mean, 10 ** (4.4 * torch.rand(n, 2, dtype=torch.float64) - 3)
        return Gaussian(mean, variance), case.targets(mean + variance.sqrt() * torch.randn_like(mean)).roll(1, 0)
    return Gaussian(mean, variance), case.targets(mean)


def dense(case, belief, target):
    """Nodes, and the log of their mass in p(z, y), by Gauss-Legendre where a scan finds all but exp(-50) of it."""
    mean, deviation, y = (part.unsqueeze(-1) for part in (belief.mean, belief.variance.sqrt(), target))

    def log(z):
        density = torch.distributions.Normal(mean.detach(), deviation.detach()).log_prob(z)
        return density + case.likelihood.log_prob(z, y)

    scan = mean + deviation * torch.linspace(-80, 80, 40_001, dtype=torch.float64)
    height = log(scan)
    inside = height > height.amax(-1, keepdim=True) - 50
    step = deviation[..., 0] * 0.004
    low = scan.where(inside, math.inf).amin(-1) - step
    z, weight = oracle.grid(low, scan.where(inside, -math.inf).amax(-1) + step)
    return z, weight.log() + log(z)


def message(likelihood, belief, target):
    """The loss and the message (g, G) that its backward sends."""
    leaves = [part.clone().requires_grad_() for part in belief]
    loss = likelihood(Gaussian(*leaves), target)
    return loss.detach(), *messages(*torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("kind", ["random", "asymmetric", "extreme"])
@each_elementwise
def test_evidence_and_moments_against_quadrature(case, kind):
    """N(m, v) times the message has the mean and the variance of the tilted belief."""
    belief, target = beliefs(kind, case)
    z, log = dense(case, belief, target)
    chance, total = torch.softmax(log, -1), torch.logsumexp(log, -1)
    centre = (chance * z).sum(-1)
    spread = (chance * (z - centre.unsqueeze(-1)).square()).sum(-1)
    loss, score, precision = message(case.likelihood, belief, target)
    assert_close(case.likelihood.log_evidence(belief, target), total.sum(1), rtol=1e-9, atol=1e-9)
    assert_close(-loss, total.sum(), rtol=1e-9, atol=0)
    assert_close(belief.mean + belief.variance * score, centre, rtol=1e-8, atol=1e-9)
    assert_close((belief.variance - belief.variance.square() * precision) / spread, torch.ones_like(spread), rtol=0, atol=1e-6)


@each_elementwise
def test_gradients_of_the_log_evidence_are_its_derivatives_by_both_moments(case):
    belief, target = beliefs("random", case)
    leaves = [part.clone().requires_grad_() for part in belief]
    found = torch.autograd.grad(case.likelihood.log_evidence(Gaussian(*leaves), target).sum(), leaves)
    x, weight = oracle.grid(torch.full_like(target, -12), torch.full_like(target, 12))
    z = leaves[0].unsqueeze(-1) + leaves[1].sqrt().unsqueeze(-1) * x
    log = case.likelihood.log_prob(z, target.unsqueeze(-1)) - 0.5 * x.square() + weight.log()
    assert_close(found, torch.autograd.grad(torch.logsumexp(log, -1).sum(), leaves), rtol=1e-8, atol=1e-10)


def test_gaussian_noise_has_the_closed_form_of_regression():
    belief, target = beliefs("extreme", ELEMENTWISE["measured"])
    found, closed = (one.evidence(*belief, target) for one in (Measured(), Regression(0.25)))
    assert_close(found, closed, rtol=1e-10, atol=1e-10)


@each_elementwise
def test_known_outputs_are_the_limit_of_no_variance(case):
    belief, target = beliefs("random", case)
    still = Gaussian(belief.mean, torch.zeros_like(belief.mean))
    log, score = case.likelihood.known_evidence(belief.mean, target)
    found = case.likelihood.evidence(*still, target)
    assert_close(found[:2], (log, score), rtol=1e-9, atol=1e-9)
    assert_close(case.likelihood(still.mean, target), -log.sum())


@each_elementwise
def test_float32_is_close_to_float64(case):
    belief, target = beliefs("random", case)
    single = message(case.likelihood, Gaussian(*(part.float() for part in belief)), target.float())[1:]
    for found, exact in zip(single, message(case.likelihood, belief, target)[1:], strict=True):
        assert_close(found.double(), exact, rtol=0, atol=2e-6 * float(exact.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each_elementwise
def test_messages_are_finite_and_proper_everywhere(case, dtype):
    """G >= 0, and v G <= 1: the target never takes more variance than there is."""
    mean = torch.randn(3000, 2, dtype=dtype) * 10 ** torch.empty(3000, 1, dtype=dtype).uniform_(-3, 2)
    variance = torch.where(torch.rand_like(mean) < 0.2, 0.0, 10 ** torch.empty_like(mean).uniform_(-8, 4))
    target = case.targets(3 * torch.randn_like(mean))
    loss, score, precision = message(case.likelihood, Gaussian(mean, variance), target)
    assert loss.isfinite() and score.isfinite().all() and precision.isfinite().all()
    assert (precision >= 0).all() and (variance * precision <= 1 + 1e-5).all()


@each_elementwise
def test_probes_have_mean_0_and_the_expected_curvature(case):
    output, draws = torch.tensor([[0.9, -0.4, 0.3]], dtype=torch.float64).expand(200_000, -1), 200_000
    score = case.likelihood.probe(output, torch.Generator().manual_seed(2))
    target = case.likelihood.draw(output[:2000], torch.Generator().manual_seed(3))
    curvature = case.likelihood.evidence(output[:2000], torch.zeros_like(output[:2000]), target).precision
    error = 4 * (score.square().var(0) / draws + curvature.var(0) / 2000).sqrt()
    assert ((score.square().mean(0) - curvature.mean(0)).abs() < error).all()
    assert (score.mean(0).abs() < 4 * score.std(0) / math.sqrt(draws)).all()


@each_elementwise
def test_predictive_is_the_compound_distribution(case):
    belief, target = beliefs("random", case)
    predictive = case.likelihood.predictive(belief)
    mean = oracle.expectation(lambda z: case.likelihood.known(z).mean, *belief)
    square = oracle.expectation(lambda z: case.likelihood.known(z).variance + case.likelihood.known(z).mean.square(), *belief)
    assert_close(predictive.mean, mean, rtol=1e-9, atol=1e-12)
    assert_close(predictive.variance, square - mean.square(), rtol=1e-9, atol=1e-12)
    assert_close(predictive.log_prob(target).sum(1), case.likelihood.log_evidence(belief, target), rtol=1e-12, atol=1e-12)
    draws = predictive.sample((4000,))
    assert (draws.mean(0) - mean).abs().max() < 6 * float((predictive.variance / 4000).sqrt().max())
    assert_close(predictive.log_prob(draws[:2])[1], predictive.log_prob(draws[1]))


def test_of_a_wide_belief_and_a_sharp_target_all_nodes_lie_at_the_target():
    y = torch.tensor([400.0], dtype=torch.float64)
    x, _ = rule(lambda z: -0.5e8 * (z - y).square(), torch.zeros(1).double(), torch.full((1,), 100.0).double())
    assert_close(100 * x, y.expand_as(x), rtol=0, atol=1e-3)


def test_without_draws_a_likelihood_has_no_probes():
    class Silent(Measured):
        draw = Measured.__mro__[1].draw

    with pytest.raises(ValueError, match=r"targets cannot be drawn.*in Silent"):
        Silent().probe(torch.zeros(1, 1), torch.Generator())
