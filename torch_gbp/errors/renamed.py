"""Renamed arguments: a keyword argument that is gone raises an error with its new spelling."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import shown

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**spellings: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator of a function or constructor whose keyword arguments were renamed; `{}` in a new spelling is the given value.

    Raises:
        InvalidInput: (by what is decorated) an old argument, with its new spelling.

    >>> @renamed(prior_scale="prior=Prior(scale={})")
    ... def build(size, prior=None): ...
    >>> build(3, prior_scale=0.5)
    Traceback (most recent call last):
    torch_gbp.errors.InvalidInput: prior_scale is gone (in build). Got: prior_scale=0.5. Way out: write prior=Prior(scale=0.5).
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        where = function.__qualname__.removesuffix(".__init__")

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            old = {name: shown(value) for name, value in kwargs.items() if name in spellings}
            if old:
                raise InvalidInput(
                    f"{', '.join(old)} {'is' if len(old) == 1 else 'are'} gone",
                    where=where,
                    got=", ".join(f"{name}={value}" for name, value in old.items()),
                    fix="write " + ", ".join(spellings[name].format(value) for name, value in old.items()),
                )
            return function(*args, **kwargs)

        return checked

    return decorate
