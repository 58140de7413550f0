"""Inference: a network recorded as a graph of factors, and the schedules by which messages are iterated on it."""

from torch_gbp.inference.damping import Damping
from torch_gbp.inference.graph import FactorGraph
from torch_gbp.inference.inference import Inference, thesis_iterations, thesis_rate
from torch_gbp.inference.latent import Latent
from torch_gbp.inference.schedule import AllAtOnce, ExampleByExample, LayerSweeps, RandomLayers, Schedule
from torch_gbp.inference.trace import Trace

__all__ = [
    "AllAtOnce",
    "Damping",
    "ExampleByExample",
    "FactorGraph",
    "Inference",
    "Latent",
    "LayerSweeps",
    "RandomLayers",
    "Schedule",
    "Trace",
    "thesis_iterations",
    "thesis_rate",
]
