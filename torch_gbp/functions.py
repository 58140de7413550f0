"""What functions and methods of torch do to a Gaussian: reshapes, padding, sums and scaling by known numbers; nothing else.

A reshape applies to mean and variance alike, and the gradients that come back through both are the message, reshaped. The
operators are those of `Gaussian`; here they are found for a tensor on the left and for `torch.add` and its like.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.errors import MissingRule, missing_rule

Function = Callable[..., Any]


def apply(kind: type, function: Function, args: Any, kwargs: Any) -> Any:
    """The result of a torch function some of whose arguments are Gaussians, `kind` being their class.

    Raises:
        MissingRule: any other function.
    """
    if function in _OWN:
        return _OWN[function](*args, **kwargs)
    if function not in _SHAPE_FUNCTIONS:
        raise missing_rule(function)
    both = [function(*_pick(args, moment, kind), **_pick(kwargs, moment, kind)) for moment in ("mean", "variance")]
    return kind(*both) if isinstance(both[0], Tensor) else tuple(map(kind, *both))


def method(kind: type, name: str) -> Function:
    """What `belief.name(...)` calls: torch's method of this name, with a rule or refused."""
    return lambda belief, *args, **kwargs: apply(kind, getattr(Tensor, name), (belief, *args), kwargs)


def require_known(other: Any, what: str, fix: str) -> None:
    """Raises MissingRule unless the other operand is a known real number or tensor."""
    if isinstance(other, (tuple, list, dict, str, bytes, complex, type(None))) or (
        isinstance(other, Tensor) and other.is_complex()
    ):
        raise MissingRule(f"{what} has no message rule", got=type(other).__name__, fix=fix)


def no_rule(name: str) -> Function:
    """An operator that raises MissingRule."""

    def operator(*_: Any) -> Any:
        raise missing_rule(getattr(Tensor, name))

    return operator


def _pick(value: Any, moment: str, kind: type) -> Any:
    """Replaces every Gaussian in nested arguments by one of its moments; a tensor beside it is known, variance 0."""
    if isinstance(value, kind):
        return getattr(value, moment)
    if isinstance(value, Tensor):
        return torch.zeros_like(value) if moment == "variance" else value
    if isinstance(value, dict):
        return {key: _pick(entry, moment, kind) for key, entry in value.items()}
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(_pick(entry, moment, kind) for entry in value)
    return value


def _add(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """`torch.add`: input + alpha other, where either may be a known tensor; the Gaussian's own operator does it."""
    other = other if alpha == 1 else other * alpha
    return other + input if isinstance(input, Tensor) else input + other


def _subtract(input: Any, other: Any, *, alpha: float = 1) -> Any:
    other = other if alpha == 1 else other * alpha
    return -other + input if isinstance(input, Tensor) else input - other


def _multiply(input: Any, other: Any) -> Any:
    return other * input if isinstance(input, Tensor) else input * other


def _divide(input: Any, other: Any) -> Any:
    return other.__rtruediv__(input) if isinstance(input, Tensor) else input / other


def _pad(input: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    """Padding with a constant adds known variables: their variance is 0 whatever the constant."""
    return type(input)(F.pad(input.mean, pad, mode, value), F.pad(input.variance, pad, mode))


_OWN: dict[Function, Function] = {torch.neg: operator.neg, F.pad: _pad}
_OWN |= dict.fromkeys((torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__), _add)
_OWN |= dict.fromkeys((torch.sub, Tensor.sub, Tensor.__sub__), _subtract)
_OWN |= dict.fromkeys((torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__), _multiply)
_OWN |= dict.fromkeys((torch.div, Tensor.div, Tensor.__truediv__), _divide)
_RESHAPES = (
    "flatten", "unflatten", "reshape", "reshape_as", "view_as", "permute", "transpose", "swapaxes", "movedim", "moveaxis", "t",
    "squeeze", "unsqueeze", "expand", "expand_as", "broadcast_to", "repeat", "tile", "cat", "concat", "stack", "chunk", "split",
    "tensor_split", "unbind", "narrow", "select", "index_select", "flip", "roll", "clone", "float", "double", "half",
    "bfloat16", "cuda",
)  # fmt: skip
_SHAPE_FUNCTIONS = {
    getattr(space, name) for name in _RESHAPES for space in (torch, Tensor) if callable(getattr(space, name, None))
}
