"""Evaluation of any model that yields class probabilities or a predictive distribution."""

from torch_gbp.evaluation.adapter import Adapter, adapter
from torch_gbp.evaluation.conformal import conformal_intervals, conformal_sets, interval_scores, set_scores
from torch_gbp.evaluation.evaluate import evaluate
from torch_gbp.evaluation.outcome import Outcome, Predictions
from torch_gbp.evaluation.scorecard import Score, Scorecard, higher_is_better, score

__all__ = [
    "Adapter",
    "Outcome",
    "Predictions",
    "Score",
    "Scorecard",
    "adapter",
    "conformal_intervals",
    "conformal_sets",
    "evaluate",
    "higher_is_better",
    "interval_scores",
    "score",
    "set_scores",
]
