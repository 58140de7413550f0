"""Settings of an estimator, checked where scikit-learn wants it: when a table is there, not when they are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import RATE, require, require_count, require_kind, shown

HIDDEN = (64, 64)  # chosen, as the recipes, on tables that are none of the benchmark's (benchmarks/TUNING.md)
BATCH, BATCHES = 16, 50  # smallest batch; batches of a pass, unless they would be smaller


class Recipe(NamedTuple):
    """What a kind of target wants: the peak rate, and steps of the whole training, in which a pass is never broken off."""

    lr: float
    steps: int


CLASSES, REAL = Recipe(0.2, 1000), Recipe(0.1, 1500)


class Settings(NamedTuple):
    """A checked set of settings: widths of the hidden layers, passes over the rows, rows of a batch, and the peak rate."""

    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    lr: float


def resolved(hidden: Any, epochs: Any, batch_size: Any, lr: Any, recipe: Recipe, rows: int, where: str) -> Settings:
    """The settings for a table with so many rows; None takes the recipe's.

    Batches are of 16 rows, or of a fiftieth of them.

    Raises:
        InvalidInput: widths, passes or rows of a batch that are no positive integers, a rate outside (0, 1].

    >>> resolved((64,), None, None, None, CLASSES, 800, "GBPClassifier")
    Settings(hidden=(64,), epochs=20, batch_size=16, lr=0.2)
    """
    batch = max(BATCH, math.ceil(rows / BATCHES)) if batch_size is None else batch_size
    batch = min(rows, require_count("batch_size", batch, where, fix="use None, or 16"))
    passes = math.ceil(recipe.steps / math.ceil(rows / batch)) if epochs is None else epochs
    passes = require_count("epochs", passes, where, fix="use None, or 20")
    rate = require("lr", recipe.lr if lr is None else lr, RATE, where, fix=f"use None, or {recipe.lr}")
    return Settings(_widths(hidden, where), passes, batch, rate)


def require_flag(name: str, value: Any, where: str) -> bool:
    """A truth value."""
    require_kind(name, value, bool, where, fix="use True or False")
    return value


def _widths(hidden: Any, where: str) -> tuple[int, ...]:
    if not isinstance(hidden, Sequence) or isinstance(hidden, str):
        fix = "use (64,) for one layer, () for none"
        raise InvalidInput("hidden must be the widths of the hidden layers", where=where, got=shown(hidden), fix=fix)
    return tuple(require_count("a width in hidden", width, where, fix="use 64") for width in hidden)
