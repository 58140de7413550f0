"""Prior and start of a marginal on a torch layer's weight."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from torch_gbp.checks import require_kind
from torch_gbp.convert.choice import Place, places
from torch_gbp.convert.statistics import frozen
from torch_gbp.errors import InvalidInput
from torch_gbp.layers.base import PRIOR_SCALE
from torch_gbp.weights.attached import ParameterMarginal, Sharing, attach, sharing_of
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.priors import Prior, VarianceFormula, code, weight_prior

_SEQUENCES = (nn.LayerNorm, nn.RMSNorm, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase, nn.Embedding)
NOISE = 1e-3  # of the start at given weights: its variance over the weights' mean square


def fans(module: nn.Module, name: str, parameter: Tensor) -> tuple[int, int]:
    """Fan-in and fan-out of a weight, as the prior's formula takes them: weights that are summed up, sums that read one input.

    Where an output has many positions the fan-out is taken to be the fan-in. A row of an embedding is read alone: 1.

    >>> fans(nn.Conv2d(4, 8, 3), "weight", torch.zeros(8, 4, 3, 3)), fans(nn.Linear(9, 3), "weight", torch.zeros(3, 9))
    ((36, 36), (9, 3))
    """
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or parameter.ndim < 2:
        return 1, 1
    if isinstance(module, _ConvTransposeNd):
        steps = zip(module.kernel_size, module.stride, strict=True)
        summed = module.in_channels // module.groups * math.prod(-(-size // step) for size, step in steps)
        return summed, summed
    summed = parameter[0].numel()
    if isinstance(module, _ConvNd) or parameter.ndim > 2:
        return summed, summed
    return summed, len(parameter) // sharing_of(module, name, parameter).blocks


class Options:
    """The prior of the weights that become Gaussian: `weight_prior`, and whether weights of an input share a precision.

    Args:
        prior_variance, prior_scale, prior_formula, shared_precision: as for `GBPLinear`.

    Raises:
        InvalidInput: another option, or one out of range.
    """

    def __init__(self, where: str = "from_torch", **given: Any) -> None:
        known = {"prior_variance": None, "prior_scale": PRIOR_SCALE, "prior_formula": code, "shared_precision": True}
        if given.keys() - known.keys():
            raise InvalidInput(
                "unknown options of the prior",
                where=where,
                got=", ".join(sorted(given.keys() - known.keys())),
                cause="a misspelling, or an option of GBP layers (moments=True)",
                fix=f"use {', '.join(known)}",
            )
        options = known | given
        self.variance: float | None = options["prior_variance"]
        self.scale: float = options["prior_scale"]
        self.formula: VarianceFormula = options["prior_formula"]
        self.shared: bool = options["shared_precision"]
        require_kind("shared_precision", self.shared, bool, where, fix="use True, or False for a precision for each weight")
        self.prior(1, 1)

    def prior(self, fan_in: int, fan_out: int) -> Prior:
        return weight_prior(fan_in, fan_out, self.scale, self.variance, self.formula)

    def attach(self, group: list[Place]) -> ParameterMarginal:
        """Gives a parameter its marginal, at the first of its places."""
        module, name, parameter = group[0].module, group[0].name, group[0].parameter
        kinds = {sharing_of(place.module, place.name, parameter) for place in group}
        sharing = kinds.pop() if self.shared and len(kinds) == 1 else Sharing()
        return attach(module, name, self.prior(*fans(module, name, parameter)), sharing)


@torch.no_grad()
def start_at(marginal: ParameterMarginal, as_prior: bool) -> None:
    """Starts a marginal at the weights that are there, narrow enough to leave the network's predictions as they are.

    The start variance is 1 / 1000 of the weights' mean square, or the prior's if that is less: noise of 3 % of a layer's
    weights. The precision above the prior's is a surplus, which an optimizer anneals away (`optim/stores/annealing.py`).
    """
    if marginal.mean.is_meta:
        return
    if as_prior:
        marginal.set_prior_mean(marginal.mean)
    marginal.narrow(NOISE * (mean_square(marginal.mean) or marginal.prior.variance))


def mean_square(weight: Tensor) -> float:
    """Mean of the squared entries, without a copy of the tensor."""
    return float(torch.linalg.vector_norm(weight)) ** 2 / weight.numel()


@torch.no_grad()
def start_anew(network: nn.Module, chosen: list[list[Place]]) -> None:
    """Draws a network's trained parameters anew; what has no `reset_parameters`, or is frozen, stays.

    Plain parts by torch's own initialisation, weights of Linear and Conv that become Gaussian from N(0, 2 / fan-in), with biases
    0: a convolutional network without norms had an NLL of .93 in place of 1.01. Transformers and recurrent networks keep the
    weights that they were built with, as their start: drawn anew, a character model had 1.87 in place of 1.72.
    """
    if any(isinstance(module, _SEQUENCES) for module in network.modules()):
        return
    held = [group[0].parameter for group in places(network)]
    kept = [(parameter, parameter.clone()) for parameter in held if not parameter.requires_grad]
    for module in network.modules():
        if not isinstance(module, GaussianParameter) and not frozen(module):
            _reset(module)
    for place in (group[0] for group in chosen):
        if isinstance(place.module, (nn.Linear, _ConvNd)) and not place.parameter.is_meta:
            _rectified(place)
    for parameter, value in kept:
        parameter.copy_(value)


def _rectified(place: Place) -> None:
    """Weights of variance 2 / fan-in, He et al. 2015, eq. 10, and biases of 0."""
    place.parameter.normal_(0.0, math.sqrt(2 / fans(place.module, place.name, place.parameter)[0]))
    if isinstance(place.module.bias, Tensor):
        place.module.bias.zero_()


def _reset(module: nn.Module) -> None:
    name = "_reset_parameters" if isinstance(module, nn.MultiheadAttention) else "reset_parameters"
    reset = getattr(module, name, None)
    if callable(reset):
        reset()
