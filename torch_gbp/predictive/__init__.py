"""Predictions of any network whose weights have marginals: in one pass of moments, by samples, linearised, or at the means."""

from torch_gbp.predictive.outputs import Outputs
from torch_gbp.predictive.predict import outputs_of, predict
from torch_gbp.predictive.result import Predictive

__all__ = ["Outputs", "Predictive", "outputs_of", "predict"]
