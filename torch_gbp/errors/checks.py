"""Settings and moments: one check for every range of numbers, wherever a class or a function is given one.

A setting is checked where it is given, not where it is used, and whatever is no number at all gets the same error.
"""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput

LARGEST = 2**31 - 1  # of a count or a size: what torch can index on every device


class Range(NamedTuple):
    """Numbers that a setting may be: in words, and as a test that NaN fails."""

    text: str
    holds: Callable[[float], bool]


FINITE = Range("finite", math.isfinite)
POSITIVE = Range("positive and finite", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Range("finite and not negative", lambda value: 0 <= value < math.inf)
VARIANCE = Range("positive and finite in float32", lambda value: 1e-30 <= value <= 1e30)
DEVIATION = Range("positive and finite in float32, as its square", lambda value: 1e-15 <= value <= 1e15)
DEVIATION_OR_0 = Range("0, or positive and finite in float32, as its square", lambda value: value == 0 or 1e-15 <= value <= 1e15)
SHARE = Range("in [0, 1)", lambda value: 0 <= value < 1)
RATE = Range("in (0, 1]", lambda value: 0 < value <= 1)
OPEN_SHARE = Range("in (0, 1)", lambda value: 0 < value < 1)
PART = Range("in [0, 1]", lambda value: 0 <= value <= 1)


def require(name: str, value: Any, allowed: Range, where: str, *, fix: str, cause: str = "") -> float:
    """The setting as a float.

    Raises:
        InvalidInput: NaN, a number out of range, or no real number (text, None, a truth value, a complex number, a list).

    >>> require("rate", 1, RATE, "Inference", fix="use 1.0")
    1.0
    """
    number = _real(value)
    if number is None or not allowed.holds(number):
        raise InvalidInput(f"{name} must be {allowed.text}", where=where, got=shown(value), cause=cause, fix=fix)
    return number


def require_count(name: str, value: Any, where: str, *, fix: str, least: int = 1) -> int:
    """The setting as an int.

    Raises:
        InvalidInput: no integer, fewer than `least`, or more than 2^31 - 1.

    >>> require_count("iterations", 3, "Inference", fix="use 1")
    3
    """
    number = _integer(value)
    if number is None or not least <= number <= LARGEST:
        raise InvalidInput(f"{name} must be an integer, at least {least} and below 2^31", where=where, got=shown(value), fix=fix)
    return number


def require_pair(name: str, value: Any, where: str, least: int = 1) -> tuple[int, int]:
    """Size, step or padding of both axes of an image, from one integer or two.

    Raises:
        InvalidInput: neither one integer nor two, or fewer than `least`.

    >>> require_pair("kernel_size", 3, "GBPConv2d"), require_pair("kernel_size", (3, 5), "GBPConv2d")
    ((3, 3), (3, 5))
    """
    both = value if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    if len(both) != 2 or any(_integer(side) is None for side in both):
        raise InvalidInput(
            f"{name} must be one integer, or two for rows and columns", where=where, got=shown(value), fix="use 3 or (3, 3)"
        )
    rows, columns = (require_count(name, side, where, fix=f"use {max(least, 1)} or more", least=least) for side in both)
    return rows, columns


def require_kind(name: str, value: Any, kinds: type | tuple[type, ...], where: str, *, fix: str) -> None:
    """Raises InvalidInput unless the argument is of this kind."""
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise InvalidInput(f"{name} must be of type {names}", where=where, got=shown(value), fix=fix)


def require_callable(name: str, value: Any, where: str, *, fix: str) -> None:
    """Raises InvalidInput unless the argument can be called."""
    if not callable(value):
        raise InvalidInput(f"{name} must be a function", where=where, got=shown(value), fix=fix)


def require_values(x: Tensor, where: nn.Module | str) -> None:
    """Raises InvalidInput for a tensor on the meta device, which has a shape but no values."""
    if x.is_meta:
        raise InvalidInput("a tensor on the meta device has no values", where=name_of(where), fix='move it: x.to("cpu")')


def require_like(x: Tensor, own: Tensor, layer: nn.Module) -> None:
    """Raises InvalidInput unless a layer's input has the type, and is on the device, of what the layer holds."""
    if not own.is_meta and (x.dtype != own.dtype or x.device != own.device):  # a layer without numbers says so itself
        raise InvalidInput(
            "input and layer must have one dtype and be on one device",
            where=name_of(layer),
            got=f"input {x.dtype} on {x.device}, layer {own.dtype} on {own.device}",
            cause="arrays of numpy, which are float64, or a model that was moved and data that were not",
            fix=f"convert with x.to({str(own.device)!r}, {own.dtype})",
        )


def require_factory(device: Any, dtype: Any, where: str) -> None:
    """Raises InvalidInput for a device that torch does not know, or a dtype that is not real floating point."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise InvalidInput(
            "dtype must be a floating-point torch.dtype", where=where, got=shown(dtype), fix="use torch.float32 or torch.float64"
        )
    try:
        torch.empty(0, device=device)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise InvalidInput("unknown device", where=where, got=shown(device), fix='use "cpu" or "cuda"') from error


def require_moments(mean: Any, variance: Any, where: nn.Module | str) -> None:
    """Raises InvalidInput unless these are the mean and variance of a Gaussian: floating point, of one shape, sound.

    Values are looked at where no factor has made them (no `grad_fn`) and outside
    torch.compile, so training pays nothing.
    """
    if not (isinstance(mean, Tensor) and isinstance(variance, Tensor)) or mean.shape != variance.shape:
        raise InvalidInput(
            "mean and variance of a Gaussian must be tensors of one shape",
            where=name_of(where),
            got=" and ".join(str(tuple(part.shape)) if isinstance(part, Tensor) else shown(part) for part in (mean, variance)),
            cause="one variance for all entries",
            fix="use variance.expand_as(mean)",
        )
    if not (mean.is_floating_point() and variance.is_floating_point()):
        raise InvalidInput(
            "mean and variance must be floating point",
            where=name_of(where),
            got=f"{mean.dtype}, {variance.dtype}",
            fix="convert by .float()",
        )
    if not torch.compiler.is_compiling() and variance.grad_fn is None and variance.numel():
        _require_sound(mean, variance, where)


def _require_sound(mean: Tensor, variance: Tensor, where: nn.Module | str) -> None:
    """Three reductions and no mask, unless something is wrong (or a sum overflows)."""
    require_values(mean, where)
    require_values(variance, where)
    mean, variance = mean.detach(), variance.detach()
    lowest = variance.amin().item()  # NaN, if there is one
    finite = math.isfinite((mean.sum() + variance.sum()).item()) or bool((mean.isfinite() & variance.isfinite()).all())
    if not (finite and lowest >= 0):
        bad = ~((variance >= 0) & variance.isfinite() & mean.isfinite())
        raise InvalidInput(
            f"{int(bad.sum())} of {mean.numel()} entries have no finite mean, or no finite variance of at least 0",
            where=name_of(where),
            got=f"variances from {lowest:.3g}",
            cause="a standard deviation, a logarithm or a difference in the place of the variance; or a network that diverged",
            fix="pass Gaussian(mean, deviation ** 2)",
        )


def name_of(layer: nn.Module | str) -> str:
    """A layer with its settings, as errors name it; text stays as it is."""
    return layer if isinstance(layer, str) else f"{type(layer).__name__}({layer.extra_repr()})"


def shown(value: Any) -> str:
    """A value as an error shows it: short."""
    return f"tensor {tuple(value.shape)}" if isinstance(value, Tensor) and value.numel() != 1 else reprlib.repr(value)


def listed(names: Iterable[str], most: int = 12) -> str:
    """The first names, and how many more there are.

    >>> listed(["a", "b", "c", "d"], most=2)
    'a, b, and 2 more'
    """
    every = list(names)
    return ", ".join(every[:most]) + (f", and {len(every) - most} more" if len(every) > most else "")


def _real(value: Any) -> float | None:
    """The value of a real number, or of a tensor that holds one; None for anything else."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex() and value.dtype != torch.bool:
        return float(value)
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond the largest float
        return math.inf


def _integer(value: Any) -> int | None:
    """The value of an integer, or of a tensor that holds one; None for anything else."""
    if isinstance(value, bool) or (isinstance(value, Tensor) and (value.numel() != 1 or value.dtype == torch.bool)):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
