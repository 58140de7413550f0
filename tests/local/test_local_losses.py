"""Local losses against closed forms and quadrature, in float64: products, divergence, the bound, feedback, similarity."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from torch_gbp.errors import InvalidInput
from torch_gbp.local import FeedbackLoss, GradientFeedback, LocalLoss, RidgeFeedback, SimilarityLoss, variational
from torch_gbp.local.messages import channels, divergence, message, posterior

pytestmark = pytest.mark.usefixtures("float64")
BELIEFS = list(itertools.product((-30.0, -0.4, 0.0, 3.0), (0.01, 1.0, 25.0)))  # mean, variance


def density(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi * variance))


def tilted(alpha, beta):
    """Points, weights and log density of the normalised product, by the trapezoid rule around where it lives."""
    precision = 1 / alpha[1] + 1 / beta[1]
    centre, width = (alpha[0] / alpha[1] + beta[0] / beta[1]) / precision, 12 / math.sqrt(precision)
    x = torch.linspace(centre - width, centre + width, 4001)
    log = density(x, *alpha) + density(x, *beta)
    log = log - (torch.logsumexp(log, 0) + math.log(x[1] - x[0]))
    return x, log.exp() * (x[1] - x[0]), log


@pytest.mark.parametrize("alpha", BELIEFS)
@pytest.mark.parametrize("beta", BELIEFS[1::2])
def test_product_and_divergence_are_those_of_quadrature(alpha, beta):
    x, weights, log = tilted(alpha, beta)
    forward, backward = (message(torch.tensor([[mean]]), variance) for mean, variance in (alpha, beta))
    rho = posterior(forward, backward)
    mean = (weights * x).sum()
    assert_close(rho.mean.squeeze(), mean, rtol=1e-9, atol=1e-9)
    assert_close(rho.variance.squeeze(), (weights * (x - mean) ** 2).sum(), rtol=1e-9, atol=0)
    expected = (weights * (log - density(x, *alpha))).sum()
    assert_close(divergence(rho, forward).squeeze(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variance", [1e-3, 1.0, 50.0])
def test_at_equal_variances_the_posterior_is_halfway(variance):
    a, b = torch.randn(2, 5, 7) * 3
    alpha, beta = message(a, variance), message(b, variance)
    rho = posterior(alpha, beta)
    assert_close(rho.mean, (a + b) / 2)
    assert_close(rho.variance, torch.full_like(a, variance / 2))
    constant = 7 * 0.5 * (0.5 - 1 + math.log(2))
    assert_close(divergence(rho, alpha), (a - b).square().sum(1) / (8 * variance) + constant)
    single = message(a.float(), variance), message(b.float(), variance)
    assert_close(divergence(posterior(*single), single[0]).double(), divergence(rho, alpha), rtol=1e-5, atol=1e-5)


def feedback_to(weight):
    """Feedback with known weights (classes, channels)."""
    feedback = RidgeFeedback(*weight.shape)
    feedback.weight.copy_(weight)
    return feedback


def test_activations_are_drawn_towards_the_feedback():
    a, b = torch.randn(2, 4, 6)
    a.requires_grad_()
    loss = FeedbackLoss(feedback_to(b), 0.3, 0.3, activity=nn.Identity()).eval()
    (gradient,) = torch.autograd.grad(loss(a, torch.eye(4)), a)
    assert_close(gradient, (a - b).detach() / (4 * 0.3) / 4)  # the last 4 are the examples


class ExpectedLoss(nn.Module):
    """-E_alpha[log N(y; slope z, variance)] for z ~ N(a, alpha_variance): the prediction term of a linear-Gaussian head."""

    def __init__(self, slope, variance, alpha_variance):
        super().__init__()
        self.slope, self.variance, self.alpha_variance = slope, variance, alpha_variance

    def forward(self, a, y):
        spread = self.slope**2 * self.alpha_variance / (2 * self.variance)
        return (-density(y, self.slope * a, self.variance) + spread).mean()


def chain(weights, noises):
    """Of z_k = w_k z_(k-1) + noise: gain and variance from x to z_k, and from z_k to the end, for every k."""
    forward, backward = [(1.0, 0.0)], [(1.0, 0.0)]
    for weight, noise in zip(weights, noises, strict=True):
        gain, variance = forward[-1]
        forward.append((weight * gain, weight**2 * variance + noise))
    for weight, noise in zip(weights[::-1], noises[::-1], strict=True):
        gain, variance = backward[-1]
        backward.append((gain * weight, gain**2 * noise + variance))
    return forward, backward[::-1]


CHAINS = {
    "even": ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]),
    "asymmetric": ([0.3, -2.0, 1.5], [0.1, 2.0, 0.5]),
    "sharp": ([5.0, -0.1, 3.0], [1e-3, 1e-2, 10.0]),
    "wide": ([-1.0, 4.0, 0.2], [30.0, 1e-3, 1.0]),
}


@pytest.mark.parametrize("skew", [1.0, 0.2, 7.0])
@pytest.mark.parametrize(("weights", "noises"), CHAINS.values(), ids=CHAINS)
def test_local_losses_bound_the_end_loss_of_a_linear_gaussian_chain(weights, noises, skew):
    """Whatever the feedback says (skew 1: the exact backward message), the mean local loss is at least -log p(y | x)."""
    x, y = torch.randn(2, 50, 1) * 3
    forward, backward = chain(weights, noises)
    end = -density(y, forward[-1][0] * x, forward[-1][1]).mean()
    total = torch.zeros(())
    for (gain, alpha_variance), (slope, variance) in list(zip(forward, backward, strict=True))[1:-1]:
        feedback = feedback_to(torch.tensor([[skew / slope]]))
        divergence_term = FeedbackLoss(feedback, alpha_variance, skew * variance / slope**2, activity=nn.Identity())
        local = LocalLoss({"feedback": divergence_term, "entropy": ExpectedLoss(slope, variance, alpha_variance)}).eval()
        total = total + sum(local(gain * x, y).values())
    assert total / (len(weights) - 1) >= end


@pytest.mark.parametrize(("weights", "noises"), CHAINS.values(), ids=CHAINS)
def test_the_gap_of_the_bound_is_the_divergence_from_the_true_posterior(weights, noises):
    """Equation (3): D_KL(rho || alpha) - E_rho[log p(y | z)] = -log p(y | x) + D_KL(rho || p(z | x, y))."""
    x, y = torch.randn(2, 50, 1)
    forward, backward = chain(weights, noises)
    end = -density(y, forward[-1][0] * x, forward[-1][1]).squeeze(1)
    for (gain, alpha_variance), (slope, variance) in list(zip(forward, backward, strict=True))[1:-1]:
        alpha = message(gain * x, alpha_variance)
        exact = message(y / slope, variance / slope**2)
        truth = posterior(alpha, exact)
        for beta in (exact, message(torch.randn_like(y), 0.7)):
            rho = posterior(alpha, beta)
            expected = -density(y, slope * rho.mean, variance) + slope**2 * rho.variance / (2 * variance)
            assert_close(divergence(rho, alpha) + expected.squeeze(1), end + divergence(rho, truth), rtol=1e-9, atol=1e-9)
        assert_close(divergence(truth, truth), torch.zeros(50), rtol=0, atol=1e-12)


def test_channels_forget_scale_and_offset():
    x = 10 * torch.randn(3, 8, 4, 5)
    assert_close(channels(7 * x + 2), channels(x), rtol=1e-3, atol=1e-3)
    assert_close(channels(x).mean(1), torch.zeros(3))
    assert_close(channels(x).square().mean(1), torch.ones(3), rtol=1e-3, atol=0)


def test_feedback_in_closed_form_is_ridge_regression_on_the_decayed_batches():
    feedback, ridge, decay = RidgeFeedback(3, 5, decay=0.8, ridge=0.7), 0.7, 0.8
    batches = [(torch.rand(7, 3), torch.randn(7, 5)) for _ in range(4)]
    for labels, activations in batches:
        assert feedback.fit(labels, activations).item() == 0
    weights = [decay ** (len(batches) - 1 - i) for i in range(len(batches))]
    rows = torch.cat(
        [math.sqrt(w) * labels for w, (labels, _) in zip(weights, batches, strict=True)] + [math.sqrt(ridge) * torch.eye(3)]
    )
    values = torch.cat([math.sqrt(w) * a for w, (_, a) in zip(weights, batches, strict=True)] + [torch.zeros(3, 5)])
    assert_close(feedback.weight, torch.linalg.lstsq(rows, values).solution)
    assert_close(feedback(torch.eye(3)[1:2]), feedback.weight[1:2])


def test_feedback_by_gradient_ends_where_least_squares_is():
    labels, activations = torch.eye(3).repeat(4, 1), torch.randn(12, 5)
    feedback = GradientFeedback(3, 5)
    optimizer = torch.optim.SGD(feedback.parameters(), 1.0)
    for _ in range(100):
        optimizer.zero_grad()
        feedback.fit(labels, activations).backward()
        optimizer.step()
    assert_close(feedback.weight.detach(), activations.reshape(4, 3, 5).mean(0))


def test_feedback_learns_while_training_only():
    loss = FeedbackLoss(RidgeFeedback(3, 5))
    activations, labels = torch.randn(6, 5), torch.eye(3).repeat(2, 1)
    loss.eval()(activations, labels)
    assert loss.feedback.weight.abs().max() == 0
    loss.train()(activations, labels)
    assert loss.feedback.weight.abs().min() > 0


@pytest.mark.parametrize("shape", [(4,), (4, 3, 2)])
def test_similarity_is_that_of_numbers_one_by_one(shape):
    loss, activations, labels = SimilarityLoss(shape), torch.randn(5, *shape), torch.rand(5, 3)
    read = loss.reader(activations).detach()
    rows = read.flatten(2).std(2) if len(shape) == 3 else read

    def cosine(one, other):
        one, other = one - one.mean(), other - other.mean()
        return float(one @ other / (one.norm() * other.norm()))

    pairs = list(itertools.product(range(5), repeat=2))
    squares = [(cosine(rows[i], rows[j]) - cosine(labels[i], labels[j])) ** 2 for i, j in pairs]
    assert_close(loss(activations, labels).item(), sum(squares) / 25)


BAD = {
    "decay": (lambda: RidgeFeedback(3, 2, decay=1.0), r"decay must be in \[0, 1\).*Got: 1\.0"),
    "ridge": (lambda: RidgeFeedback(3, 2, ridge=0.0), r"ridge must be positive.*Got: 0\.0"),
    "variance": (
        lambda: variational((4,), 3, beta_variance=0.0),
        r"beta_variance must be positive.*Got: 0\.0",
    ),
}


@pytest.mark.parametrize(("make", "text"), BAD.values(), ids=BAD)
def test_bad_settings(make, text):
    with pytest.raises(InvalidInput, match=text) as raised:
        make()
    assert "Way out: " in str(raised.value)
