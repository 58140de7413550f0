"""select: every way against its own formula, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import torch_gbp as gbp
from torch_gbp import select
from torch_gbp.decide.scores import bald, entropy
from torch_gbp.errors import InvalidInput

P = torch.tensor([[0.8, 0.1, 0.1], [0.45, 0.45, 0.1], [0.4, 0.3, 0.3], [1.0, 0.0, 0.0]])
SAMPLES = torch.stack([P, P.roll(1, 1)])  # two networks that agree on no class


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(gbp.GBPLinear(3, 8), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(8, 4))


@pytest.mark.parametrize(("how", "best"), [("entropy", [2, 1, 0, 3]), ("margin", [1, 2, 0, 3]), ("confidence", [2, 1, 0, 3])])
def test_the_order_of_each_way(how, best):
    assert select(P, 4, how).tolist() == best


def test_bald_prefers_networks_that_are_sure_of_different_things():
    assert select(SAMPLES, 2, "bald").tolist() == [3, 0]
    assert select(SAMPLES, 1, "entropy").tolist() == [2]


def test_scores_largest_first_and_equal_ones_in_order():
    assert select(torch.tensor([0.1, 3.0, 3.0, 2.0]), 3).tolist() == [1, 2, 3]


@pytest.mark.parametrize("how", ["moments", "linear", "samples"])
def test_of_a_prediction_the_parts_that_it_hands_out(model, how):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    found = gbp.predict(model, gbp.Softmax(), x, how=how)
    assert select(found, 5, "bald").tolist() == found.epistemic.argsort(descending=True)[:5].tolist()
    torch.testing.assert_close(entropy(found), found.distribution.entropy())


def test_batchbald_of_a_prediction_is_that_of_its_samples(model):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    found = gbp.predict(model, gbp.Softmax(), x, how="samples", samples=12)
    torch.testing.assert_close(found.sample_probs.mean(0), found.probs)
    torch.testing.assert_close(bald(found.sample_probs), found.epistemic, atol=1e-6, rtol=0)
    assert torch.equal(select(found, 3, "batchbald"), select(found.sample_probs, 3, "batchbald"))
    assert int(select(found, 1, "batchbald")) == int(select(found, 1, "bald"))


def test_a_pool_in_parts_has_the_same_networks(model):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    parts = [gbp.predict(model, gbp.Softmax(), part, how="samples").sample_probs for part in x.split(16)]
    whole = gbp.predict(model, gbp.Softmax(), x, how="samples").sample_probs
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_real_targets_by_the_gaussians_information(model):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    found = gbp.predict(nn.Sequential(model, gbp.GBPLinear(4, 2)), gbp.Regression(0.3), x, how="moments")
    total, noise = found.distribution.variance, found.aleatoric
    torch.testing.assert_close(bald(found), 0.5 * (total / noise).log().sum(1))
    torch.testing.assert_close(entropy(found), 0.5 * (2 * math.pi * math.e * total).log().sum(1))
    assert torch.equal(select(found, 3, "bald"), select(found, 3, "entropy"))  # one noise for all


def test_random_is_drawn_without_replacement_by_its_generator():
    drawn = [select(torch.full((50, 2), 0.5), 50, "random", generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert drawn[2].sort().values.tolist() == list(range(50))


@pytest.mark.parametrize(
    ("found", "k", "how", "text"),
    [
        (P, 5, None, "at most the pool's 4"),
        (P, 0, None, "k must be an integer"),
        (P, 2, "bold", "unknown way"),
        (P, 2, "bald", "several networks"),
        (P, 2, "batchbald", "several networks"),
        (P, 2, "scores", "cannot be told"),
        (P[:, 0], 2, "entropy", "cannot be told"),
        (P.log(), 2, None, "negative probabilities.*logits.softmax"),
        (P * 1.01, 2, None, "sum to 1"),
        (torch.tensor([[math.nan, 1.0]]), 1, None, "1 of 1 rows have NaN"),
        (torch.stack([P, P, 2 * P]), 2, "bald", "4 of 12 rows have probabilities that do not sum to 1.*2 in row 2, 0"),
        (torch.tensor([0.0, math.nan]), 1, None, "1 of 2"),
        (torch.tensor([1, 2]), 1, None, "a prediction is needed"),
        (P[:0], 1, None, "a prediction is needed"),
        ([0.1, 0.2], 1, None, "a prediction is needed"),
    ],
)
def test_what_cannot_be_selected_is_refused_by_name(found, k, how, text):
    with pytest.raises(InvalidInput, match=text):
        select(found, k, how)


def test_classes_are_asked_of_classes_alone_and_samples_of_samples(model):
    x = torch.randn(4, 3)
    real = gbp.predict(nn.Sequential(model, gbp.GBPLinear(4, 1)), gbp.Regression(0.3), x)
    with pytest.raises(InvalidInput, match="for classes"):
        select(real, 1, "margin")
    with pytest.raises(InvalidInput, match="how='samples'"):
        select(gbp.predict(model, gbp.Softmax(), x, how="moments"), 1, "batchbald")


def test_a_prediction_at_the_means_has_no_bald_and_one_class_no_margin():
    found = gbp.predict(nn.Sequential(gbp.GBPLinear(3, 4)), gbp.Softmax(), torch.randn(5, 3), how="means")
    with pytest.raises(InvalidInput, match="says nothing of the weights"):
        gbp.select(found, 2, how="bald")
    with pytest.raises(InvalidInput, match="between two classes"):
        gbp.select(torch.ones(4, 1), 2, how="margin")
