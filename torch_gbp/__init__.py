"""torch_gbp: Bayesian neural networks trained by Gaussian message passing, as a PyTorch plug-in."""

from torch_gbp.batches import FixedBatches
from torch_gbp.convert import from_torch
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.inference import Inference, thesis_iterations, thesis_rate
from torch_gbp.layers import (
    GBPAdaptiveAvgPool2d,
    GBPAvgPool2d,
    GBPConv2d,
    GBPConvTranspose2d,
    GBPLeakyReLU,
    GBPLinear,
    GBPMaxPool2d,
    GBPReLU,
    GBPUpsample,
    InputBasis,
)
from torch_gbp.likelihoods import (
    Argmax,
    HeteroscedasticRegression,
    IntegratedSoftmax,
    Likelihood,
    OneHotRegression,
    PairwiseArgmax,
    Regression,
    Softmax,
)
from torch_gbp.linear_response import LinearResponse
from torch_gbp.optimizer import MessagePassing
from torch_gbp.orders import Parallel, Sequential
from torch_gbp.report import StepReport
from torch_gbp.stores import AveragedSites, BatchSites, Filtering
from torch_gbp.trainer import Evaluation, Trainer

__version__ = "0.1.0"

__all__ = [
    "Argmax",
    "AveragedSites",
    "BatchSites",
    "Evaluation",
    "Filtering",
    "FixedBatches",
    "GBPAdaptiveAvgPool2d",
    "GBPAvgPool2d",
    "GBPConv2d",
    "GBPConvTranspose2d",
    "GBPLeakyReLU",
    "GBPLinear",
    "GBPMaxPool2d",
    "GBPReLU",
    "GBPUpsample",
    "Gaussian",
    "HeteroscedasticRegression",
    "Inference",
    "InputBasis",
    "IntegratedSoftmax",
    "Likelihood",
    "LinearResponse",
    "Message",
    "MessagePassing",
    "OneHotRegression",
    "PairwiseArgmax",
    "Parallel",
    "Regression",
    "Sequential",
    "Softmax",
    "StepReport",
    "Trainer",
    "from_torch",
    "thesis_iterations",
    "thesis_rate",
]
