"""abstain: the bound against scipy, the guarantee over many held-out sets, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import beta
from torch import nn

import torch_gbp as gbp
from torch_gbp import abstain
from torch_gbp.decide.abstain import LEVELS, upper_bound
from torch_gbp.errors import InvalidInput


@pytest.mark.parametrize("count", [1, 30, 2000, 100_000])
@pytest.mark.parametrize("delta", [0.05, 1e-4])
def test_the_bound_is_clopper_and_pearsons(count, delta):
    for errors in {0, 1, count // 50, count // 2, count - 1, count} - {-1}:
        truth = 1.0 if errors == count else beta.ppf(1 - delta, errors + 1, count - errors)
        assert upper_bound(errors, count, delta) == pytest.approx(truth, rel=1e-9)


def held_out(n, seed):
    """Uncertainties u, and errors with probability .4 u^2: below a threshold t the risk is .4 t^2 / 3."""
    generator = torch.Generator().manual_seed(seed)
    uncertainty = torch.rand(n, generator=generator, dtype=torch.float64)
    return uncertainty, torch.rand(n, generator=generator, dtype=torch.float64) < 0.4 * uncertainty.square()


def test_the_risk_is_kept_as_often_as_promised_and_not_by_giving_nothing():
    delta, runs = 0.2, 200
    rules = [abstain(*held_out(2000, seed), risk=0.05, delta=delta) for seed in range(runs)]
    above = sum(0.4 * min(rule.threshold, 1.0) ** 2 / 3 > 0.05 for rule in rules)
    assert above <= delta * runs
    best = math.sqrt(0.05 * 3 / 0.4)  # the threshold at which the risk is .05
    assert sum(rule.coverage for rule in rules) / runs > 0.75 * best


def test_what_it_says_of_itself_holds_on_the_held_out_examples():
    uncertainty, wrong = held_out(3000, 0)
    rule = abstain(uncertainty, wrong, risk=0.05)
    given = rule.accept(uncertainty)
    assert given.double().mean() == pytest.approx(rule.coverage)
    assert wrong[given].double().mean() == pytest.approx(rule.errors)
    assert rule.bound == pytest.approx(upper_bound(int(wrong[given].sum()), int(given.sum()), 0.05 / LEVELS))
    assert rule.errors < rule.bound <= rule.risk == 0.05


def test_all_predictions_are_given_where_all_are_right():
    rule = abstain(torch.rand(500), torch.zeros(500, dtype=torch.bool))
    assert (rule.threshold, rule.coverage, rule.errors) == (math.inf, 1.0, 0.0)
    assert rule.accept(torch.tensor([1e9])).all()


def test_equal_uncertainties_are_given_together_or_not_at_all():
    uncertainty = torch.tensor([0.1] * 600 + [0.5] * 400)
    wrong = torch.arange(1000) >= 600
    rule = abstain(uncertainty, wrong, risk=0.05)
    assert rule.accept(torch.tensor([0.1, 0.5])).tolist() == [True, False]
    assert (rule.coverage, rule.errors) == (0.6, 0.0)


@pytest.mark.parametrize("how", ["confidence", "entropy", "margin", "bald"])
def test_predictions_and_their_probabilities_get_one_rule(how):
    torch.manual_seed(0)
    model = nn.Sequential(gbp.GBPLinear(2, 16), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(16, 2))
    x = torch.randn(800, 2)
    found = gbp.predict(model, gbp.Softmax(), x, how="samples")
    target = torch.where(found.probs.amax(1) > found.probs.amax(1).median(), found.probs.argmax(1), torch.randint(2, (800,)))
    rule = abstain(found, target, risk=0.2, how=how, delta=0.2)
    assert 0 < rule.coverage <= 1
    other = abstain(found.sample_probs if how == "bald" else found.probs, target, risk=0.2, how=how, delta=0.2)
    torch.testing.assert_close(rule.accept(found), other.accept(found.sample_probs if how == "bald" else found.probs))


P = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
WRONG = torch.tensor([True, False])


@pytest.mark.parametrize(
    ("found", "target", "options", "text"),
    [
        (torch.rand(40), torch.zeros(40, dtype=torch.bool), {}, "no threshold keeps the risk below 0.05.*fewer than 126"),
        (torch.rand(5000), torch.rand(5000) < 0.3, {}, "5000 held-out examples"),
        (P, WRONG, {}, "labels must be integers"),
        (P, torch.tensor([0, 2]), {}, "labels must lie in"),
        (P, torch.tensor([0]), {}, "labels of shape"),
        (P[:, 0], torch.tensor([0, 1]), {}, "which predictions are errors"),
        (P, torch.tensor([0, 1]), {"risk": 0.0}, r"risk must be in \(0, 1\)"),
        (P, torch.tensor([0, 1]), {"delta": 1.0}, r"delta must be in \(0, 1\)"),
        (P, torch.tensor([0, 1]), {"how": "surprise"}, "unknown uncertainty"),
        (P, torch.tensor([0, 1]), {"how": "bald"}, "several networks"),
        (P * 2, torch.tensor([0, 1]), {}, "sum to 1"),
        (torch.tensor([0.1, math.nan]), WRONG, {}, "1 of 2"),
    ],
)
def test_what_cannot_be_promised_is_refused_by_name(found, target, options, text):
    with pytest.raises(InvalidInput, match=text):
        abstain(found, target, **options)


def test_a_rule_takes_what_it_was_made_of():
    rule = abstain(torch.rand(500), torch.zeros(500, dtype=torch.bool))
    with pytest.raises(InvalidInput, match="another kind"):
        rule.accept(P)
    real = gbp.predict(gbp.GBPLinear(2, 1), gbp.Regression(0.3), torch.randn(4, 2))
    with pytest.raises(InvalidInput, match="the caller has to say"):
        abstain(real, torch.zeros(4, 1))
