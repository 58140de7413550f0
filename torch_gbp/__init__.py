"""torch_gbp: Bayesian neural networks trained by Gaussian message passing, as a PyTorch plug-in."""

from importlib import import_module

from torch_gbp import likelihoods
from torch_gbp.autograd.passes import linearised_sweep, means_sweep
from torch_gbp.bases import CosineBasis, InputBasis, PatchBasis
from torch_gbp.continual import advance, widen_head
from torch_gbp.convert import adapters, from_torch, last_layer, renew_statistics, sample, summary, to_torch
from torch_gbp.decide import Abstention, abstain, mutual_information, select
from torch_gbp.factors.torch_functions import moments
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.inference import (
    AllAtOnce,
    Damping,
    ExampleByExample,
    FactorGraph,
    Inference,
    Latent,
    LayerSweeps,
    RandomLayers,
    Trace,
    thesis_iterations,
    thesis_rate,
)
from torch_gbp.layers import (
    GBPActivation,
    GBPAdaptiveAvgPool2d,
    GBPAvgPool2d,
    GBPConv2d,
    GBPConvTranspose2d,
    GBPLeakyReLU,
    GBPLinear,
    GBPMaxPool2d,
    GBPNoise,
    GBPReLU,
    GBPSigmoid,
    GBPUpsample,
)
from torch_gbp.layers.standardise import Standardise
from torch_gbp.likelihoods import *
from torch_gbp.optim.configure import configure_optimizers
from torch_gbp.optim.fixed_batches import FixedBatches
from torch_gbp.optim.message_passing import MessagePassing
from torch_gbp.optim.report import StepReport
from torch_gbp.optim.stores import AveragedSites, BatchSites, Filtering
from torch_gbp.predictive import Predictive, predict
from torch_gbp.predictive.calibration import Calibration, calibrate
from torch_gbp.predictive.linear_response import LinearResponse
from torch_gbp.predictive.ood import OODScore
from torch_gbp.trainer import Evaluation, Trainer
from torch_gbp.weights.attached import marginals
from torch_gbp.weights.laplace import LaplacePrior
from torch_gbp.weights.priors import Prior

__version__ = "0.2.0"

__all__ = [  # and those of likelihoods, below
    "Abstention",
    "AllAtOnce",
    "AveragedSites",
    "BatchSites",
    "Calibration",
    "CosineBasis",
    "Damping",
    "Evaluation",
    "ExampleByExample",
    "FactorGraph",
    "Filtering",
    "FixedBatches",
    "GBPActivation",
    "GBPAdaptiveAvgPool2d",
    "GBPAvgPool2d",
    "GBPConv2d",
    "GBPConvTranspose2d",
    "GBPLeakyReLU",
    "GBPLinear",
    "GBPMaxPool2d",
    "GBPNoise",
    "GBPReLU",
    "GBPSigmoid",
    "GBPUpsample",
    "Gaussian",
    "Inference",
    "InputBasis",
    "LaplacePrior",
    "Latent",
    "LayerSweeps",
    "LinearResponse",
    "Message",
    "MessagePassing",
    "OODScore",
    "PatchBasis",
    "Predictive",
    "Prior",
    "RandomLayers",
    "Standardise",
    "StepReport",
    "Trace",
    "Trainer",
    "abstain",
    "adapters",
    "advance",
    "calibrate",
    "configure_optimizers",
    "from_torch",
    "last_layer",
    "linearised_sweep",
    "marginals",
    "means_sweep",
    "moments",
    "mutual_information",
    "predict",
    "renew_statistics",
    "sample",
    "select",
    "summary",
    "thesis_iterations",
    "thesis_rate",
    "to_torch",
    "widen_head",
]
__all__ += likelihoods.__all__

_LATER = {  # function: room that stands on this one, imported at first use
    # (under another name than the function's: importing a room binds its name here, in the function's place)
    "evaluate": "evaluation",
    "report": "reporting",
}
_ROOMS = ("sklearn",)  # rooms that are themselves imported at first use


def __getattr__(name: str) -> object:
    """Functions of the rooms that stand on this one, and such rooms."""
    if name in _ROOMS:
        return import_module(f"torch_gbp.{name}")
    if name in _LATER:
        return getattr(import_module(f"torch_gbp.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER])
