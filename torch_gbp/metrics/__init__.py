"""Scores of predictive distributions: plain torch, in float64, one implementation of each in the whole repository."""

from torch_gbp.metrics.calibration import (
    BINS,
    adaptive_calibration_error,
    calibration_error,
    classwise_calibration_error,
    largest_calibration_error,
    vector_calibration_error,
)
from torch_gbp.metrics.classes import brier_score, classification_scores, negative_log_likelihood
from torch_gbp.metrics.counts import Counts
from torch_gbp.metrics.detection import auroc, average_precision, detection_scores, fpr95, ood_auroc, predictive_entropy
from torch_gbp.metrics.mixture import Mixture
from torch_gbp.metrics.real import quantile_calibration_error, regression_scores
from torch_gbp.metrics.selective import (
    coverage_at_risk,
    generalised_risk_area,
    relative_calibration_auc,
    risk_area,
    risk_at_coverage,
    risk_coverage,
)
from torch_gbp.metrics.smooth import smooth_calibration_error

__all__ = [
    "BINS",
    "Counts",
    "Mixture",
    "adaptive_calibration_error",
    "auroc",
    "average_precision",
    "brier_score",
    "calibration_error",
    "classification_scores",
    "classwise_calibration_error",
    "coverage_at_risk",
    "detection_scores",
    "fpr95",
    "generalised_risk_area",
    "largest_calibration_error",
    "negative_log_likelihood",
    "ood_auroc",
    "predictive_entropy",
    "quantile_calibration_error",
    "regression_scores",
    "relative_calibration_auc",
    "risk_area",
    "risk_at_coverage",
    "risk_coverage",
    "smooth_calibration_error",
    "vector_calibration_error",
]
