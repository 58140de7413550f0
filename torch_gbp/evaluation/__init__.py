"""Evaluation of any model that yields class probabilities or a predictive distribution."""

from torch_gbp.evaluation.outcome import Outcome, Predictions

__all__ = ["Outcome", "Predictions"]
