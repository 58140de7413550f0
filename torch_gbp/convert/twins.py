"""The GBP twin of a torch network, layer by layer: a network whose forward pass carries moments."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.convert.basis import WEIGHTED, first_basis
from torch_gbp.convert.maps import unknown
from torch_gbp.errors import MissingRule
from torch_gbp.factors.activations import SHAPES
from torch_gbp.layers import (
    GBPActivation,
    GBPAdaptiveAvgPool2d,
    GBPAvgPool2d,
    GBPConv2d,
    GBPConvTranspose2d,
    GBPLeakyReLU,
    GBPLinear,
    GBPMaxPool2d,
    GBPReLU,
    GBPSigmoid,
    GBPUpsample,
)
from torch_gbp.layers.base import GaussianLayer, WeightedLayer

# One row for each torch layer that has a GBP twin; a new layer adds its row.
TWINS: dict[type[nn.Module], Callable[..., nn.Module]] = {
    nn.Linear: GBPLinear.from_torch,
    nn.Conv2d: GBPConv2d.from_torch,
    nn.ConvTranspose2d: GBPConvTranspose2d.from_torch,
    nn.MaxPool2d: GBPMaxPool2d.from_torch,
    nn.AvgPool2d: GBPAvgPool2d.from_torch,
    nn.AdaptiveAvgPool2d: GBPAdaptiveAvgPool2d.from_torch,
    nn.Upsample: GBPUpsample.from_torch,
    nn.LeakyReLU: GBPLeakyReLU.from_torch,
    nn.ReLU: GBPReLU.from_torch,
    nn.Sigmoid: GBPSigmoid.from_torch,
}
_SHAPE_ONLY = (nn.Flatten, nn.Unflatten)
KNOWN = 1e-3  # deviation of a frozen weight, as a share of its prior's


def twin_of(kind: type[nn.Module]) -> Callable[..., nn.Module] | None:
    """What makes the twin of a torch layer; `GBPActivation` is that of every other activation with a factor."""
    return TWINS.get(kind, GBPActivation.from_torch if kind in SHAPES else None)


def moment_twin(network: nn.Module, fresh: bool, as_prior: bool, inputs: Tensor | None, options: dict[str, Any]) -> nn.Module:
    """The GBP twin of a torch network: a deep copy with every layer replaced by its twin; what is frozen stays so, and is known.

    Raises:
        MissingRule: layers that have no GBP twin, all of them.
        InvalidInput: inputs without `fresh`, or that do not fit the first layer.
    """
    require_twins(network)
    made = {} if inputs is None else _follow(network, inputs, fresh, options)
    twin = _twin(network, made, as_prior, options)
    if fresh:
        for module in twin.modules():
            if isinstance(module, WeightedLayer):
                module.reset_parameters()
    for module, layer in made.items():
        if isinstance(module, WEIGHTED) and isinstance(layer, WeightedLayer):
            _freeze(layer, module)
    return twin


def require_twins(network: nn.Module) -> None:
    """Raises MissingRule that lists all layers without a twin."""
    missing = unknown(network, lambda module: twin_of(type(module)) is not None or isinstance(module, _SHAPE_ONLY))
    if missing:
        kinds = list(dict.fromkeys(type(module).__name__ for module in missing.values()))
        raise MissingRule(
            f"{', '.join(kinds)} {'has' if len(kinds) == 1 else 'have'} no GBP twin",
            where=", ".join(f"'{path or 'network'}'" for path in missing),
            cause="layers without message rule",
            fix=f"leave out moments=True, for the means sweep; or use {', '.join(t.__name__ for t in TWINS)}",
        )


def _follow(network: nn.Module, inputs: Tensor, fresh: bool, options: dict[str, Any]) -> dict[nn.Module, nn.Module]:
    """The twin of a first linear layer, whose prior follows the covariance of the inputs."""
    found = first_basis(network, inputs, fresh)
    if found is None:
        return {}
    first, basis = found
    like: dict[str, Any] = {"device": first.weight.device, "dtype": first.weight.dtype}
    layer = GBPLinear(basis.basis.shape[1], first.out_features, first.bias is not None, **like, **options)
    return {first: nn.Sequential(basis, layer)}


@torch.no_grad()
def _freeze(twin: WeightedLayer, layer: nn.Module) -> None:
    """Freezes what is frozen in the torch layer, at its weights, with a variance that does not count."""
    for own, theirs in ((twin.weight, layer.weight), (twin.bias, layer.bias)):
        if own is not None and isinstance(theirs, Tensor) and not theirs.requires_grad:
            own.mean.copy_(theirs)
            own.precision.copy_((own.floor / KNOWN**2).expand_as(own.precision))
            own.mark_written()
            own.requires_grad_(False)


def _twin(module: nn.Module, made: dict[nn.Module, nn.Module], as_prior: bool, options: dict[str, Any]) -> nn.Module:
    """The twin of one module; `made` holds those met before, so that a shared module stays shared."""
    if module not in made:
        made[module] = _make(module, made, as_prior, options)
    return made[module]


def _make(module: nn.Module, made: dict[nn.Module, nn.Module], as_prior: bool, options: dict[str, Any]) -> nn.Module:
    make = twin_of(type(module))
    if make is not None:
        return make(module, as_prior=as_prior, **options) if isinstance(module, WEIGHTED) else make(module)
    if isinstance(module, (WeightedLayer, GaussianLayer)):
        return copy.deepcopy(module)
    shell = copy.copy(module)  # children are made anew below; the rest of the module is kept
    shell.__dict__ = {**copy.deepcopy({k: v for k, v in module.__dict__.items() if k != "_modules"}), "_modules": {}}
    for name, child in module._modules.items():
        shell.add_module(name, None if child is None else _twin(child, made, as_prior, options))
    return shell
