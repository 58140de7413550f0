"""Measures: what is computed of an outcome, as functions of the rows that count, so that a bootstrap can draw them anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean

import torch
from torch import Tensor

from torch_gbp.evaluation.outcome import Outcome, Predictions, column
from torch_gbp.likelihoods.information import entropy
from torch_gbp.metrics import calibration as cal
from torch_gbp.metrics import classes as cls
from torch_gbp.metrics import selective as sc
from torch_gbp.metrics.detection import detection_scores
from torch_gbp.metrics.real import distance_from_uniform, interval_coverage, quantile_calibration_error, root_mean_square
from torch_gbp.metrics.smooth import smooth_calibration_error, smoothing_width
from torch_gbp.metrics.ties import levels

Rows = Mapping[str, Tensor]  # numbers of the examples, of the data ("") and of each OOD set by its name
Measure = Callable[[Rows], dict[str, float]]

LEVELS = (0.5, 0.9, 0.95)  # of the intervals whose coverage and width are noted
RISING = ("Acc", "Cov_5Risk", "RelativeAUC", "AUROC", "AUPR")  # the larger the better
DETECTORS: dict[str, Callable[[Predictions], Tensor | None]] = {  # larger outside; the first known one has plain names
    "ood_score": lambda found: found.ood_score,
    "msp": lambda found: None if found.probabilities is None else -found.probabilities.max(1).values,
    "entropy": lambda found: None if found.probabilities is None else entropy(found.probabilities),
    "std": lambda found: None if found.std is None else found.std.mean(1),
    "epistemic": lambda found: None if found.epistemic is None else column(found.epistemic).mean(1),
    "energy": lambda found: found.energy,
}


def measures(outcome: Outcome) -> list[Measure]:
    """All measures of an outcome, each of which gives several scores by their names."""
    own = of_classes(outcome) if outcome.kind == "classification" else of_real_targets(outcome)
    return [own, of_other_inputs(outcome)] if outcome.ood else [own]


def of_classes(outcome: Outcome) -> Measure:
    """Scores of class probabilities; the bins of VectorECE and the width of SmECE are those of all rows."""
    assert outcome.probabilities is not None and outcome.log_probabilities is not None
    every, labels, logs = outcome.probabilities, outcome.targets, outcome.log_probabilities
    confidence, predicted = every.max(1)
    ranks, _ = levels(confidence)
    bins, width, miss = cal.vector_bins(every), smoothing_width(every, labels), predicted != labels

    def scores(rows: Rows) -> dict[str, float]:
        at = rows[""]
        p, y, sure, wrong = every[at], labels[at], ranks[at], miss[at]
        aurc = sc.risk_area(sure, wrong)
        return {
            "cls/Acc": cls.accuracy(p, y),
            "cls/NLL": cls.negative_log_likelihood(logs[at], y),
            "cls/Brier": cls.brier_score(p, y),
            "cal/ECE": cal.calibration_error(p, y),
            "cal/MCE": cal.largest_calibration_error(p, y),
            "cal/aECE": cal.adaptive_calibration_error(p, y),
            "cal/ClasswiseECE": cal.classwise_calibration_error(p, y),
            "cal/SmECE": smooth_calibration_error(p, y, width),
            "cal/VectorECE": cal.vector_error_in(bins[at], p, y),
            "sc/AURC": aurc,
            "sc/RelativeAUC": 1 - aurc,
            "sc/AUGRC": sc.generalised_risk_area(sure, wrong),
            "sc/Cov_5Risk": sc.coverage_at_risk(sure, wrong, 0.05),
            "sc/Risk_80Cov": sc.risk_at_coverage(sure, wrong, 0.8),
        }

    return scores


def of_real_targets(outcome: Outcome) -> Measure:
    """Scores of real targets and counts, over all of their columns; each is a function of numbers of the single examples."""
    whole, y = outcome.whole(), outcome.targets.double()
    assert outcome.mean is not None
    gap, nll, crps, pit = y - outcome.mean, -whole.log_prob(y), whole.crps(y), whole.transform(y)
    widths = {level: whole.quantile((1 + level) / 2) - whole.quantile((1 - level) / 2) for level in LEVELS}

    def scores(rows: Rows) -> dict[str, float]:
        at = rows[""]
        found = {
            "reg/RMSE": root_mean_square(gap[at]),
            "reg/MAE": float(gap[at].abs().mean()),
            "reg/NLL": float(nll[at].mean()),
            "reg/CRPS": float(crps[at].mean()),
            "cal/QCE": quantile_calibration_error(pit[at]),
            "cal/PIT": distance_from_uniform(pit[at]),
        }
        for level, width in widths.items():
            found[f"cal/Cov_{100 * level:g}"] = interval_coverage(pit[at], level)
            found[f"cal/Width_{100 * level:g}"] = float(width[at].mean())
        return found

    return scores


def of_other_inputs(outcome: Outcome) -> Measure:
    """Detection of each OOD set by each number that is known of it and of the data, and means over the near and the far sets."""
    pairs = [
        (name, detector, *_ranks(*values))
        for name, found in outcome.ood.items()
        for detector, values in detectors(outcome, found).items()
    ]
    plain = pairs[0][1]  # of the detectors, the first

    def scores(rows: Rows) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, detector, own, other in pairs:
            ending = "" if detector == plain else f"_{detector}"
            for key, value in detection_scores(own[rows[""]], other[rows[name]]).items():
                found[f"ood/{name}/{key}{ending}"] = value
        return found | _over_groups(found, outcome)

    return scores


def detectors(outcome: Predictions, found: Predictions) -> dict[str, tuple[Tensor, Tensor]]:
    """Detection scores that are known of both sets, (of the data, of the other inputs) by name."""
    asked = {name: (detector(outcome), detector(found)) for name, detector in DETECTORS.items()}
    return {name: (own, other) for name, (own, other) in asked.items() if own is not None and other is not None}


def _ranks(own: Tensor, other: Tensor) -> list[Tensor]:
    """Ranks of the numbers of both sets among those of both."""
    place, _ = levels(torch.cat([own, other]))
    return list(place.split([len(own), len(other)]))


def _over_groups(found: dict[str, float], outcome: Outcome) -> dict[str, float]:
    """Means over the near sets and over the far ones, if some are near."""
    if not outcome.near:
        return {}
    groups = {"near": set(outcome.near), "far": set(outcome.ood) - set(outcome.near)}
    endings = dict.fromkeys(key.rpartition("/")[2] for key in found)
    means: dict[str, float] = {}
    for group, names in groups.items():
        for ending in endings:
            values = [found[key] for name in names if (key := f"ood/{name}/{ending}") in found]
            means |= {f"ood_{group}/{ending}": fmean(values)} if values else {}
    return means
