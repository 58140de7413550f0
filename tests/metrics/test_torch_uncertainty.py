"""Every score that torch-uncertainty has too, on 10,000 random predictions, and the cases in which programs differ."""

from __future__ import annotations

import warnings

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch.distributions import Normal

from torch_gbp import metrics
from torch_gbp.evaluation import Outcome, Predictions, score, set_scores

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its imports
    tu = pytest.importorskip("torch_uncertainty.metrics", reason="no torch-uncertainty for this torch")
    torchmetrics = pytest.importorskip("torchmetrics.classification")
    from torchmetrics import MeanAbsoluteError, MeanSquaredError

COUNT, CLASSES = 10_000, 10
TOP = {"task": "multiclass", "num_classes": CLASSES, "num_bins": 15}
OF_CLASSES = {
    "cls/Acc": lambda: torchmetrics.MulticlassAccuracy(CLASSES, average="micro"),
    "cls/Brier": lambda: tu.BrierScore(num_classes=CLASSES),
    "cls/NLL": tu.CategoricalNLL,
    "cal/ECE": lambda: tu.CalibrationError(**TOP),
    "cal/MCE": lambda: tu.CalibrationError(**TOP, norm="max"),
    "cal/aECE": lambda: tu.CalibrationError(**TOP, adaptive=True),
    "cal/ClasswiseECE": lambda: tu.classification.ClasswiseCalibrationError(CLASSES, num_bins=15),
    "cal/SmECE": tu.classification.SmoothCalibrationError,
    "sc/AURC": tu.AURC,
    "sc/AUGRC": tu.AUGRC,
    "sc/Cov_5Risk": tu.CovAt5Risk,
    "sc/Risk_80Cov": tu.RiskAt80Cov,
}
OF_REAL = {"reg/NLL": tu.DistributionNLL, "cal/QCE": tu.QuantileCalibrationError}


@pytest.fixture(scope="module")
def outcome():
    """Overconfident predictions, and others that are less sure."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(COUNT, CLASSES, generator=generator, dtype=torch.float64)
    labels = torch.softmax(logits / 2, 1).multinomial(1, generator=generator).squeeze(1)
    others = torch.softmax(1.5 * torch.randn(COUNT // 2, CLASSES, generator=generator, dtype=torch.float64), 1)
    return Outcome("random", labels, probabilities=logits.softmax(1), ood={"other": Predictions(probabilities=others)})


@pytest.fixture(scope="module")
def card(outcome):
    return score(outcome, resamples=0)


def computed(metric, *arguments):
    metric.update(*arguments)
    return float(metric.compute())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OF_CLASSES)
def test_scores_of_classes_are_torch_uncertaintys(float64, outcome, card, name):
    assert card[name].value == pytest.approx(computed(OF_CLASSES[name](), outcome.probabilities, outcome.targets), abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_detection_scores_are_torch_uncertaintys(float64, outcome, card):
    inside, outside = (-one.probabilities.max(1).values for one in (outcome, outcome.ood["other"]))
    arguments = torch.cat([inside, outside]), torch.cat([torch.zeros(len(inside)), torch.ones(len(outside))]).long()
    theirs = {
        "AUROC": torchmetrics.BinaryAUROC(), "AUPR": torchmetrics.BinaryAveragePrecision(), "FPR95": tu.FPR95(pos_label=1)
    }  # fmt: skip
    for key, metric in theirs.items():
        assert card[f"ood/other/{key}"].value == pytest.approx(computed(metric, *arguments), abs=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OF_REAL)
def test_scores_of_real_targets_are_torch_uncertaintys(float64, name):
    mean, std, noise = torch.randn(3, COUNT, 1)
    std, targets = std.abs() + 0.1, mean + 1.5 * noise
    found = score(Outcome("random", targets, mean=mean, std=std), resamples=0)
    assert found[name].value == pytest.approx(computed(OF_REAL[name](), Normal(mean, std), targets), abs=1e-6)


def test_points_and_intervals_are_torch_uncertaintys(float64):
    """Of what its regression routine has (RMSE, MAE) and of its metrics of intervals and prediction sets."""
    mean, std = torch.randn(COUNT, 2), torch.rand(COUNT, 2) + 0.1
    targets = mean + 1.5 * std * torch.randn(COUNT, 2)
    found = score(Outcome("random", targets, mean=mean, std=std), resamples=0)
    low, high = (Normal(mean, std).icdf(torch.tensor(level)) for level in (0.05, 0.95))
    theirs = {
        "reg/RMSE": computed(MeanSquaredError(squared=False), mean, targets),
        "reg/MAE": computed(MeanAbsoluteError(), mean, targets),
        "cal/Cov_90": computed(tu.regression.IntervalCoverage(), low, high, targets),
        "cal/Width_90": computed(tu.regression.MeanIntervalWidth(), low, high),
    }
    assert {name: found[name].value for name in theirs} == pytest.approx(theirs, abs=1e-6)
    sets, labels = torch.rand(50, 4) < 0.5, torch.randint(4, (50,))
    assert set_scores(sets, labels) == {
        "post/CoverageRate": pytest.approx(computed(tu.classification.CoverageRate(), sets.long(), labels), abs=1e-6),
        "post/SetSize": pytest.approx(computed(tu.classification.SetSize(), sets.long()), abs=1e-6),
    }


def test_the_entropy_detector_is_scikit_learns(outcome, card):
    """An independent program, without the sigmoid of torchmetrics."""
    own = [torch.special.entr(one.probabilities).sum(1) for one in (outcome, outcome.ood["other"])]
    truth, entropy = [0] * len(own[0]) + [1] * len(own[1]), torch.cat(own).numpy()
    alarms, found, _ = roc_curve(truth, entropy, drop_intermediate=False)
    assert card["ood/other/AUROC_entropy"].value == pytest.approx(roc_auc_score(truth, entropy), abs=1e-12)
    assert card["ood/other/AUPR_entropy"].value == pytest.approx(average_precision_score(truth, entropy), abs=1e-12)
    assert card["ood/other/FPR95_entropy"].value == pytest.approx(alarms[found >= 0.95][0], abs=1e-12)


def test_numbers_outside_0_and_1_are_compared_as_they_are():
    """torchmetrics sends them through a sigmoid in float32, in which 40 and 41 are both 1: chance, where all are told apart."""
    inside, outside = torch.full((50,), 40.0), torch.full((50,), 41.0)
    theirs = computed(torchmetrics.BinaryAUROC(), torch.cat([inside, outside]), torch.arange(100) // 50)
    assert (metrics.auroc(inside, outside), theirs) == (1.0, 0.5)


def test_full_confidence_has_no_bin_of_its_own():
    """Means of one bin: confidence .97, accuracy .95. torchmetrics opens a sixteenth bin for 1, and adds up .06 / 2 + .1 / 2."""
    p = torch.tensor([[0.94, 0.06]] * 10 + [[1.0, 0.0]] * 10)
    labels = torch.tensor([0] * 10 + [1] + [0] * 9)
    theirs = computed(torchmetrics.MulticlassCalibrationError(2, n_bins=15), p, labels)
    assert metrics.calibration_error(p, labels) == pytest.approx(0.02, abs=1e-6)
    assert theirs == pytest.approx(0.08, abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_coverage_at_risk_splits_no_ties_and_has_a_number_where_nothing_is_kept():
    """Of four equal predictions one is wrong: a threshold keeps all (risk .25) or none; theirs keeps the first."""
    p, labels = torch.tensor([[0.8, 0.2]] * 4), torch.tensor([0, 0, 0, 1])
    confidence, wrong = p.max(1).values, labels != 0
    assert metrics.coverage_at_risk(confidence, wrong, 0.05) == 0.0
    assert metrics.coverage_at_risk(confidence, wrong, 0.25) == 1.0
    assert computed(tu.CovAt5Risk(), p, labels) == 0.75
    assert torch.tensor(computed(tu.CovAt5Risk(), p[3:], labels[3:])).isnan()
