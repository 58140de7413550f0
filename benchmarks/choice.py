"""The settings that a comparison uses: the best of the committed search, by the likelihood of held-out training images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.methods import METHODS, Entrant, Settings
from benchmarks.report import Row

SEARCHED, SEARCHED_ELSEWHERE = "search", "search with another number of passes"
BUILT_IN, SHIPPED = "built-in defaults, not searched", "the method as it comes"


class Choice(NamedTuple):
    """A method's settings, where they come from, and the temperature fitted with them; None if none was fitted."""

    settings: Settings
    source: str
    temperature: float | None = None


def choose(searched: list[Row], net: str, method: str, epochs: int, methods: Mapping[str, Entrant] = METHODS) -> Choice:
    """The searched settings with the best score, else the built-in ones; a method without a grid is taken as it comes.

    Rows with as many passes are preferred: the best rate depends on how long it falls.
    """
    entrant = methods[method]
    settings, source = _settings(searched, net, method, epochs, methods)
    own = [row for row in _rows(searched, net, method) if row["settings"] == settings]
    return Choice(settings, source, _best(own, entrant, epochs).get("temperature") if own else None)


def _settings(searched: list[Row], net: str, method: str, epochs: int, methods: Mapping[str, Entrant]) -> tuple[Settings, str]:
    entrant = methods[method]
    if not entrant.grid and not entrant.borrows:
        return entrant.defaults, SHIPPED
    by = entrant.borrows or method
    rows = _rows(searched, net, by)
    if not rows:
        return entrant.defaults, BUILT_IN
    best = _best(rows, methods[by], epochs)
    return best["settings"], SEARCHED if best["epochs"] == epochs else SEARCHED_ELSEWHERE


def _rows(searched: list[Row], net: str, method: str) -> list[Row]:
    return [row for row in searched if (row["net"], row["method"]) == (net, method)]


def _best(rows: list[Row], entrant: Entrant, epochs: int) -> Row:
    same = [row for row in rows if row["epochs"] == epochs]
    return min(same or rows, key=lambda row: row[entrant.chosen_by])
