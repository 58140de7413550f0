"""What a backward sweep carries besides messages: how many examples spoke, and their log evidence.

A likelihood announces this as its backward starts; an optimizer reads it when the sweep reaches its
parameters, in the same thread of the same backward call. So the optimizer knows the size of the
batch without being told, whatever the network did to the batch axis in between.
"""

from __future__ import annotations

import threading
from typing import Any

from torch import Tensor


class Sweep:
    """One likelihood's part of a backward sweep (compared by identity)."""

    __slots__ = ("examples", "log_evidence")

    def __init__(self, examples: int, log_evidence: Tensor) -> None:
        self.examples, self.log_evidence = examples, log_evidence


_current: Any = threading.local()


def announce(sweep: Sweep) -> None:
    """Called by a likelihood as its backward starts."""
    _current.sweep = sweep


def current() -> Sweep | None:
    """The sweep that is under way in this thread, None if no likelihood has started one."""
    return getattr(_current, "sweep", None)
