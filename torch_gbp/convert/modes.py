"""Frozen backbones: marginals on the last layer alone, or on low-rank adapters."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from torch_gbp.convert.choice import Place, copied, find, is_weight, places, require_shapes, require_some
from torch_gbp.convert.conversion import from_torch
from torch_gbp.convert.low_rank import LowRank
from torch_gbp.convert.start import NOISE, Options, mean_square
from torch_gbp.convert.statistics import hold_statistics
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import listed, require_callable, require_count, require_kind
from torch_gbp.weights.attached import Filter, attach, plain_parameters
from torch_gbp.weights.parameter import owner_of
from torch_gbp.weights.priors import Covariance, Prior, prior_arguments
from torch_gbp.weights.sharing import Sharing, sharing_of

RANK = 8


@prior_arguments
def last_layer(
    network: nn.Module,
    layer: str | None = None,
    *,
    inplace: bool = False,
    fresh: bool = False,
    as_prior: bool = False,
    prior: Prior | None = None,
    covariance: Covariance = "shared",
) -> nn.Module:
    """A network that is frozen but for its last linear layer, whose weights become Gaussian (its biases are trained, plain).

    Normalisation layers of the frozen part keep their running statistics, in training mode too.

    Args:
        layer: name of another layer with weights to keep free, e.g. "head"; None takes the nn.Linear that is defined last.
        inplace: change this network and not a copy.
        fresh: draw the layer anew.
        as_prior, prior, covariance: as in `from_torch`.

    Raises:
        InvalidInput: no such layer, or one without weights that may be Gaussian.

    >>> network = last_layer(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
    >>> [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    ['2.weight', '2.bias']
    """
    require_kind("network", network, nn.Module, "last_layer", fix="pass a torch network")
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    name = (names or [None])[-1] if layer is None else layer
    modules = dict(network.named_modules())
    if not isinstance(name, str) or name not in modules or not _weighted(modules[name]):
        raise InvalidInput(
            "no such layer with weights that may be Gaussian",
            where="last_layer",
            got="no nn.Linear" if name is None else f"{name!r} ({type(modules.get(str(name))).__name__})",
            cause="a misspelling, a container, or a network that ends otherwise",
            fix=f"name one of {listed(path or 'the network' for path, one in modules.items() if _weighted(one))}",
        )
    Options("last_layer", prior, covariance)
    network = network if inplace else copied(network, "last_layer")
    chosen = network.get_submodule(name)
    _require_untied(network, chosen, name)
    freeze(network)
    chosen.requires_grad_(True)
    kept: dict[str, Any] = {"fresh": fresh, "as_prior": as_prior, "prior": prior, "covariance": covariance}
    return from_torch(network, inplace=True, which=lambda module, path: module is chosen and is_weight(module, path), **kept)


@prior_arguments
def adapters(
    network: nn.Module,
    rank: int = RANK,
    *,
    which: Filter | None = None,
    inplace: bool = False,
    prior: Prior | None = None,
    covariance: Covariance = "shared",
) -> nn.Module:
    """A frozen network with low-rank adapters: chosen weights W become W + B A, with marginals on the factors A and B.

    B starts at 0, so predictions are unchanged; `to_torch` merges the product into W. What else is to be trained is unfrozen
    afterwards, e.g. `network.head.requires_grad_()`. Normalisation layers of the frozen network keep their running statistics.

    Args:
        rank: rows of A, columns of B; smaller where a weight has fewer outputs or inputs.
        which: (module, qualified name) -> whether that weight is adapted; None takes those of nn.Linear and in_proj_weight of
            nn.MultiheadAttention.
        inplace: change this network and not a copy.
        prior, covariance: as in `from_torch`, for both factors.

    Raises:
        InvalidInput: nothing to adapt; a chosen weight with one axis, of a recurrent layer (which keeps its weights in a buffer
            of its own) or one that is parametrised already.

    >>> network = adapters(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), rank=2)
    >>> [name for name, parameter in network.named_parameters() if parameter.requires_grad][:2]
    ['0.parametrizations.weight.0.down', '0.parametrizations.weight.0.up']
    """
    require_kind("network", network, nn.Module, "adapters", fix="pass a torch network")
    rank = require_count("rank", rank, "adapters", fix=f"use {RANK}")
    options, chosen = Options("adapters", prior, covariance), _adaptable(network, which or is_projection)
    paths = [place.path for place in chosen]
    network = network if inplace else copied(network, "adapters")
    freeze(network)
    for place in [find(network, path) for path in paths]:
        _adapt(place, rank, options)
    return network


def _require_untied(network: nn.Module, chosen: nn.Module, name: str) -> None:
    """Raises InvalidInput if weights of the layer that stays free belong to one that is frozen, too."""
    elsewhere = [group for group in places(network) if any(place.module is chosen for place in group)]
    tied = [str(place) for group in elsewhere for place in group if place.module is not chosen]
    if tied:
        raise InvalidInput(
            "the layer shares weights with one that would be frozen",
            where="last_layer",
            got=f"{name!r} and {listed(tied)}",
            cause="a head that is tied to an embedding",
            fix="untie them, e.g. head.weight = nn.Parameter(head.weight.detach().clone()); nothing has changed",
        )


def is_projection(module: nn.Module, name: str) -> bool:
    """The default filter of `adapters`: weights of nn.Linear and in_proj_weight of nn.MultiheadAttention."""
    return isinstance(module, (nn.Linear, nn.MultiheadAttention)) and is_weight(module, name) and not _parametrised(module, name)


def freeze(network: nn.Module) -> None:
    """Freezes all parameters, and the running statistics of the normalisation layers, until their parameters are unfrozen and
    the network is put into training mode."""
    network.requires_grad_(False)
    hold_statistics(network)


def freeze_plain(network: nn.Module) -> None:
    """Freezes all parameters without marginals, and running statistics likewise."""
    for _, parameter in plain_parameters(network):
        parameter.requires_grad_(False)
    hold_statistics(network)


@torch.no_grad()
def _adapt(place: Place, rank: int, options: Options) -> None:
    """Puts W + B A in the place of a weight; at first the noise of B A is a small share of the weights' energy."""
    weight = place.parameter
    blocks = sharing_of(place.module, place.name, weight).blocks
    rank = min(rank, len(weight), weight[0].numel())
    adapter = LowRank(weight, rank)
    parametrize.register_parametrization(place.module, place.name, adapter)
    shared = [Sharing((0,)), Sharing((0,), blocks)] if options.shared else [Sharing(), Sharing()]
    energy = mean_square(weight) if not weight.is_meta else 0.0
    for name, sharing in zip(("down", "up"), shared, strict=True):
        factor = adapter._parameters[name]
        assert factor is not None
        marginal = attach(adapter, name, options.prior.resolved(factor.shape[1], len(factor) // sharing.blocks), sharing)
        if energy:
            inputs = weight[0].numel()
            marginal.narrow(NOISE / inputs if name == "down" else NOISE * energy * inputs / rank)


def _adaptable(network: nn.Module, which: Filter) -> list[Place]:
    """The chosen places, each once; of a tied weight, which stays frozen, one place may be adapted and another not."""
    require_callable("which", which, "adapters", fix="use lambda module, name: ..., or leave it out")
    held = places(network)
    require_shapes(held, "adapters")
    every = {(id(place.module), place.name): place for group in held for place in group if which(place.module, place.path)}
    require_some(tuple(every), held, "adapters")
    for place in every.values():
        weight = place.parameter
        why = {
            "a weight with one axis": weight.ndim < 2,
            "no real numbers": not weight.is_floating_point(),
            "a weight with a marginal": owner_of(weight) is not None,
            "a weight of a recurrent layer, which keeps its weights in a buffer of its own": isinstance(place.module, nn.RNNBase),
            "parametrised already": _parametrised(place.module, place.path),
        }
        if any(why.values()):
            got = f"{place.path}: {next(text for text, true in why.items() if true)}"
            raise InvalidInput("the weight cannot be adapted", where="adapters", got=got, fix="leave it out of which")
    return list(every.values())


def _parametrised(module: nn.Module, path: str) -> bool:
    return isinstance(module, parametrize.ParametrizationList) or ".parametrizations." in f".{path}"


def _weighted(module: nn.Module) -> bool:
    return any(is_weight(module, own) for own in module._parameters)
