"""Back to plain torch networks: at the means of the marginals, or drawn from them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from torch_gbp.convert.low_rank import LowRank
from torch_gbp.convert.statistics import release_statistics
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.errors.checks import require_kind
from torch_gbp.layers import LAYERS
from torch_gbp.layers.base import GaussianLayer, WeightedLayer
from torch_gbp.modules import uncompiled
from torch_gbp.weights.attached import ParameterMarginal, detach, marginals

# What makes the torch layer of a GBP layer; one of an own making adds its row.
TORCH: dict[type[nn.Module], Callable[[Any], nn.Module]] = {layer: layer.to_torch for layer in LAYERS}
_TORCHS_OWN = nn.Module().__dict__.keys()


def to_torch(model: nn.Module) -> nn.Module:
    """The plain torch network at the means of a network's marginals: a copy without any trace of them.

    Marginals are taken off, adapters merged into the weights that they adapt, and GBP layers become their torch layers. What is
    frozen stays frozen. Noise and unary priors of layers in factor graphs have no plain counterpart and are left out.

    Raises:
        MissingRule: a GBP layer of an own making.

    >>> import torch_gbp as gbp
    >>> to_torch(nn.Sequential(gbp.GBPLinear(3, 2), gbp.GBPReLU()))
    Sequential(
      (0): Linear(in_features=3, out_features=2, bias=True)
      (1): ReLU()
    )
    """
    require_kind("model", model, nn.Module, "to_torch", fix="pass a network")
    return _converted(copy.deepcopy(uncompiled(model)))


@torch.no_grad()
def sample(model: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """A plain torch network drawn from the marginals, w = m + e / sqrt(R) with e ~ N(0, 1): a copy, as `to_torch` makes it.

    Args:
        generator: of the draws, on the weights' device; None takes torch's.

    Raises:
        InvalidInput: a network without marginals, or a generator on another device.

    >>> import torch_gbp as gbp
    >>> network = gbp.from_torch(nn.Linear(3, 2))
    >>> drawn = sample(network, torch.Generator().manual_seed(1))
    >>> type(drawn).__name__, bool((drawn.weight == network.weight).any())
    ('Linear', False)
    """
    require_kind("model", model, nn.Module, "sample", fix="pass a network with marginals")
    if generator is not None:
        require_kind("generator", generator, torch.Generator, "sample", fix="use torch.Generator(device).manual_seed(0)")
    drawn = copy.deepcopy(uncompiled(model))
    found = marginals(drawn)
    if not found:
        cause, fix = "a torch network as it is", "model = torch_gbp.from_torch(model)"
        raise InvalidInput("the network has no marginals to draw from", where="sample", cause=cause, fix=fix)
    for name, own in found.items():
        mean, variance = own.belief()
        if generator is not None and generator.device.type != mean.device.type:
            got = f"generator on {generator.device}, '{name}' on {mean.device}"
            raise InvalidInput(
                "the generator is on another device", where="sample", got=got, fix="make it on the weights' device"
            )
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        own.mean.addcmul_(noise, variance.sqrt())
    return _converted(drawn)


def _converted(network: nn.Module) -> nn.Module:
    made = dict[nn.Module, nn.Module]()
    plain = _plain(network, made)
    for module in plain.modules():
        for name, value in module.__dict__.items():
            if name not in _TORCHS_OWN:
                module.__dict__[name] = _replaced(value, made)
    return plain


def _replaced(value: Any, made: dict[nn.Module, nn.Module]) -> Any:
    """What a module holds beside its children, with the plain layers in the place of those that they were made of."""
    if isinstance(value, nn.Module):
        return made.get(value, value)
    if type(value) in (list, tuple):
        return type(value)(_replaced(part, made) for part in value)
    return {key: _replaced(part, made) for key, part in value.items()} if type(value) is dict else value


def _plain(module: nn.Module, made: dict[nn.Module, nn.Module]) -> nn.Module:
    """The module without marginals; `made` holds those met before, so that a shared module stays shared."""
    if module not in made:
        made[module] = _make(module, made)
    return made[module]


def _make(module: nn.Module, made: dict[nn.Module, nn.Module]) -> nn.Module:
    if isinstance(module, (WeightedLayer, GaussianLayer)):
        return _layer(module).train(module.training)
    _merge(module)
    release_statistics(module)
    for name, child in list(module._modules.items()):
        if isinstance(child, ParameterMarginal):
            detach(child)
        elif child is not None:
            module._modules[name] = _plain(child, made)
    return module


@torch.no_grad()
def _merge(module: nn.Module) -> None:
    """Puts adapters into the weights that they adapt.

    A copy shares the class that `parametrize` made for the original, so it gets one of its own (`remove_parametrizations` would
    take the weight from both).
    """
    held: Any = getattr(module, "parametrizations", {})
    for name in [name for name, steps in held.items() if any(isinstance(step, LowRank) for step in steps)]:
        merged = nn.Parameter(getattr(module, name).clone(), held[name].original.requires_grad)
        own = type(module)
        rest = {key: value for key, value in vars(own).items() if key not in (name, "__dict__", "__weakref__")}
        del held[name]
        module.__class__ = type(own.__name__, own.__bases__, rest) if len(held) else own.__bases__[0]  # type: ignore[assignment]
        module._parameters = {name: merged, **module._parameters}  # the first, as in the layers of torch
    if "parametrizations" in module._modules and not len(held):
        del module._modules["parametrizations"]


def _layer(layer: nn.Module) -> nn.Module:
    """The torch layer of a GBP layer."""
    make = TORCH.get(type(layer))
    if make is None:
        raise MissingRule(
            f"{type(layer).__name__} has no torch layer",
            where="to_torch",
            cause="a layer of an own making",
            fix="add it to torch_gbp.convert.back.TORCH: the class, and a function that makes the torch layer at the means",
        )
    return make(layer)
