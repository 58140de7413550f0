"""Settings of an estimator, checked where scikit-learn wants it: when a table is there, not when they are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_count, require_kind, shown

# Chosen on tables that are none of the benchmark's, see benchmarks/TUNING.md
HIDDEN = (64, 64)
STEPS = 1500  # of the whole training; a pass is never broken off
BATCH, BATCHES = 16, 50  # smallest batch; batches of a pass, unless they would be smaller


class Settings(NamedTuple):
    """A checked set of settings: the widths of the hidden layers, passes over the rows, and rows of a batch."""

    hidden: tuple[int, ...]
    epochs: int
    batch_size: int


def resolved(hidden: Any, epochs: Any, batch_size: Any, rows: int, where: str) -> Settings:
    """The settings for a table with so many rows; None takes the automatic ones.

    Batches are of 16 rows, or of a fiftieth of them; passes make up 1,500 steps.

    Raises:
        InvalidInput: widths, passes or rows of a batch that are no positive integers.

    >>> resolved((64,), None, None, 800, "GBPClassifier")
    Settings(hidden=(64,), epochs=30, batch_size=16)
    """
    batch = max(BATCH, math.ceil(rows / BATCHES)) if batch_size is None else batch_size
    batch = min(rows, require_count("batch_size", batch, where, fix="use None, or 16"))
    passes = math.ceil(STEPS / math.ceil(rows / batch)) if epochs is None else epochs
    passes = require_count("epochs", passes, where, fix="use None, or 20")
    return Settings(_widths(hidden, where), passes, batch)


def require_flag(name: str, value: Any, where: str) -> bool:
    """A truth value."""
    require_kind(name, value, bool, where, fix="use True or False")
    return value


def _widths(hidden: Any, where: str) -> tuple[int, ...]:
    if not isinstance(hidden, Sequence) or isinstance(hidden, str):
        fix = "use (64,) for one layer, () for none"
        raise InvalidInput("hidden must be the widths of the hidden layers", where=where, got=shown(hidden), fix=fix)
    return tuple(require_count("a width in hidden", width, where, fix="use 64") for width in hidden)
