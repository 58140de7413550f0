"""Calibration errors and the relative calibration curve against values by hand and brute force."""

import heapq

import numpy as np
import pytest
import torch

from torch_gbp.metrics import calibration_error, relative_calibration_auc, vector_calibration_error


@pytest.fixture
def predictions():
    probabilities = torch.softmax(3 * torch.randn(300, 4, dtype=torch.float64), 1)
    labels = torch.distributions.Categorical(probabilities.sqrt()).sample()  # less sure than they claim to be
    return probabilities, labels


def test_calibration_error_is_the_sum_over_fifteen_bins(predictions):
    probabilities, labels = predictions
    confidence, predicted = probabilities.max(1)
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            gap = (predicted == labels)[inside].double().mean() - confidence[inside].mean()
            expected += float(inside.double().mean() * gap.abs())
    assert expected > 0.05  # these predictions are overconfident by construction
    assert calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-12)


def test_full_confidence_is_binned_with_the_rest():
    # One bin holds .95 and 1.0; torchmetrics would open another for 1.0 and give .25 instead of .15.
    probabilities = torch.tensor([[1.0, 0.0], [0.95, 0.05]] * 2)
    labels = torch.tensor([0, 1, 0, 0])
    expected = abs(0.75 - (1.0 + 0.95) / 2)
    assert calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-7)


def test_vector_error_by_hand():
    """Bins (.1 .2) (.3 .4) (.6 .7) (.8 .9) of the first class's probability, each seen with frequency 1/2, 0, 1/2, 1."""
    first = torch.tensor([0.7, 0.1, 0.9, 0.3, 0.2, 0.6, 0.8, 0.4], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 0, 1])
    gaps = [0.15 - 0.5, 0.35, 0.65 - 0.5, 0.85 - 1.0]
    expected = sum(2 * gap**2 for gap in gaps) / 4  # both classes have the gap
    found = vector_calibration_error(torch.stack([first, 1 - first], 1), labels, smallest=2)
    assert found == pytest.approx(expected, abs=1e-12)


def split_by_queue(probabilities, smallest):
    """Bins of the published procedure: a queue by variance, halves left and right of the median of the sorted values."""
    done, queue = [], [(0.0, 0, np.arange(len(probabilities)))]
    while queue:
        _, _, rows = heapq.heappop(queue)
        component = probabilities[rows].var(0, ddof=1).argmax()
        rows = rows[probabilities[rows, component].argsort()]
        values = probabilities[rows, component]
        cut = int(np.searchsorted(values, values[len(rows) // 2]))
        if cut < smallest or len(rows) - cut < smallest:
            done.append(rows)
            continue
        for half in (rows[:cut], rows[cut:]):
            if len(half) < 2 * smallest:
                done.append(half)
            else:
                heapq.heappush(queue, (-probabilities[half].var(0, ddof=1).max(), int(half[0]), half))
    return done


@pytest.mark.parametrize("rounded", [False, True], ids=["distinct", "ties"])
def test_vector_error_is_that_of_the_published_bins(predictions, rounded):
    probabilities, labels = predictions
    p = (probabilities.round(decimals=1) if rounded else probabilities).numpy()
    truth = np.eye(4)[labels.numpy()]
    bins = split_by_queue(p, 20)
    assert len(bins) > 5 and sum(map(len, bins)) == 300 and min(map(len, bins)) >= 20
    expected = sum(len(rows) / 300 * ((p[rows].mean(0) - truth[rows].mean(0)) ** 2).sum() for rows in bins)
    assert vector_calibration_error(torch.from_numpy(p), labels) == pytest.approx(expected, rel=1e-9)


def test_relative_auc_by_hand():
    """Sorted by confidence: right, wrong, right, right; accuracies 1, 1/2, 2/3, 3/4."""
    probabilities = torch.tensor([[0.6, 0.4], [0.05, 0.95], [0.1, 0.9], [0.8, 0.2]])
    labels = torch.tensor([0, 1, 0, 0])
    expected = ((1 + 1 / 2) / 2 + (1 / 2 + 2 / 3) / 2 + (2 / 3 + 3 / 4) / 2) / 3
    assert relative_calibration_auc(probabilities, labels) == pytest.approx(expected, abs=1e-12)


def test_relative_auc_rewards_doubt_about_the_wrong_ones(predictions):
    probabilities, _ = predictions
    confidence, predicted = probabilities.max(1)
    order = confidence.argsort()
    best, worst = predicted.clone(), predicted.clone()
    best[order[:30]] = (best[order[:30]] + 1) % 4  # the least certain tenth is wrong
    worst[order[-30:]] = (worst[order[-30:]] + 1) % 4
    assert relative_calibration_auc(probabilities, predicted) == 1.0
    assert relative_calibration_auc(probabilities, best) > 0.99
    assert relative_calibration_auc(probabilities, worst) < 0.8
