"""The numbers behind the diagrams: against the scores, scikit-learn, the binomial distribution and simulated models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_curve

from torch_gbp.metrics import auroc, calibration_error
from torch_gbp.metrics.real import interval_coverage as covered
from torch_gbp.reporting import curves


def calibrated(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and whether a model that is perfectly calibrated is right."""
    random = np.random.default_rng(seed)
    confidence = random.beta(4, 1.5, n)
    return confidence, random.random(n) < confidence


def test_gaps_of_the_reliability_diagram_sum_to_the_calibration_error():
    p = torch.softmax(2 * torch.randn(400, 4, dtype=torch.float64), 1)
    labels = torch.randint(4, (400,))
    confidence, predicted = p.max(1)
    found = curves.reliability(confidence.numpy(), (predicted == labels).numpy(), fewest=1)
    total = np.sum(found.count / 400 * np.abs(found.accuracy - found.confidence))
    assert total == pytest.approx(calibration_error(p, labels), abs=1e-12)


@pytest.mark.parametrize("n", [5, 39, 60, 1000])
def test_points_stand_for_enough_examples_and_for_all_of_them(n):
    found = curves.reliability(*calibrated(n, n))
    assert found.count.sum() == n
    assert found.count.min() >= min(n, curves.FEWEST)
    assert (np.diff(found.confidence) > 0).all()


def test_certain_predictions_have_a_bin():
    found = curves.reliability(np.ones(50), np.arange(50) > 0)
    assert found.count.tolist() == [50] and found.accuracy.tolist() == [0.98]
    assert (found.low, found.high) == (1, 1)  # a model that is right to say so would never be wrong


def test_bars_of_chance_hold_95_of_100_points_of_calibrated_models():
    outside, points = 0, 0
    for seed in range(60):
        found = curves.reliability(*calibrated(500, seed), seed=seed)
        outside += int(((found.accuracy < found.low) | (found.accuracy > found.high)).sum())
        points += len(found.accuracy)
    assert 0.02 < outside / points < 0.08  # 600 points: a standard error of .009


def test_a_model_that_is_too_sure_lies_outside():
    confidence, right = calibrated(2000, 0)
    found = curves.reliability(confidence ** (1 / 3), right)
    assert (found.accuracy < found.low).mean() > 0.8


def test_bars_are_those_of_the_binomial_distribution():
    """Where all confidences of a bin are one, with its own number of examples drawn anew: wider by that alone."""
    confidence = np.repeat([0.6, 0.9], [400, 400])
    found = curves.reliability(confidence, np.ones(800, dtype=bool))
    for point, level in enumerate((0.6, 0.9)):
        low, high = stats.binom.ppf([0.025, 0.975], 400, level) / 400
        np.testing.assert_allclose([found.low[point], found.high[point]], [low, high], atol=0.012)


def test_roc_is_that_of_scikit_learn_and_its_area_that_of_the_score():
    inside, outside = np.round(np.random.default_rng(0).normal(size=(2, 150)), 1)  # with ties
    outside = outside[:90] + 0.5
    accused, found = curves.roc(inside, outside)
    truth, score = np.repeat([0, 1], [150, 90]), np.concatenate([inside, outside])
    wanted = roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose([accused, found], wanted[:2], atol=1e-12)
    assert np.trapezoid(found, accused) == pytest.approx(auroc(torch.tensor(inside), torch.tensor(outside)), abs=1e-12)


def test_coverage_is_that_of_the_score_with_the_bars_of_the_binomial_distribution():
    pit = np.random.default_rng(1).beta(2, 2, 300)
    found = curves.interval_coverage(pit)
    np.testing.assert_allclose(found.observed, [covered(torch.tensor(pit), level) for level in curves.LEVELS], atol=1e-12)
    exact = stats.binom.ppf([[0.025], [0.975]], 300, curves.LEVELS) / 300
    np.testing.assert_allclose([found.low, found.high], exact, atol=0.008)
    assert (found.observed > found.high).any()  # intervals that are too wide


@pytest.mark.parametrize(("n", "bins"), [(150, 10), (400, 20)])
def test_the_histogram_of_the_pit_is_a_density_with_bars(n, bins):
    pit = np.random.default_rng(2).random(n)
    found = curves.pit_histogram(pit)
    assert len(found.observed) == bins and found.observed.mean() == pytest.approx(1)
    exact = bins * stats.binom.ppf([0.025, 0.975], n, 1 / bins) / n
    np.testing.assert_allclose([found.low[0], found.high[0]], exact, atol=bins * 1.5 / n)
    assert ((found.observed >= found.low) & (found.observed <= found.high)).mean() > 0.8


def test_a_thinned_curve_keeps_its_ends_and_pairs():
    x, y = curves.thinned(np.arange(5000.0), -np.arange(5000.0))
    assert len(x) == curves.POINTS and (x[0], x[-1]) == (0, 4999)
    assert (x == -y).all()
    assert len(curves.thinned(np.arange(3.0))[0]) == 3


def test_a_confidence_on_an_edge_belongs_to_the_bin_above():
    """As in the calibration error."""
    edge = np.linspace(0, 1, curves.BINS + 1)[9]
    confidence = np.repeat([edge - 1e-9, edge], [10, 30])
    assert curves.reliability(confidence, np.ones(40, dtype=bool), fewest=1).count.tolist() == [10, 30]
