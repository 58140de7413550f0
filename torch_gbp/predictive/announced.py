"""The warning that a network's moments take dependent terms for independent, with the layers that do."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from torch import nn

from torch_gbp.errors import DependentTerms, explain
from torch_gbp.errors.checks import listed
from torch_gbp.factors.torch_functions.dependence import recorded

SHOWN = 6  # layers in a warning

_TOLD: WeakSet[nn.Module] = WeakSet()


@contextmanager
def dependence_announced(model: nn.Module) -> Iterator[None]:
    """Warns after the pass inside, once for a network, if variances were added of terms that may depend on each other."""
    if model in _TOLD:
        yield
        return
    with recorded() as names, _Places(model, names) as places:
        yield
    if names:
        _TOLD.add(model)
        text = explain(
            "variances of terms that may depend on each other were added as if they were independent",
            where=f"predict by moments, {listed(places.found, SHOWN)}",
            cause="a skip connection, or an average over positions that share their weights: variances may be far off",
            fix='predict by how="samples" or "linear", or let `calibrate` find a factor',
        )
        warnings.warn(text, DependentTerms, stacklevel=2)


class _Places:
    """The modules in which the operations were recorded, as "path (operation)": by hooks before and after each."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        self.model, self.names, self.found = model, names, list[str]()
        self._seen, self._open = 0, [""]

    def __enter__(self) -> _Places:
        self._hooks: list[Any] = []
        for path, module in self.model.named_modules():
            before, after = self._entering(path or "the network"), self._leaving
            self._hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after, prepend=True)]
        return self

    def __exit__(self, *_: Any) -> None:
        for hook in self._hooks:
            hook.remove()

    def _entering(self, path: str) -> Any:
        def note(*_: Any) -> None:
            self._take()
            self._open.append(path)

        return note

    def _leaving(self, *_: Any) -> None:
        self._take()
        self._open.pop()

    def _take(self) -> None:
        """What was recorded since the last look happened in the innermost module that is running."""
        for name in self.names[self._seen :]:
            place = f"{self._open[-1]} ({name})"
            if place not in self.found:
                self.found.append(place)
        self._seen = len(self.names)
