"""The settings that a comparison uses: the best of the committed search, by the likelihood of held-out training images."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.methods import METHODS, Settings
from benchmarks.report import Row

SEARCHED, BUILT_IN, SHIPPED = "search", "built-in defaults, not searched", "the method as it comes"


class Choice(NamedTuple):
    """A method's settings and where they come from."""

    settings: Settings
    source: str


def choose(searched: list[Row], net: str, method: str) -> Choice:
    """The searched settings with the best NLL, else the built-in ones; a method without a grid is taken as it comes."""
    entrant = METHODS[method]
    if not entrant.grid and not entrant.borrows:
        return Choice(entrant.defaults, SHIPPED)
    by = entrant.borrows or method
    rows = [row for row in searched if (row["net"], row["method"]) == (net, by)]
    if not rows:
        return Choice(entrant.defaults, BUILT_IN)
    return Choice(min(rows, key=lambda row: row["nll"])["settings"], SEARCHED)
