"""Which parameters of a network become Gaussian: a filter by module and name, and what must hold for it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import listed, require_callable
from torch_gbp.weights.attached import Filter
from torch_gbp.weights.parameter import GaussianParameter, owner_of

_BY_NAME = (nn.Linear, _ConvNd, nn.Embedding, nn.EmbeddingBag)
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


class Place(NamedTuple):
    """A parameter where a module holds it: the module, the name there, and the qualified name in the network."""

    module: nn.Module
    name: str
    path: str

    @property
    def parameter(self) -> nn.Parameter:
        return self.module._parameters[self.name]  # type: ignore[return-value]

    def __str__(self) -> str:
        frozen = "" if self.parameter.requires_grad else ", frozen"
        return f"{self.path} ({type(self.module).__name__}, {' x '.join(map(str, self.parameter.shape)) or 'scalar'}{frozen})"


def is_weight(module: nn.Module, name: str) -> bool:
    """The default filter: weights with two axes or more of layers of torch; no bias, gain, class token or position.

    Linear, Conv and ConvTranspose, Embedding, the projections of MultiheadAttention, LSTM, GRU and RNN, and subclasses.

    >>> is_weight(nn.Linear(3, 2), "head.weight"), is_weight(nn.Linear(3, 2), "head.bias"), is_weight(nn.LayerNorm(3), "weight")
    (True, False, False)
    """
    own = name.rpartition(".")[2]
    parameter = module._parameters.get(own)
    if parameter is None or is_lazy(parameter) or parameter.ndim < 2:
        return False
    if isinstance(module, nn.MultiheadAttention):
        return own in _PROJECTIONS
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return own.startswith("weight_")
    return isinstance(module, _BY_NAME) and own == "weight"


def places(network: nn.Module) -> list[list[Place]]:
    """Every parameter that is no part of a marginal's own module, with all places where it is held (tied parameters: several)."""
    found = dict[int, list[Place]]()
    for prefix, module in network.named_modules(remove_duplicate=False):
        if not isinstance(module, GaussianParameter):
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    path = f"{prefix}.{name}" if prefix else name
                    found.setdefault(id(parameter), []).append(Place(module, name, path))
    return list(found.values())


def choose(network: nn.Module, which: Filter, where: str = "from_torch") -> list[list[Place]]:
    """Parameters that the filter makes Gaussian, each with its places; frozen ones, and those that are Gaussian, are left out.

    Raises:
        InvalidInput: lazy layers that have seen no input; sparse gradients; tied parameters that are Gaussian here and plain
            there; a choice that is no real number; a network in which there is, and was, nothing Gaussian.
    """
    require_callable("which", which, where, fix="use lambda module, name: ..., or leave it out")
    held = places(network)
    require_shapes(held, where)
    free = [group for group in held if group[0].parameter.requires_grad and owner_of(group[0].parameter) is None]
    chosen = [group for group in free if _agreed(group, which, where)]
    require_dense(chosen, where)
    if not any(isinstance(module, GaussianParameter) for module in network.modules()):
        require_some(chosen, held, where)
    return chosen


def require_some(chosen: Sequence[Any], held: list[list[Place]], where: str) -> None:
    """Raises InvalidInput, which lists what there is, if nothing is chosen."""
    if not chosen:
        raise InvalidInput(
            "the network has no parameter that may be Gaussian",
            where=where,
            got=listed(str(group[0]) for group in held) or "no parameters",
            cause="a filter that chooses none, frozen weights, or layers of an own making",
            fix="choose by which=lambda module, name: ..., and unfreeze by requires_grad_()",
        )


def require_dense(chosen: list[list[Place]], where: str) -> None:
    """Raises InvalidInput for layers whose gradients are sparse."""
    sparse = [place.path for group in chosen for place in group if getattr(place.module, "sparse", False)]
    if sparse:
        raise InvalidInput(
            "a layer has sparse gradients, and messages and probes reach all of its weights",
            where=where,
            got=listed(sparse),
            cause="nn.Embedding(..., sparse=True)",
            fix="make it with sparse=False, or leave it plain by which=lambda module, name: ...",
        )


def require_shapes(held: list[list[Place]], where: str) -> None:
    """Raises InvalidInput for lazy layers."""
    lazy = [group[0].path for group in held if is_lazy(group[0].parameter)]
    if lazy:
        raise InvalidInput(
            "lazy layers have no weights yet",
            where=where,
            got=listed(lazy),
            cause="a network of nn.Lazy layers that has seen no input",
            fix="call network(x) once with inputs of the right shape",
        )


def _agreed(group: list[Place], which: Filter, where: str) -> bool:
    """What the filter says of a parameter, at all its places."""
    said = {place.path: bool(which(place.module, place.path)) for place in group}
    if len(set(said.values())) > 1:
        raise InvalidInput(
            "a tied parameter would be Gaussian in one place and plain in another",
            where=where,
            got=", ".join(f"{path} {'Gaussian' if yes else 'plain'}" for path, yes in said.items()),
            cause="one parameter in two modules, of which the filter chooses one",
            fix="have the filter say the same of both, or untie them",
        )
    chosen = all(said.values())
    if chosen and not group[0].parameter.is_floating_point():
        raise InvalidInput(
            "a marginal is of real numbers",
            where=where,
            got=f"{group[0]}, {group[0].parameter.dtype}",
            fix="leave it out of which",
        )
    return chosen


def copied(network: nn.Module, where: str, memo: dict[int, Any] | None = None) -> nn.Module:
    """A deep copy of a network.

    Raises:
        InvalidInput: modules that keep a tensor that was computed, which torch does not copy.
    """
    computed = [
        f"{path}.{name}" if path else name
        for path, module in network.named_modules()
        for name, value in module.__dict__.items()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    if computed:
        raise InvalidInput(
            "a tensor with a graph behind it cannot be copied",
            where=where,
            got=listed(computed),
            cause="torch.nn.utils.weight_norm, spectral_norm or prune, or a module that keeps an activation",
            fix="use torch.nn.utils.parametrizations, prune.remove, or keep activations detached",
        )
    return copy.deepcopy(network, {} if memo is None else memo)


def find(network: nn.Module, path: str) -> Place:
    """The place of a qualified name."""
    prefix, _, name = path.rpartition(".")
    return Place(network.get_submodule(prefix), name, path)
