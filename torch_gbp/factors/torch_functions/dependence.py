"""A record of the operations that took dependent terms for independent: where variances may be far from those of samples.

A sum of two beliefs of one network (a skip connection), and a mean, sum or average over positions that share their weights,
add variances as if the terms were independent. The moments of single entries carry no covariance, so the maps cannot know
better; here they say which of them were asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LISTENERS: ContextVar[tuple[list[str], ...]] = ContextVar("listeners", default=())


@contextmanager
def recorded() -> Iterator[list[str]]:
    """The names of the operations inside the `with` whose terms may depend on each other, in order, one entry a call.

    "add", "sub" and "mul" stand for two beliefs; an added Gaussian parameter, which is independent, cannot be told from a skip
    connection. Contexts may be nested, each gets every name; outside of all, nothing is kept.

    >>> import torch
    >>> from torch_gbp import Gaussian
    >>> x = Gaussian(torch.zeros(2, 3), torch.ones(2, 3))
    >>> with recorded() as names:
    ...     _ = torch.mean(x + x.relu(), 1)
    >>> names
    ['add', 'mean']
    """
    names: list[str] = []
    token = _LISTENERS.set((*_LISTENERS.get(), names))
    try:
        yield names
    finally:
        _LISTENERS.reset(token)


def note(name: str) -> None:
    """Adds the name of an operation to every open record."""
    for names in _LISTENERS.get():
        names.append(name)
