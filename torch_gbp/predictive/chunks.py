"""How much of a prediction fits into memory at a time, by what one pass makes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from torch_gbp.memory import available_memory

SHARE = 0.25  # of the free memory, for what is worked on at a time
LIVE = 4  # tensors as large as the largest that a pass without gradients holds at a time


class Largest(TorchFunctionMode):
    """Sizes of the largest tensor that torch functions give inside: `entries` and `bytes`.

    >>> with Largest() as seen:
    ...     _ = torch.ones(3, 4) + 1.0
    >>> seen.entries, seen.bytes
    (12, 48)
    """

    entries = bytes = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for part in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(part, Tensor):
                self.entries = max(self.entries, part.numel())
                self.bytes = max(self.bytes, part.numel() * part.element_size())
        return found


def at_a_time(each: int, device: torch.device, most: int) -> int:
    """How many things of so many bytes to work on at a time: at least one, at most `most`."""
    free = available_memory(device)
    return most if free is None else max(1, min(most, int(SHARE * free) // max(1, each)))
