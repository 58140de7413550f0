"""The registry of moment maps: what a function, method or operator of torch does to a Gaussian; nothing else is applied to one.

A moment map takes the arguments of its torch function, one or more of them Gaussians, and returns the moments of the result.
Torch asks for it through `Gaussian.__torch_function__`. The library's own maps are in `factors/`; users add theirs alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autocast import full_precision
from torch_gbp.errors import InvalidInput, MissingRule, missing_rule
from torch_gbp.errors.checks import require_callable, require_kind

Function = Callable[..., Any]
Map = TypeVar("Map", bound=Function)

_MAPS: dict[Function, Function] = {}
_LINEAR: set[Function] = set()  # functions whose maps carry messages back as they carry gradients


def moments(*functions: Function, linear: bool = False) -> Callable[[Map], Map]:
    """A moment map of torch functions, (Gaussian, other arguments) -> Gaussian, registered for each of `functions`.

    The map gets the arguments of the call as they are; any of them may be a Gaussian where torch takes a tensor. A later map
    replaces an earlier one. Gradients with respect to means and variances are autograd's through the map.

    Args:
        functions: functions such as `torch.sin`, or methods such as `torch.Tensor.sin`; the two are separate functions.
        linear: the map is linear in the beliefs with known coefficients, c for the mean and c^2 for the variance. Messages of
            GBP layers come back only through such maps.

    Raises:
        InvalidInput: no function, something that cannot be called, or `linear` no truth value.

    >>> from torch_gbp import Gaussian
    >>> @moments(torch.rot90, torch.Tensor.rot90, linear=True)
    ... def quarter_turns(belief, *args, **kwargs):
    ...     return Gaussian(*(part.rot90(*args, **kwargs) for part in belief))
    >>> torch.rot90(Gaussian(torch.eye(2), torch.eye(2))).variance
    tensor([[0., 1.],
            [1., 0.]])
    """
    if not functions:
        raise InvalidInput("a moment map needs a torch function", where="moments", fix="use @torch_gbp.moments(torch.sin)")
    require_kind("linear", linear, bool, "moments", fix="use True or False")
    for function in functions:
        require_callable("each torch function", function, "moments", fix="use @torch_gbp.moments(torch.sin)")

    def register(moment_map: Map) -> Map:
        require_callable("the moment map", moment_map, "moments", fix="pass a function (Gaussian, ...) -> Gaussian")
        _MAPS.update(dict.fromkeys(functions, moment_map))
        (_LINEAR.update if linear else _LINEAR.difference_update)(functions)
        return moment_map

    return register


def named(*names: str) -> tuple[Function, ...]:
    """The functions of these names in torch, torch.nn.functional and the methods of a tensor.

    >>> named("relu") == (torch.relu, F.relu, torch.Tensor.relu)
    True
    """
    spaces = torch, F, Tensor
    return tuple(getattr(space, name) for name in names for space in spaces if callable(getattr(space, name, None)))


def has_map(function: Function) -> bool:
    """Whether a moment map is registered for a torch function.

    >>> has_map(torch.relu), has_map(torch.fft.fft)
    (True, False)
    """
    return function in _MAPS


def apply(kind: type, function: Function, args: Any, kwargs: Any) -> Any:
    """The result of a torch function some of whose arguments are Gaussians, `kind` being their class.

    Raises:
        MissingRule: a function without moment map; or one whose map is not linear, on the output of a GBP layer whose messages
            will come back, which would be taken for gradients.
    """
    if function not in _MAPS:
        raise missing_rule(function)
    if function not in _LINEAR:
        require_gradients(kind, function, *args, *kwargs.values())
    belief = next(_beliefs(kind, (args, *kwargs.values())))
    with full_precision(belief.device):
        return _MAPS[function](*args, **kwargs)


def require_gradients(kind: type, function: Function, *values: Any) -> None:
    """Raises MissingRule if a belief among the values awaits messages, where the map of `function` passes gradients back."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling() and _awaits_messages(kind, values):
        raise missing_rule(function, trained=True)


def method(kind: type, name: str) -> Function:
    """What `belief.name(...)` calls: torch's method of this name, by its moment map or refused."""
    return lambda belief, *args, **kwargs: apply(kind, getattr(Tensor, name), (belief, *args), kwargs)


def require_known(other: Any, what: str, fix: str) -> None:
    """Raises MissingRule unless the other operand is a known real number or tensor."""
    if isinstance(other, (tuple, list, dict, str, bytes, complex, type(None))) or (
        isinstance(other, Tensor) and other.is_complex()
    ):
        raise MissingRule(f"{what} has no message rule", got=type(other).__name__, fix=fix)


def _awaits_messages(kind: type, values: Any) -> bool:
    """Whether a GBP layer's factor is among the ancestors of a belief: what comes back to it is a message, no gradient."""
    open_nodes = [moment.grad_fn for belief in _beliefs(kind, values) for moment in belief if moment.grad_fn is not None]
    seen = set(open_nodes)
    while open_nodes:
        node = open_nodes.pop()
        if node.name() == "FactorBackward":  # the autograd function of autograd/bridge.py
            return True
        fresh = {parent for parent, _ in node.next_functions if parent is not None} - seen
        seen |= fresh
        open_nodes += fresh
    return False


def _beliefs(kind: type, value: Any) -> Iterator[Any]:
    """The Gaussians in nested arguments."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _beliefs(kind, entry)
