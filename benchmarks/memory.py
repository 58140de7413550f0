"""Peak memory of tensors, counted storage by storage: exact, where the process size is noise."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all tensors made inside, and of those given, while they live.

    `with PeakMemory(model.parameters()) as memory: ...; memory.megabytes`
    """

    def __init__(self, existing: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._seen: set[int] = set()
        for tensor in existing:
            self._count(tensor)

    @property
    def megabytes(self) -> float:
        """The largest number of bytes alive at a time, in 10^6."""
        return self.peak / 1e6

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return tree_map_only(Tensor, self._count, func(*args, **(kwargs or {})))

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self._seen.add(key)
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self._release, key, size)
        return tensor

    def _release(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.bytes -= size
