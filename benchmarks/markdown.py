"""How a table is made of rows: a list of lines and a list of columns, each telling which rows are its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks.results import Row, estimate, matching

Cell = Callable[[list[Row]], str]
DATA = {
    "mnist": "MNIST",
    "mnist_wide": "MNIST, pool 8 x 8",
    "mnist_depth1": "MNIST, dense layer alone",
    "mnist_depth3": "MNIST, two convolutions",
    "mnist_depth4": "MNIST, three convolutions",
    "lowdata": "MNIST",
    "fashion": "FashionMNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
}
SMALLEST_SET, FULL = 50_000, 45_000  # images: CIFAR-10 has 50,000, and fewer are a part of a set; as many have published figures


class Column(NamedTuple):
    """A heading, which rows are its own, what is written of them, and a key that a row must have for the column to be shown."""

    heading: str
    cell: Cell
    own: Row = {}
    if_any: str | None = None


class Line(NamedTuple):
    """The first cells of a line, and which rows are its own."""

    titles: list[str]
    own: Row


def grid(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in markdown.

    >>> print(grid(["net", "rmse"], [["a", "0.1"]]), end="")
    | net | rmse |
    |---|---|
    | a | 0.1 |
    """
    whole = [f"| {' | '.join(cells)} |" for cells in (headings, *lines)]
    return "\n".join([whole[0], "|" + "---|" * len(headings), *whole[1:]]) + "\n"


def crossed(rows: list[Row], first: Sequence[str], lines: Iterable[Line], columns: Iterable[Column]) -> str:
    """The lines that have rows, each with the cells of the columns for the rows that both own."""
    shown = [column for column in columns if column.if_any is None or any(column.if_any in row for row in rows)]
    told = [(line.titles, found) for line in lines if (found := matching(rows, **line.own))]
    cells = [[*titles, *(column.cell(matching(found, **column.own)) for column in shown)] for titles, found in told]
    return grid([*first, *(column.heading for column in shown)], cells)


def number(rows: list[Row], key: str, digits: int = 3, scale: float = 1, spread: bool = True, unit: str = "") -> str:
    """Mean over the rows and, of several, its standard error; "-" if a row lacks the key.

    >>> number([{"rmse": 1.0}, {"rmse": 3.0}], "rmse", 1), number([{"rmse": 1.0}], "w2")
    ('2.0 ± 1.0', '-')
    """
    found = estimate(rows, key)
    if found is None:
        return "-"
    mean, error = (f"{scale * value:.{digits}f}" for value in found)
    return mean + (f" ± {error}" if spread and not math.isnan(found.error) else "") + unit


def cell(key: str, digits: int = 4, scale: float = 1, unit: str = "", spread: bool = True) -> Cell:
    """What writes a number."""
    return lambda rows: number(rows, key, digits, scale, spread, unit)


def distinct(rows: list[Row], *keys: str) -> list[tuple[Any, ...]]:
    """The combinations of these values, in the order of the rows."""
    return list(dict.fromkeys(tuple(row.get(key) for key in keys) for row in rows))


ACCURACY, NLL, ECE = cell("accuracy", 2, 100, " %"), cell("nll"), cell("ece")
PERCENT = cell("accuracy", 2, 100)


def passes(epochs: int) -> str:
    """The words for so many."""
    return f"{epochs} pass{'es' if epochs > 1 else ''}"
