"""The softmax of logits does not change when a constant is added to all of them; its predictive must not either."""

import pytest
import torch
from torch.testing import assert_close

from torch_gbp import Gaussian, IntegratedSoftmax, Softmax

pytestmark = pytest.mark.usefixtures("float64")
# `Softmax` scales every logit by its own k = 1 / sqrt(1 + pi v / 8), so that a constant reaches the classes unequally.
unequal = pytest.mark.xfail(strict=True, reason="every logit is scaled by its own variance")
LIKELIHOODS = [
    pytest.param(Softmax(power=1), id="softmax", marks=unequal),
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
