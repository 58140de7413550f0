"""Conformal sets and intervals against MAPIE, and their coverage on fresh data."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from torch_gbp.errors import InvalidInput
from torch_gbp.evaluation import Outcome, Predictions, conformal_intervals, conformal_sets, interval_scores, set_scores

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its imports
    classification = pytest.importorskip("mapie.classification")
    regression = pytest.importorskip("mapie.regression")


class Known(ClassifierMixin, BaseEstimator):
    """A classifier whose inputs are its probabilities."""

    classes_, fitted_ = np.arange(4), True

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return x

    def predict(self, x):
        return x.argmax(1)


class First(RegressorMixin, BaseEstimator):
    """A regressor whose first input is its prediction."""

    fitted_ = True

    def fit(self, x, y):
        return self

    def predict(self, x):
        return x[:, 0]


def classes(n):
    """Overconfident predictions, and labels."""
    logits = 2 * torch.randn(n, 4, dtype=torch.float64)
    return (2 * logits).softmax(1), torch.distributions.Categorical(logits=logits).sample()


def real(n):
    """Means and deviations that are too narrow by a factor of 2, and targets."""
    mean, std = torch.randn(n, 2, dtype=torch.float64), torch.rand(n, 2, dtype=torch.float64) + 0.2
    return mean, std, mean + 2 * std * torch.randn(n, 2, dtype=torch.float64)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("level", [0.8, 0.9])
def test_least_ambiguous_sets_are_mapies(level):
    (own, labels), (new, _) = classes(200), classes(150)
    split = classification.SplitConformalClassifier(Known(), confidence_level=level, conformity_score="lac", prefit=True)
    split.conformalize(own.numpy(), labels.numpy())
    theirs = torch.from_numpy(split.predict_set(new.numpy())[1][:, :, 0])
    found = conformal_sets(Outcome("a", labels, probabilities=own), Predictions(probabilities=new), level)
    assert torch.equal(found, theirs) and 1 < set_scores(found, labels[:150])["post/SetSize"] < 4


def test_adaptive_sets_take_classes_in_order_until_the_sum_is_reached():
    """MAPIE's are randomised; here is a loop."""
    (own, labels), (new, _) = classes(49), classes(80)

    def before(p, label):
        return sum(other for other in p if other > p[label])

    q = sorted(before(p, label) for p, label in zip(own.tolist(), labels.tolist(), strict=True))[39]  # 40 = .8 x 50
    found = conformal_sets(Outcome("a", labels, probabilities=own), Predictions(probabilities=new), 0.8, "aps")
    assert found.tolist() == [[before(p, label) <= q + 1e-12 for label in range(4)] for p in new.tolist()]
    assert bool(found.any(1).all()) and 1 < set_scores(found, labels[:1].expand(80))["post/SetSize"] < 4


@pytest.mark.filterwarnings("ignore")
def test_intervals_are_mapies_of_standardised_targets():
    mean, std, targets = real(99)
    low, high = conformal_intervals(Outcome("a", targets, mean=mean, std=std), Predictions(mean=mean, std=std))
    for k in range(2):
        split = regression.SplitConformalRegressor(First(), confidence_level=0.9, prefit=True)
        standard = ((targets - mean) / std)[:, k].numpy()
        split.conformalize(np.zeros((99, 1)), standard)
        width = split.predict_interval(np.zeros((1, 1)))[1][0, 1, 0] * std[:, k]
        torch.testing.assert_close(high[:, k], mean[:, k] + width)
        torch.testing.assert_close(low[:, k], mean[:, k] - width)


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_sets_cover_fresh_labels_at_the_level(method):
    """On average between the level and the level + 1 / (n + 1)."""
    found = []
    for _ in range(150):
        (own, labels), (new, fresh) = classes(99), classes(200)
        sets = conformal_sets(Outcome("a", labels, probabilities=own), Predictions(probabilities=new), 0.8, method)
        found.append(set_scores(sets, fresh)["post/CoverageRate"])
    assert 0.79 < np.mean(found) < 0.81


def test_intervals_cover_fresh_targets_at_the_level():
    found = []
    for _ in range(200):
        (mean, std, targets), (new, width, fresh) = real(99), real(100)
        low, high = conformal_intervals(Outcome("a", targets, mean=mean, std=std), Predictions(mean=new, std=width), 0.9)
        found.append(interval_scores(low, high, fresh)["post/CoverageRate"])
    assert 0.892 < np.mean(found) < 0.908


def test_equal_probabilities_are_in_together():
    p = torch.full((9, 4), 0.25)
    sets = conformal_sets(Outcome("a", torch.arange(9) % 4, probabilities=p), Predictions(probabilities=p), 0.5, "aps")
    assert bool(sets.all())


def test_what_cannot_be_calibrated_is_refused():
    p, labels = classes(9)
    own, new = Outcome("a", labels, probabilities=p), Predictions(probabilities=p)
    three = Predictions(probabilities=torch.full((2, 3), 1 / 3))
    cases = {
        "needs at least 19 calibration examples.*Got: 9": lambda: conformal_sets(own, new, 0.95),
        r"level must be in \(0, 1\)": lambda: conformal_sets(own, new, 1.0),
        "unknown method.*'raps'": lambda: conformal_sets(own, new, method="raps"),
        "two regressions of equal width": lambda: conformal_intervals(own, new),
        "two classifications of equal width.*4, 3": lambda: conformal_sets(own, three),
        "calibration must be": lambda: conformal_sets(new, new),  # type: ignore[arg-type]
    }
    for text, call in cases.items():
        with pytest.raises(InvalidInput, match=text):
            call()
    assert conformal_sets(own, new, 0.9).shape == (9, 4)  # nine are enough for 90 %
