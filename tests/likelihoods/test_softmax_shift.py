"""The softmax of logits does not change when a constant is added to all of them; its predictive must not either."""

import math

import pytest
import torch
from torch.testing import assert_close

from torch_gbp import Gaussian, IntegratedSoftmax, Softmax

pytestmark = pytest.mark.usefixtures("float64")
LIKELIHOODS = [
    pytest.param(Softmax(power=1), id="softmax"),
    pytest.param(IntegratedSoftmax(power=1), id="integrated"),
]
each_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOODS)


def logits(shift=0.0):
    return Gaussian(torch.tensor([[1.0, 0.0, -1.0]]) + shift, torch.tensor([[4.0, 0.5, 2.0]]))


@each_likelihood
@pytest.mark.parametrize("shift", [-5.0, 5.0, 40.0])
def test_a_constant_added_to_all_logits_leaves_the_predictive(likelihood, shift):
    assert_close(likelihood.predictive(logits(shift)).probs, likelihood.predictive(logits()).probs, rtol=1e-8, atol=1e-10)


@each_likelihood
@pytest.mark.parametrize("shift", [-5.0, 5.0])
def test_a_constant_added_to_all_logits_leaves_the_evidence_and_the_message(likelihood, shift):
    label = torch.tensor([1])
    assert_close(likelihood.evidence(*logits(shift), label), likelihood.evidence(*logits(), label), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("likelihood", [Softmax(power=1), IntegratedSoftmax(power=1)], ids=["softmax", "integrated"])
def test_equal_variances_leave_nothing_to_shift(likelihood):
    mean, variance = torch.tensor([[1.0, 0.0, -1.0]]), torch.full((1, 3), 2.0)
    moved = likelihood.predictive(Gaussian(mean + 5, variance)).probs
    assert_close(moved, likelihood.predictive(Gaussian(mean, variance)).probs, rtol=1e-8, atol=1e-10)


def test_two_classes_are_the_probit_approximation_of_their_difference():
    """softmax(k m) of two logits is sigmoid(k (m1 - m2)) with MacKay's k for the variance v1 + v2 of the difference."""
    mean, variance = torch.randn(20, 2), 10 * torch.rand(20, 2)
    k = (1 + math.pi / 8 * variance.sum(1)).rsqrt()
    assert_close(Softmax().distribution(Gaussian(mean, variance)).probs[:, 0], torch.sigmoid(k * (mean[:, 0] - mean[:, 1])))


def divergence(exact, found):
    """KL(exact, found) in nats, averaged over the rows."""
    return float((exact * (exact / found).log()).sum(1).mean())


@pytest.mark.parametrize("spread", [2.0, 8.0])
@pytest.mark.parametrize("classes", [3, 10])
def test_one_scale_is_nearer_to_the_integral_than_one_for_each_logit_around_zero(classes, spread):
    """Variances that differ up to `spread`^2-fold. With a k for each, what is added to all logits decides; here nothing is."""
    mean, variance = 2 * torch.randn(20, classes), spread ** (2 * torch.rand(20, classes) - 1)
    exact = IntegratedSoftmax().distribution(Gaussian(mean, variance)).probs
    each = torch.softmax(mean / (1 + math.pi / 8 * variance).sqrt(), 1)
    assert divergence(exact, Softmax().distribution(Gaussian(mean, variance)).probs) < 0.7 * divergence(exact, each)
