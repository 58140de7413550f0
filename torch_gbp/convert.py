"""From a torch network to its GBP twin, layer by layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.layers import (
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
    InputBasis,
)
from torch_gbp.layers.base import GaussianLayer, WeightedLayer, require_features

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
_WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
_SHAPE_ONLY = (nn.Flatten, nn.Unflatten, nn.Identity)


def from_torch(
    network: nn.Module, *, fresh: bool = False, as_prior: bool = False, inputs: Tensor | None = None, **prior: Any
) -> nn.Module:
    """The GBP twin of a torch network: a deep copy with every layer replaced by its twin.

    Args:
        network: any module; its `forward` is kept, so it may use only operations that have a message rule.
        fresh: start from the prior with random means instead of at the network's weights.
        as_prior: centre the prior on the network's weights (pretrained networks).
        inputs: training inputs (n, ...), as the network gets them. If the first layer with weights is an nn.Linear, its
            prior follows their covariance (`InputBasis`); a first convolution keeps its own. Needs `fresh`.
        prior: `prior_variance`, `prior_scale`, `prior_formula`, `random_prior_mean` or `shared_precision` for the layers
            with weights.

    Raises:
        MissingRule: a layer with parameters or a known activation that has no GBP twin.
        InvalidInput: inputs without `fresh`, or that do not fit the first layer.

    >>> twin = from_torch(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    >>> type(twin[1]).__name__
    'GBPLinear'
    """
    made = {} if inputs is None else _follow(network, inputs, fresh, prior)
    twin = _twin(network, "", made, as_prior, prior)
    if fresh:
        for module in twin.modules():
            if isinstance(module, WeightedLayer):
                module.reset_parameters()
    return twin


def _follow(network: nn.Module, inputs: Tensor, fresh: bool, prior: dict[str, Any]) -> dict[nn.Module, nn.Module]:
    """The twin of a first linear layer, whose prior follows the covariance of the inputs."""
    if not fresh:
        raise InvalidInput(
            "a prior that follows the inputs needs a fresh start",
            where="from_torch",
            cause="inputs given together with the network's own weights",
            fix="add fresh=True, or leave inputs out",
        )
    first = next((module for module in network.modules() if isinstance(module, _WEIGHTED)), None)
    if not isinstance(first, nn.Linear):
        return {}
    like: dict[str, Any] = {"device": first.weight.device, "dtype": first.weight.dtype}
    basis = InputBasis.fit(inputs).to(**like)
    require_features(len(basis.mean), first.in_features, "features", first)
    kept, bias = basis.basis.shape[1], first.bias is not None
    return {first: nn.Sequential(basis, GBPLinear(kept, first.out_features, bias, **like, **prior))}


def _twin(module: nn.Module, path: str, made: dict[nn.Module, nn.Module], as_prior: bool, prior: dict[str, Any]) -> nn.Module:
    """The twin of one module; `made` holds those met before, so that a shared module stays shared."""
    if module not in made:
        made[module] = _make(module, path, made, as_prior, prior)
    return made[module]


def _make(module: nn.Module, path: str, made: dict[nn.Module, nn.Module], as_prior: bool, prior: dict[str, Any]) -> nn.Module:
    make = TWINS.get(type(module))
    if make is not None:
        return make(module, as_prior=as_prior, **prior) if isinstance(module, _WEIGHTED) else make(module)
    if isinstance(module, (WeightedLayer, GaussianLayer)):
        return copy.deepcopy(module)
    children = {name: child for name, child in module._modules.items() if child is not None}
    if not children and not isinstance(module, _SHAPE_ONLY) and type(module).__module__.startswith("torch.nn"):
        raise MissingRule(
            f"{type(module).__name__} has no GBP twin",
            where=f"'{path or 'network'}'",
            cause="a layer without message rule",
            fix=f"use one of {', '.join(t.__name__ for t in TWINS)}",
        )
    shell = copy.copy(module)  # children are made anew below; the rest of the module is kept
    shell.__dict__ = {**copy.deepcopy({k: v for k, v in module.__dict__.items() if k != "_modules"}), "_modules": {}}
    for name, child in children.items():
        shell.add_module(name, _twin(child, f"{path}.{name}".lstrip("."), made, as_prior, prior))
    return shell
