"""Marginals that take a step together: `torch._foreach` functions are told a list of tensors in one call.

A GPU has its kernels for whole lists, where a call for each of many small tensors would take longer than their arithmetic. On a
CPU the calls alone are fewer, and a list is no longer than its caches hold, as every function goes through all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch_gbp.optim.stores.base import Entry

CACHED = 2**17  # weights in a list on a CPU, or a tensor that has more


def parts(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The entries in lists that have one step, device and dtype each, in their order."""
    together: dict[object, list[Entry]] = {}
    for entry in entries:
        mean = entry.marginal.mean
        kind = entry.step, mean.device, mean.dtype
        if mean.device.type == "cpu" and sum(own.marginal.mean.numel() for own in together.get(kind, ())) + mean.numel() > CACHED:
            yield from [together.pop(kind)] if kind in together else []
        together.setdefault(kind, []).append(entry)
    yield from together.values()
