"""HeteroscedasticRegression: evidence and messages against quadrature, extreme inputs, and a noise that is learned."""

import math

import oracle
import pytest
import torch
from helpers import messages, mlp, sweep
from torch.testing import assert_close

from torch_gbp import Gaussian, HeteroscedasticRegression, MessagePassing, Prior, Regression
from torch_gbp.errors import InvalidInput

LIKELIHOOD = HeteroscedasticRegression()


def beliefs(kind, n=30):
    """Outputs, and targets: near the means; skewed; or up to 30 deviations away, with log variances nearly known or vague."""
    mean, target = torch.randn(n, 2, dtype=torch.float64), torch.randn(n, 1, dtype=torch.float64)
    variance = torch.rand(n, 2, dtype=torch.float64) + 0.05
    if kind == "asymmetric":
        mean, variance = mean.exp(), variance.square() * torch.tensor([3.0, 1.0])
    if kind == "extreme":
        mean = mean * torch.tensor([1.0, 4.0])
        variance = 10 ** torch.stack([8 * torch.rand(n) - 6, 2.6 * torch.rand(n) - 2], 1).double()
        deviation = (variance[:, :1] + mean[:, 1:].exp()).sqrt()
        target = mean[:, :1] + 30 * deviation * torch.empty_like(target).uniform_(-1, 1)
    return Gaussian(mean, variance), target


def dense(belief, target):
    """Nodes s, their share given y, tau and r^2 / tau by fine quadrature; and log p(y)."""
    (m, m_s), (v, v_s) = ([part[:, 0], part[:, 1]] for part in belief)
    square = (target[:, 0] - m) ** 2
    deviation = v_s.sqrt()
    drawn = torch.log1p(square * torch.exp(-m_s) * v_s / 2)
    s, weight = oracle.grid(m_s - 12 * deviation, m_s + 12 * deviation + drawn)
    tau = v[:, None] + s.exp()
    log = -0.5 * (square[:, None] / tau + torch.log(2 * math.pi * tau))
    log = log - 0.5 * ((s - m_s[:, None]) ** 2 / v_s[:, None] + torch.log(2 * math.pi * v_s[:, None]))
    total = torch.logsumexp(log + weight.log(), 1)
    return s, torch.exp(log + weight.log() - total[:, None]), tau, square[:, None] / tau, total


def message(belief, target):
    leaves = [part.clone().requires_grad_() for part in belief]
    loss = LIKELIHOOD(Gaussian(*leaves), target)
    return loss.detach(), *messages(*torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("kind", ["random", "asymmetric", "extreme"])
def test_evidence_and_message_against_quadrature(kind):
    belief, target = beliefs(kind)
    s, chance, tau, each, total = dense(belief, target)
    share = s.exp() / tau
    gap = target - belief.mean[:, :1]
    score = torch.stack([(chance * gap / tau).sum(1), 0.5 * (chance * share * (each - 1)).sum(1)], 1)
    precision = torch.stack([(chance / tau).sum(1), 0.5 * (chance * share**2).sum(1)], 1)
    loss, *found = message(belief, target)
    assert_close(LIKELIHOOD.log_evidence(belief, target), total, rtol=1e-6, atol=1e-6)
    assert_close(-loss, total.sum(), rtol=1e-6, atol=0)
    assert_close(found, [score, precision], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["random", "asymmetric", "extreme"])
def test_score_is_the_derivative_of_the_log_evidence(kind):
    belief, target = beliefs(kind)
    mean = belief.mean.clone().requires_grad_()
    (first,) = torch.autograd.grad(LIKELIHOOD.log_evidence(Gaussian(mean, belief.variance), target).sum(), mean)
    assert_close(message(belief, target)[1], first, rtol=1e-5, atol=1e-6)


def test_density_given_the_log_variance_is_that_of_the_mean_output_integrated():
    """N(r; 0, v + exp(s)) is E[N(y; f, exp(s))] over f: the step that leaves one integral of two."""
    belief, target = beliefs("random")
    known = Gaussian(belief.mean, belief.variance * torch.tensor([1.0, 0.0]))

    def density(f):
        return torch.distributions.Normal(f, torch.exp(0.5 * belief.mean[:, 1:])).log_prob(target).exp()

    expected = oracle.expectation(density, belief.mean[:, 0], belief.variance[:, 0]).log()
    assert_close(LIKELIHOOD.log_evidence(known, target), expected, rtol=1e-9, atol=1e-9)


def test_precisions_are_the_average_curvature_over_the_targets():
    """Where s is known, Fisher information = E over y of minus the second derivative of log p(y)."""
    m, v, s = (torch.tensor([x], dtype=torch.float64) for x in (0.4, 0.7, -0.5))
    tau = v + s.exp()
    y, weight = oracle.grid(m - 12 * tau.sqrt(), m + 12 * tau.sqrt())
    chance = weight * torch.distributions.Normal(m, tau.sqrt()).log_prob(y).exp()
    mean = torch.cat([m, s]).repeat(y.numel(), 1).requires_grad_()
    belief, target = Gaussian(mean, torch.cat([v, 0 * v]).expand_as(mean)), y.reshape(-1, 1)
    (first,) = torch.autograd.grad(LIKELIHOOD.log_evidence(belief, target).sum(), mean, create_graph=True)
    second = [torch.autograd.grad(first[:, k].sum(), mean, retain_graph=True)[0][:, k] for k in (0, 1)]
    curvature = torch.stack([-(chance[0] * part).sum() for part in second])
    assert_close(message(belief.detach(), target)[2][0], curvature, rtol=1e-8, atol=0)


def test_a_known_log_variance_is_a_regression():
    mean, variance, target = torch.randn(9, 1), torch.rand(9, 1), torch.randn(9, 1)
    log = torch.full_like(mean, math.log(0.3))
    belief = Gaussian(torch.cat([mean, log], 1), torch.cat([variance, 0 * log], 1))
    _, score, precision = message(belief, target)
    plain = Regression(0.3).evidence(mean, variance, target)
    assert_close(LIKELIHOOD.log_evidence(belief, target), plain.log, rtol=1e-5, atol=1e-5)
    assert_close((score[:, :1], precision[:, :1]), (plain.score, plain.precision), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_messages_are_finite_and_proper_everywhere(dtype):
    draw = torch.randn(4000, 6, dtype=dtype)
    mean = draw[:, :4] * 10 ** torch.empty(4000, 1, dtype=dtype).uniform_(-3, 3)
    variance = torch.where(torch.rand_like(mean) < 0.2, 0.0, 10 ** torch.empty_like(mean).uniform_(-8, 6))
    loss, score, precision = message(Gaussian(mean, variance), 10 * draw[:, 4:])
    assert loss.isfinite() and score.isfinite().all() and (precision >= 0).all()
    assert (precision[:, 2:] <= 0.5 + 1e-5).all()
    assert (variance[:, :2] * precision[:, :2] <= 1 + 1e-5).all()


def test_float32_is_close_to_float64():
    belief, target = beliefs("random")
    single = [part.double() for part in message(Gaussian(*(part.float() for part in belief)), target.float())[1:]]
    for found, exact in zip(single, message(belief, target)[1:], strict=True):
        assert_close(found, exact, rtol=0, atol=2e-5 * float(exact.abs().max()))


def test_predictive_has_the_moments_and_the_density_of_the_model():
    belief, target = beliefs("random")
    (m, m_s), (v, v_s) = (part.chunk(2, 1) for part in belief)
    predictive = LIKELIHOOD.predictive(belief)
    assert_close(predictive.mean, m)
    assert_close(predictive.variance, v + torch.exp(m_s + v_s / 2), rtol=1e-9, atol=0)
    assert_close(predictive.log_prob(target)[:, 0], LIKELIHOOD.log_evidence(belief, target), rtol=1e-6, atol=1e-6)


def test_a_network_learns_where_the_noise_is():
    """Deviation 0.05 on the left, 0.5 on the right."""
    x = torch.rand(600, 1) * 4 - 2
    truth = torch.where(x < 0, 0.05, 0.5)
    y = torch.sin(x) + truth * torch.randn(600, 1)
    model = mlp(1, 32, 2, prior=Prior(scale=1.0))
    propagate, likelihood = MessagePassing(model.parameters(), 600, epochs=12), HeteroscedasticRegression(power=4.0)
    for _ in range(12):
        for part in torch.randperm(600).split(20):
            sweep(propagate, model, likelihood, x[part], y[part])
    with torch.no_grad():
        deviation = likelihood.predictive(model(torch.tensor([[-1.2], [1.2]]))).stddev.flatten()
    assert 0.03 < deviation[0] < 0.12
    assert 0.35 < deviation[1] < 0.75


@pytest.mark.parametrize(("outputs", "targets"), [((4, 3), (4, 1)), ((4, 1), (4, 1)), ((4, 2), (4, 2)), ((4,), (4,))])
def test_outputs_that_do_not_fit_raise(outputs, targets):
    belief = Gaussian(torch.zeros(outputs), torch.ones(outputs))
    with pytest.raises(InvalidInput, match=r"two for each target|targets must have the outputs' shape"):
        LIKELIHOOD(belief, torch.zeros(targets))


def test_a_mask_of_targets_leaves_the_loss_and_the_gradients_of_the_known_ones():
    torch.manual_seed(0)
    outputs, y, known = torch.randn(6, 4, requires_grad=True), torch.randn(6, 2), torch.rand(6, 2) > 0.4
    assert 0 < known.sum() < known.numel()
    LIKELIHOOD(outputs, y, known).backward()
    found = outputs.grad
    alone = outputs.detach().clone().requires_grad_()
    m, s = alone.chunk(2, 1)
    loss = -(torch.distributions.Normal(m, (0.5 * s).exp()).log_prob(y) * known).sum()
    loss.backward()
    assert_close(LIKELIHOOD(outputs.detach(), y, known), loss.detach())
    assert_close(found, alone.grad)
