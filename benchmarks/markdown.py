"""Markdown tables and the numbers in their cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from benchmarks.report import Row
from benchmarks.summary import estimate

NOT_RUN = "(not run yet)\n"


def grid(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table.

    >>> print(grid(["net", "rmse"], [["a", "0.1"]]), end="")
    | net | rmse |
    |---|---|
    | a | 0.1 |
    """
    return "\n".join([line(headings), "|" + "---|" * len(headings), *(line(cells) for cells in lines)]) + "\n"


def line(cells: Sequence[str]) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"


def number(rows: list[Row], key: str, digits: int = 3, scale: float = 1, spread: bool = True, unit: str = "") -> str:
    """Mean over the rows and, of several, its standard error; "-" if a row lacks the key.

    >>> number([{"rmse": 1.0}, {"rmse": 3.0}], "rmse", 1), number([{"rmse": 1.0}], "w2")
    ('2.0 ± 1.0', '-')
    """
    found = estimate(rows, key) if rows else None
    if found is None:
        return "-"
    mean, error = (f"{scale * value:.{digits}f}" for value in found)
    return mean + (f" ± {error}" if spread and not math.isnan(found.error) else "") + unit
