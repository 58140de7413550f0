"""Degenerate predictions have the right scores: ties, full confidence, empty bins, one label only, one example."""

import math

import pytest
import torch

from torch_gbp import metrics
from torch_gbp.errors import InvalidInput
from torch_gbp.evaluation import Outcome, score
from torch_gbp.metrics import auroc, brier_score, calibration_error, classification_scores, regression_scores
from torch_gbp.metrics.classes import accuracy

ONE_HOT = torch.eye(3)


def scored(p, labels):
    return {name: one.value for name, one in score(Outcome("case", torch.tensor(labels), probabilities=p), resamples=0).items()}


def test_a_model_that_is_sure_and_right():
    found = scored(ONE_HOT, [0, 1, 2])
    best = {"cls/Acc", "sc/RelativeAUC", "sc/Cov_5Risk"}
    assert found == {name: pytest.approx(float(name in best), abs=2e-3) for name in found}  # SmECE keeps .001 from 0 and 1
    assert found["cls/NLL"] == 0.0


def test_a_model_that_is_sure_and_wrong():
    found = scored(ONE_HOT, [1, 2, 0])
    assert found["cls/NLL"] == math.inf and found["cls/Brier"] == 2.0
    assert [found[f"cal/{name}"] for name in ("ECE", "MCE", "aECE")] == [1.0, 1.0, 1.0]
    assert found["cal/ClasswiseECE"] == pytest.approx(2 / 3) and found["cal/VectorECE"] == 0.0  # one bin: frequencies are right
    assert (found["sc/Cov_5Risk"], found["sc/AURC"], found["sc/Risk_80Cov"]) == (0.0, 1.0, 1.0)


def test_one_label_and_one_prediction_only():
    found = scored(torch.tensor([[0.75, 0.25]] * 8), [0] * 8)
    assert {name: found[name] for name in ("cls/Acc", "cal/ECE", "cal/MCE", "cal/aECE", "cal/ClasswiseECE")} == {
        "cls/Acc": 1.0, "cal/ECE": 0.25, "cal/MCE": 0.25, "cal/aECE": 0.25, "cal/ClasswiseECE": 0.25
    }  # fmt: skip
    assert found["cls/NLL"] == pytest.approx(-math.log(0.75)) and found["cal/SmECE"] == pytest.approx(0.25, abs=1e-3)


def test_one_example():
    found = scored(torch.tensor([[0.9, 0.1]]), [1])
    assert (found["cls/Acc"], found["sc/AURC"], found["sc/AUGRC"], found["sc/Risk_80Cov"]) == (0.0, 1.0, 1.0, 1.0)
    assert found["cal/ECE"] == pytest.approx(0.9)


def test_fewer_examples_than_bins():
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    gaps = [0.1, 0.6, 0.3]
    assert metrics.adaptive_calibration_error(p, torch.tensor([0, 1, 1])) == pytest.approx(sum(gaps) / 3)


@pytest.mark.parametrize("name", ["risk_area", "generalised_risk_area", "coverage_at_risk", "risk_at_coverage"])
def test_the_order_of_ties_does_not_count(name):
    confidence, wrong = torch.tensor([0.9, 0.8, 0.8, 0.8, 0.5]), torch.tensor([0, 1, 0, 0, 1])
    mixed = torch.tensor([4, 3, 0, 2, 1])
    curve = getattr(metrics, name)
    assert curve(confidence, wrong) == pytest.approx(curve(confidence[mixed], wrong[mixed]), abs=1e-15)


def test_tied_areas_are_means_over_their_orders():
    confidence, wrong = torch.tensor([0.9, 0.8, 0.8, 0.8, 0.5]), torch.tensor([0, 1, 0, 0, 1])
    apart = [confidence + torch.tensor([0.0, *shift, 0.0]) for shift in ([0.02, 0.01, 0], [0.01, 0.02, 0], [0, 0.01, 0.02])]
    for area in (metrics.risk_area, metrics.generalised_risk_area):
        assert area(confidence, wrong) == pytest.approx(sum(area(one, wrong) for one in apart) / 3, abs=1e-12)


def test_adaptive_error_of_ties_is_that_of_their_mean():
    """Two bins cut through the four equal ones: each sees an accuracy of a half, in whatever order they come."""
    p = torch.tensor([[0.75, 0.25]] * 4)
    for labels in ([0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0]):
        assert metrics.adaptive_calibration_error(p, torch.tensor(labels), bins=2) == pytest.approx(0.25)


def test_a_detector_that_knows_nothing_is_at_chance():
    same = torch.zeros(5), torch.zeros(3)
    assert metrics.detection_scores(*same) == {"AUROC": 0.5, "AUPR": 3 / 8, "FPR95": 1.0}


@pytest.mark.parametrize(("missed", "expected"), [(1, 0.0), (2, 1.0)], ids=["19 of 20", "19 of 21"])
def test_false_alarms_are_counted_at_95_percent(missed, expected):
    """19 found above all inside ones: they are 95 % of 20, and less of 21."""
    inside = torch.zeros(4)
    far = torch.cat([torch.ones(19), -torch.ones(missed)])
    assert metrics.fpr95(inside, far) == expected


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_any_integer_type_are_scored(dtype):
    logs, labels = torch.randn(30, 3).log_softmax(1), torch.arange(30) % 3
    assert classification_scores(logs, labels.to(dtype)) == classification_scores(logs, labels)


@pytest.mark.parametrize("score", [brier_score, accuracy, calibration_error])
@pytest.mark.parametrize(
    "labels", [torch.zeros(4, 1).long(), torch.zeros(3).long(), torch.zeros(4)], ids=["column", "few", "real"]
)
def test_labels_of_another_shape_or_type_are_refused(score, labels):
    with pytest.raises(InvalidInput, match="integers of shape"):
        score(torch.full((4, 2), 0.5), labels)


@pytest.mark.parametrize("inside", [torch.tensor([0.0, torch.nan]), torch.zeros(0), torch.zeros(2, 2)])
def test_scores_that_cannot_be_ranked_are_refused(inside):
    with pytest.raises(InvalidInput, match="none of them NaN"):
        auroc(inside, torch.tensor([1.0, 2.0]))


def test_a_negative_variance_is_refused_and_vectors_are_scored():
    with pytest.raises(InvalidInput, match="variance"):
        regression_scores(torch.zeros(2, 1), -torch.ones(2, 1), torch.zeros(2, 1))
    column = regression_scores(torch.zeros(2, 1), torch.ones(2, 1), torch.ones(2, 1))
    assert regression_scores(torch.zeros(2), torch.ones(2), torch.ones(2)) == column
