"""Recorded: a belief that knows where it comes from, while a network's forward pass is recorded (`record.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from torch_gbp import functions
from torch_gbp.errors import MissingRule
from torch_gbp.gaussian import Gaussian
from torch_gbp.inference.variable import Variable


class Value:
    """The output of an operation, or an input of the network, whose `variable` is then there."""

    def __init__(self, belief: Gaussian, variable: Variable | None = None) -> None:
        self.belief, self.variable = belief, variable
        self.users: list[Operation] = []


class Operation:
    """A layer, or a function of beliefs: `run` is it as a function of its inputs' beliefs, `plain` of tensors at their place."""

    def __init__(self, name: str, inputs: Sequence[Value], output: Value, call: nn.Module | Call) -> None:
        self.name, self.inputs, self.output, self.call = name, inputs, output, call
        for value in inputs:
            value.users.append(self)

    @property
    def layer(self) -> Any:
        """The layer; None for a function."""
        return self.call if isinstance(self.call, nn.Module) else None


class Call:
    """A function with its arguments, some of which are beliefs: a function of those; `pick` takes one of several results."""

    def __init__(
        self, function: Callable[..., Any], args: Any, kwargs: Any, beliefs: Sequence[Recorded], pick: int | None = None
    ):
        self.function, self.args, self.kwargs, self.beliefs, self.pick = function, args, kwargs, beliefs, pick

    def run(self, *inputs: Gaussian) -> Any:
        """The function by its moment map."""
        return self._picked(_bound(self.function), inputs)

    def plain(self, *inputs: Tensor) -> Any:
        """The function itself."""
        return self._picked(self.function, inputs)

    def _picked(self, function: Callable[..., Any], inputs: Sequence[Any]) -> Any:
        values = {id(belief.source): value for belief, value in zip(self.beliefs, inputs, strict=True)}
        found = function(*_replaced(self.args, values), **_replaced(self.kwargs, values))
        return found if self.pick is None else found[self.pick]


def _bound(function: Callable[..., Any]) -> Callable[..., Any]:
    """A torch function or method as a function of Gaussians: a Gaussian's own where it has one."""
    own = getattr(Gaussian, getattr(function, "__name__", ""), None)
    if own is not None and function is getattr(Tensor, function.__name__, None):
        return own
    return lambda *args, **kwargs: functions.apply(Gaussian, function, args, kwargs)


def _replaced(value: Any, beliefs: dict[int, Any]) -> Any:
    if isinstance(value, Recorded):
        return beliefs[id(value.source)]
    if isinstance(value, dict):
        return {key: _replaced(entry, beliefs) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_replaced(entry, beliefs) for entry in value)
    return value


class Recorded(Gaussian):
    """A belief that knows where it comes from, while a recorder runs."""

    source: Value
    recorder: Any

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(function, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not callable(getattr(Tensor, name, None)):
            raise AttributeError(f"a Gaussian has no attribute {name!r}")
        return partial(_called_method, name, self)

    @property
    def mean(self) -> Tensor:  # type: ignore[override]
        return self._moment(0)

    @property
    def variance(self) -> Tensor:  # type: ignore[override]
        return self._moment(1)

    def __iter__(self) -> Any:
        return iter((self.mean, self.variance))

    def _moment(self, place: int) -> Tensor:
        """A moment, for layers; a network that takes a belief apart is none of factors.

        Raises:
            MissingRule: outside of a layer.
        """
        if not self.recorder.inside:
            raise MissingRule(
                "a network that takes a belief apart has no factors",
                where=f"FactorGraph, {self.recorder.place()}",
                got="belief.mean or belief.variance in a forward",
                fix="pass the belief itself on; functions of torch with a moment map take it",
            )
        return tuple.__getitem__(self, place)

    shape = property(lambda self: tuple.__getitem__(self, 0).shape)
    ndim = property(lambda self: tuple.__getitem__(self, 0).ndim)
    dtype = property(lambda self: tuple.__getitem__(self, 0).dtype)
    device = property(lambda self: tuple.__getitem__(self, 0).device)

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return self.ndim

    def numel(self) -> int:
        return self.shape.numel()


def _called_method(name: str, *args: Any, **kwargs: Any) -> Any:
    return _called(getattr(Tensor, name), args, kwargs)


_METHODS = (
    "flatten", "unflatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "contiguous", "detach", "cpu",
    "to", "__getitem__", "__add__", "__radd__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__", "__neg__", "__sub__",
    "__rsub__", "__pow__", "__abs__", "__mod__", "__floordiv__", "__gt__", "__ge__", "__lt__", "__le__", "__matmul__",
    "__rmatmul__",
)  # fmt: skip
for _name in _METHODS:
    setattr(Recorded, _name, (lambda name: lambda *args, **kwargs: _called_method(name, *args, **kwargs))(_name))


def _called(function: Any, args: Any, kwargs: Any) -> Any:
    """Runs a function of recorded beliefs, and records it unless a layer runs it."""
    found: list[Any] = []
    _find(found, (args, kwargs))
    recorder = next(belief.recorder for belief in found if isinstance(belief, Recorded))
    beliefs = list({id(belief.source): belief for belief in found if isinstance(belief, Recorded)}.values())
    call = Call(function, args, kwargs, beliefs)
    result = call.run(*(belief.source.belief for belief in beliefs))
    if recorder.inside:
        return result
    if len(found) > sum(isinstance(belief, Recorded) for belief in found):
        raise recorder.stranger()
    return recorder.function(call, result)


def _find(found: list[Any], value: Any) -> None:
    """All Gaussians in nested arguments."""
    if isinstance(value, Gaussian):
        found.append(value)
    elif isinstance(value, dict):
        _find(found, list(value.values()))
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _find(found, entry)
