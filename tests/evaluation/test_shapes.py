"""Real targets of any shape, and counts of any dtype: scored as the same numbers in a row."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput
from torch_gbp.evaluation import Predictions

SHAPE = (2, 6, 5)
X = torch.randn(16, 3, *SHAPE[1:], generator=torch.Generator().manual_seed(0))
Y = X[:, :2] + X[:, 1:]


def scores(model, data, *arguments, **options):
    return gbp.evaluate(model, data, *arguments, resamples=5, **options)


def same(first, second):
    assert set(first) == set(second)
    for name, found in first.items():
        assert found == pytest.approx(second[name], rel=1e-5, nan_ok=True), name


@pytest.mark.parametrize("how", ["samples", "linear", "means"])
def test_images_are_scored_as_their_places_in_a_row(how):
    model, likelihood = gbp.from_torch(nn.Conv2d(3, 2, 3, padding=1)), gbp.Regression(0.5)
    ood = {"far": 9 + X}
    card = scores(model, (X, Y), likelihood, how=how, samples=4, ood=ood)
    found = gbp.predict(model, likelihood, X, how, 4).distribution
    assert card["reg/NLL"].value == pytest.approx(float(-found.log_prob(Y).double().mean()), rel=1e-4)
    assert card["reg/RMSE"].value == pytest.approx(float((found.mean - Y).square().mean().sqrt()), rel=1e-5)
    own = card.outcome
    assert own.shape == SHAPE and own.mean.shape == own.std.shape == own.epistemic.shape == own.targets.shape == (16, 60)
    rows = nn.Sequential(model, nn.Flatten())
    same(card, scores(rows, (X, Y.flatten(1)), likelihood, how=how, samples=4, ood=ood))


def test_pairs_mixtures_and_ensembles_of_images():
    mean, std = Y + 0.1, torch.rand(Y.shape) + 0.5
    same(scores((mean, std), Y), scores((mean.flatten(1), std.flatten(1)), Y.flatten(1)))
    parts = Normal(torch.randn(*Y.shape, 3), torch.rand(*Y.shape, 3) + 0.5)
    rows = Normal(parts.mean.flatten(1, 3), parts.stddev.flatten(1, 3))
    weights = Categorical(logits=torch.tensor([0.0, 1.0, 2.0]).expand(*Y.shape, 3))
    flat = Categorical(logits=weights.logits.flatten(1, 3))
    same(scores(MixtureSameFamily(weights, parts), Y), scores(MixtureSameFamily(flat, rows), Y.flatten(1)))
    members = [lambda x, shift=shift: Predictions(mean=x[:, :2] + shift, std=torch.ones_like(x[:, :2])) for shift in (0, 1)]
    in_a_row = [lambda x, one=one: Predictions(mean=one(x).mean, std=one(x).std) for one in members]
    same(scores(members, (X, Y)), scores(in_a_row, (X, Y.flatten(1))))


def test_targets_of_another_order_are_refused():
    card = ((Y, torch.ones_like(Y)), Y.movedim(1, -1))
    with pytest.raises(InvalidInput, match=r"targets must have the outputs' shape.*\(16, 6, 5, 2\), outputs \(16, 2, 6, 5\)"):
        gbp.evaluate(*card)
    with pytest.raises(InvalidInput, match="one shape"):
        gbp.evaluate((Y, torch.ones_like(Y).movedim(1, -1)), Y)


@pytest.mark.parametrize("how", ["samples", "linear", "moments"])
def test_counts_may_be_integers(how):
    x = 0.2 * X[:, 0, 0, :3]
    model, y = gbp.GBPLinear(3, 2), torch.poisson(torch.full((16, 2), 3.0))
    first = scores(model, (x, y), gbp.Poisson(), how=how, samples=4)
    same(first, scores(model, (x, y.long()), gbp.Poisson(), how=how, samples=4))
    with pytest.raises(InvalidInput, match="floating point"):
        gbp.evaluate((y, y + 1), y.bool())


def test_counts_of_images_are_named():
    model = gbp.from_torch(nn.Conv2d(3, 2, 3, padding=1))
    with pytest.raises(InvalidInput, match=r"counts \(n, k\).*nn\.Flatten"):
        gbp.evaluate(model, (X, Y.abs().round()), gbp.Poisson())
