"""The GBP twin of a torch network, layer by layer: a network whose forward pass carries moments."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.convert.basis import WEIGHTED, first_basis
from torch_gbp.convert.maps import unknown
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.errors.checks import listed
from torch_gbp.factors.activations import SHAPES
from torch_gbp.layers import LAYERS, GBPActivation, GBPLinear
from torch_gbp.layers.base import GaussianLayer, WeightedLayer

# What makes the twin of a torch layer; one of an own making adds its row.
TWINS: dict[type[nn.Module], Callable[..., nn.Module]] = {layer.twin: layer.from_torch for layer in LAYERS if layer.twin}
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
    require_bare(network)
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


def require_bare(network: nn.Module) -> None:
    """Raises InvalidInput for layers on which more hangs than a twin would have: hooks, masks, norms of the older kind."""
    layers = {name: own for name, own in network.named_modules() if twin_of(type(own)) is not None}
    hooked = [name for name, own in layers.items() if own._forward_hooks or own._forward_pre_hooks]
    computed = [name for name, own in layers.items() if isinstance(own, WEIGHTED) and own._parameters.get("weight") is None]
    if hooked or computed:
        raise InvalidInput(
            "a GBP twin would lose what hangs on a layer",
            where="from_torch",
            got=f"{listed(computed or hooked)}: {'a weight that is computed' if computed else 'forward hooks'}",
            cause="torch.nn.utils.prune, weight_norm, spectral_norm, or register_forward_hook",
            fix="leave out moments=True, or take it off (prune.remove, remove_weight_norm, handle.remove())",
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
    shell = copy.copy(module)  # children are made anew; the rest of the module is kept, wherever it names them
    twins = {name: None if child is None else _twin(child, made, as_prior, options) for name, child in module._modules.items()}
    memo: dict[int, Any] = {id(module): shell, **{id(layer): twin for layer, twin in made.items()}}
    shell.__dict__ = copy.deepcopy({key: value for key, value in module.__dict__.items() if key != "_modules"}, memo)
    shell.__dict__["_modules"] = {}
    for name, twin in twins.items():
        shell.add_module(name, twin)
    return shell
