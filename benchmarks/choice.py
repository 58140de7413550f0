"""The settings that a comparison uses: the best of the committed search, by the likelihood of held-out training images."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.methods import METHODS, Settings
from benchmarks.report import Row

SEARCHED, SEARCHED_ELSEWHERE = "search", "search with another number of passes"
BUILT_IN, SHIPPED = "built-in defaults, not searched", "the method as it comes"


class Choice(NamedTuple):
    """A method's settings, where they come from, and the temperature fitted with them; None if none was fitted."""

    settings: Settings
    source: str
    temperature: float | None = None


def choose(searched: list[Row], net: str, method: str, epochs: int) -> Choice:
    """The searched settings with the best score, else the built-in ones; a method without a grid is taken as it comes.

    Rows with as many passes are preferred: the best rate depends on how long it falls.
    """
    settings, source = _settings(searched, net, method, epochs)
    own = [row for row in _rows(searched, net, method) if row["settings"] == settings]
    return Choice(settings, source, _best(own, method, epochs).get("temperature") if own else None)


def _settings(searched: list[Row], net: str, method: str, epochs: int) -> tuple[Settings, str]:
    entrant = METHODS[method]
    if not entrant.grid and not entrant.borrows:
        return entrant.defaults, SHIPPED
    by = entrant.borrows or method
    rows = _rows(searched, net, by)
    if not rows:
        return entrant.defaults, BUILT_IN
    best = _best(rows, by, epochs)
    return best["settings"], SEARCHED if best["epochs"] == epochs else SEARCHED_ELSEWHERE


def _rows(searched: list[Row], net: str, method: str) -> list[Row]:
    return [row for row in searched if (row["net"], row["method"]) == (net, method)]


def _best(rows: list[Row], method: str, epochs: int) -> Row:
    same = [row for row in rows if row["epochs"] == epochs]
    return min(same or rows, key=lambda row: row[METHODS[method].chosen_by])
