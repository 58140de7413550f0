"""Likelihoods: messages are the derivatives of the log evidence, probabilities are probabilities."""

import math
from functools import partial

import numpy as np
import oracle
import pytest
import torch
from helpers import messages, mlp, sweep, three_classes
from likelihood_cases import CLASSIFIERS, EXACT_CURVATURE, beliefs, each_classifier, labels
from torch.testing import assert_close

from torch_gbp import Argmax, Gaussian, IntegratedSoftmax, MessagePassing, OneHotRegression, Regression, Softmax


def derivative(likelihood, belief, target, **options):
    """The means, log p(y) of the batch and its gradient with respect to them."""
    mean = belief.mean.clone().requires_grad_()
    log = likelihood.log_evidence(Gaussian(mean, belief.variance), target)
    return mean, log.detach(), *torch.autograd.grad(log.sum(), mean, **options)


def second_derivative(likelihood, belief, target):
    """Diagonal of the Hessian of log p(y) with respect to the means."""
    mean, _, first = derivative(likelihood, belief, target, create_graph=True)
    columns = [torch.autograd.grad(first[:, k].sum(), mean, retain_graph=True)[0][:, k] for k in range(mean.shape[1])]
    return torch.stack(columns, 1)


def message(likelihood, belief, target):
    """The loss and the message (g, G) that its backward sends to the outputs."""
    leaves = [part.clone().requires_grad_() for part in belief]
    loss = likelihood(Gaussian(*leaves), target)
    return loss.detach(), *messages(*torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("kind", ["random", "asymmetric", "extreme"])
@each_classifier
def test_score_is_the_derivative_of_the_log_evidence(likelihood, kind):
    belief, target = beliefs(kind), labels()
    _, log, first = derivative(likelihood, belief, target)
    loss, score, _ = message(likelihood, belief, target)
    assert_close(-loss, log.sum(), rtol=1e-13, atol=0)
    assert_close(score, first, rtol=1e-10, atol=1e-12 * float(first.abs().max()))


@pytest.mark.parametrize("kind", ["random", "asymmetric"])
@pytest.mark.parametrize("likelihood", EXACT_CURVATURE.values(), ids=EXACT_CURVATURE)
def test_precision_is_minus_the_second_derivative(likelihood, kind):
    size = (6, 4) if isinstance(likelihood, IntegratedSoftmax) else (12, 5)  # its integrals are differentiated twice
    belief, target = beliefs(kind, *size), labels(*size)
    second = second_derivative(likelihood, belief, target)
    assert_close(message(likelihood, belief, target)[2], -second, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", ["random", "asymmetric", "extreme"])
def test_softmax_precision_is_the_diagonal_of_the_curvature(kind):
    belief, target = beliefs(kind), labels()
    second = second_derivative(Softmax(), belief, target)
    assert_close(message(Softmax(), belief, target)[2], -second, rtol=1e-10, atol=1e-13)


def test_regression_against_quadrature():
    """log E[N(y; z, noise)] and its two derivatives, which are those of the exact evidence."""
    noise, y = 0.4, torch.randn(20, 1, dtype=torch.float64)
    belief = Gaussian(2 * torch.randn(20, 1, dtype=torch.float64), torch.rand(20, 1, dtype=torch.float64) + 0.1)

    def density(z):
        return torch.exp(-0.5 * (y.unsqueeze(-1) - z) ** 2 / noise) / math.sqrt(2 * math.pi * noise)

    evidence = oracle.expectation(density, *belief)
    centre = oracle.expectation(lambda z: z * density(z), *belief) / evidence
    spread = oracle.expectation(lambda z: (z - centre.unsqueeze(-1)) ** 2 * density(z), *belief) / evidence
    loss, score, precision = message(Regression(noise), belief, y)
    assert_close(-loss, evidence.log().sum(), rtol=1e-11, atol=0)
    assert_close(tuple(belief.posterior(score, precision)), (centre, spread), rtol=1e-10, atol=1e-10)


def test_argmax_comparison_against_quadrature():
    """Two classes: P(a_y - a_i + e > 0), integrated over the difference."""
    belief, target = beliefs("random", outputs=2), labels(outputs=2)
    rows = torch.arange(12)
    gap = belief.mean[rows, target] - belief.mean[rows, 1 - target]
    chance = oracle.expectation(lambda z: (z > 0).double(), gap, belief.variance.sum(1) + 0.3)
    found = Argmax(regulariser_variance=None).log_evidence(belief, target)
    assert_close(found, chance.log(), rtol=1e-11, atol=1e-12)


def test_argmax_regulariser_observes_plus_and_minus_one():
    belief, target = beliefs("random"), labels()
    signs = torch.full((12, 5), -1.0, dtype=torch.float64)
    signs[torch.arange(12), target] = 1.0
    extra = torch.distributions.Normal(belief.mean, (belief.variance + 0.5).sqrt()).log_prob(signs).sum(1)
    with_it, without = (Argmax(regulariser_variance=v).log_evidence(belief, target) for v in (0.5, None))
    assert_close(with_it - without, extra, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("width", [1e-8, 0.1, 1.0, 1.5, 1e4])
def test_integrated_softmax_of_two_classes_against_quadrature(width):
    """E[sigmoid(d)], d the difference of the logits, on both sides of where the inner rule changes (variance 1)."""
    belief = Gaussian(3 * torch.randn(6, 2, dtype=torch.float64), width * torch.rand(6, 2, dtype=torch.float64))
    gap, variance = belief.mean[:, 0] - belief.mean[:, 1], belief.variance.sum(1)
    chance = oracle.expectation(torch.sigmoid, gap, variance)
    assert_close(IntegratedSoftmax().predictive(belief).probs[:, 0], chance, rtol=1e-9, atol=1e-11)


def test_integrated_softmax_of_three_classes_against_brute_force():
    mean, variance = torch.randn(3, dtype=torch.float64), 0.2 + 2 * torch.rand(3, dtype=torch.float64)
    x, weight = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(40))
    z = torch.stack(torch.meshgrid(*(m + v.sqrt() * x for m, v in zip(mean, variance, strict=True)), indexing="ij"), -1)
    share = torch.einsum("i,j,k->ijk", weight, weight, weight) / weight.sum() ** 3
    chance = (share.unsqueeze(-1) * torch.softmax(z, -1)).sum((0, 1, 2))
    assert_close(IntegratedSoftmax().predictive(Gaussian(mean[None], variance[None])).probs[0], chance, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["random", "asymmetric", "extreme"])
def test_integrated_probabilities_sum_to_one_before_they_are_normalised(kind):
    belief = beliefs(kind)
    logs = [IntegratedSoftmax().log_evidence(belief, torch.full((12,), k)) for k in range(5)]
    assert_close(torch.stack(logs).exp().sum(0), torch.ones(12, dtype=torch.float64), rtol=0, atol=1e-10)


def test_closed_form_softmax_is_close_to_the_integral_for_small_variances():
    """The probit approximation; at variances up to 4 its probabilities were seen to be 0.2 away."""
    belief = Gaussian(2 * torch.randn(12, 5, dtype=torch.float64), 0.1 * torch.rand(12, 5, dtype=torch.float64))
    found, exact = (likelihood.distribution(belief).probs for likelihood in (Softmax(), IntegratedSoftmax()))
    assert 1e-5 < (found - exact).abs().max() < 0.01


PLAIN_ARGMAX = partial(Argmax, regulariser_variance=None)


@pytest.mark.parametrize(
    ("make", "n"), [(PLAIN_ARGMAX, 3), (PLAIN_ARGMAX, 60), (Softmax, 3), (Softmax, 60), (IntegratedSoftmax, 3)]
)
def test_training_stays_sound_from_three_examples_on(make, n):
    """As many passes as few examples get, with the default power; the label's probability rises."""
    x, y = three_classes(n)
    model, likelihood = mlp(), make()
    propagate = MessagePassing(model.parameters(), n, epochs=10)
    losses = [sweep(propagate, model, likelihood, x[i : i + 30], y[i : i + 30]) for _ in range(10) for i in range(0, n, 30)]
    assert torch.stack(losses).isfinite().all()
    assert losses[-1] < losses[0]
    assert likelihood.predictive(model(x)).probs.isfinite().all()


PREDICTIVES = {  # variance of the comparison between two outputs, beyond their own
    "argmax": (Argmax(noise_variance=0.7), 0.7),
    "one_hot": (OneHotRegression(noise_variance=0.2), 2 * 0.2 + 0.3),
}


@pytest.mark.parametrize(("likelihood", "noise"), PREDICTIVES.values(), ids=PREDICTIVES)
def test_predictive_of_two_classes_is_the_chance_to_win(likelihood, noise):
    belief = beliefs("random", outputs=2)
    gap, variance = belief.mean[:, 0] - belief.mean[:, 1], belief.variance.sum(1) + noise
    chance = oracle.expectation(lambda z: (z > 0).double(), gap, variance)
    assert_close(likelihood.predictive(belief).probs[:, 0], chance, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", ["random", "asymmetric", "extreme"])
def test_softmax_predicts_its_evidence(kind):
    belief, target = beliefs(kind), labels()
    assert_close(Softmax().distribution(belief).log_prob(target), Softmax().log_evidence(belief, target), rtol=1e-12, atol=1e-12)
    differences = 5 / 4 * belief.variance.mean(1, keepdim=True)  # of 5 independent logits: half of their average variance
    shrunk = belief.mean / (1 + math.pi * differences / 8).sqrt()
    assert_close(Softmax().distribution(belief).probs, torch.softmax(shrunk, 1), rtol=1e-11, atol=1e-14)


@each_classifier
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probabilities_sum_to_one(likelihood, dtype):
    mean = torch.tensor([[0, 0, 0], [1e4, -1e4, 0], [-300, -300, 300], [1e-8, 0, -1e-8], [50, 49, 48]], dtype=dtype)
    for variance in (0.0, 1.0, 1e6):
        probs = likelihood.predictive(Gaussian(mean, torch.full_like(mean, variance))).probs
        assert_close(probs.sum(1), torch.ones(5, dtype=dtype), rtol=0, atol=4 * torch.finfo(dtype).eps)
        assert (probs >= 0).all()
        assert probs.argmax(1)[1:].tolist() == [0, 2, 0, 0] or variance == 1e6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softmax_message_is_always_proper(dtype):
    """G <= k^2 / 4 and sum G <= k^2 (C - 1) / C, where k^2 < 8 (C - 1) / (pi sum v)."""
    mean = torch.randn(5000, 10, dtype=dtype) * 10 ** torch.empty(5000, 1, dtype=dtype).uniform_(-3, 3)
    variance = 10 ** torch.empty(5000, 10, dtype=dtype).uniform_(-6, 9)
    _, _, precision = message(Softmax(), Gaussian(mean, variance), labels(5000, 10))
    total = variance.sum(1, keepdim=True)
    assert (precision >= 0).all()
    assert float((total * precision).max()) < 2 * 9 / math.pi
    assert float((total * precision.sum(1, keepdim=True)).max()) < 8 * 9 / math.pi * 9 / 10 * (1 + 1e-5)
    _, _, tightest = message(Softmax(), Gaussian(torch.zeros(1, 2), torch.full((1, 2), 1e6)), torch.tensor([0]))
    assert_close(2e6 * tightest, torch.full((1, 2), 2 / math.pi), rtol=1e-5, atol=0)  # the bound is tight


@each_classifier
def test_messages_stay_finite_in_the_tails(likelihood):
    mean = torch.tensor([[-200.0, 200.0, 0.0]])
    for label in (0, 1, 2):
        loss, score, precision = message(likelihood, Gaussian(mean, torch.ones(1, 3)), torch.tensor([label]))
        assert all(part.isfinite().all() for part in (loss, score, precision))
        assert (precision >= 0).all()


def test_predictive_variance_exceeds_the_noise():
    output = Gaussian(torch.randn(100, 2), torch.rand(100, 2) ** 8)
    predictive = Regression(0.25).predictive(output)
    assert (predictive.variance >= 0.25 * (1 - 1e-6)).all()
    assert_close(predictive.variance, output.variance + 0.25)
    assert_close(predictive.mean, output.mean)


@pytest.mark.parametrize("likelihood", [*CLASSIFIERS.values(), Regression(0.2)], ids=[*CLASSIFIERS, "regression"])
def test_a_batch_of_one_is_a_row_of_a_batch(likelihood):
    belief = beliefs("random")
    target = belief.mean.flip(0) if isinstance(likelihood, Regression) else labels()
    whole = likelihood.log_evidence(belief, target)
    _, *parts = message(likelihood, belief, target)
    for n in (0, 7):
        row = belief[n : n + 1], target[n : n + 1]
        assert_close(likelihood.log_evidence(*row), whole[n : n + 1], rtol=1e-14, atol=1e-14)
        assert_close(message(likelihood, *row)[1:], tuple(part[n : n + 1] for part in parts), rtol=1e-14, atol=1e-14)


@each_classifier
def test_a_factor_on_the_loss_multiplies_the_message_and_the_power_does_not(likelihood):
    belief, target = beliefs("random"), labels()
    before, power = message(likelihood, belief, target), likelihood.power
    try:
        likelihood.power = 3 * power
        leaves = [part.clone().requires_grad_() for part in belief]
        loss = likelihood(Gaussian(*leaves), target)
        found = messages(*torch.autograd.grad(2 * loss, leaves))
        assert_close(loss.detach(), before[0])
        assert_close(found, tuple(2 * part for part in before[1:]), rtol=1e-13, atol=0)
    finally:
        likelihood.power = power


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
@each_classifier
def test_labels_of_any_integer_type(likelihood, dtype):
    belief, target = beliefs("random"), labels()
    assert_close(message(likelihood, belief, target.to(dtype)), message(likelihood, belief, target), rtol=0, atol=0)


def test_evidence_of_several_targets_is_that_of_the_example():
    output, y = Gaussian(torch.randn(4, 3), torch.rand(4, 3)), torch.randn(4, 3)
    found = Regression(0.5).log_evidence(output, y)
    assert_close(found, Regression(0.5).predictive(output).log_prob(y).sum(1))
