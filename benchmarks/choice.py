"""Which settings a search has found to be the best ones, and which it tries next where these are at the edge of its grid."""

from __future__ import annotations

import math
from typing import NamedTuple

from benchmarks.methods.base import Entrant, Settings
from benchmarks.results import Row

SEARCHED, SEARCHED_ELSEWHERE = "search", "search with another number of passes"
BUILT_IN, SHIPPED = "built-in defaults, not searched", "the method as it comes"
FARTHEST = 4  # steps that a search goes beyond its grid
FACTOR = 2.0  # of the rate, in each


class Choice(NamedTuple):
    """A method's settings, where they come from, the temperature fitted with them (None if none was), and settings compared."""

    settings: Settings
    source: str
    temperature: float | None = None
    tried: int = 0

    @property
    def told(self) -> Row:
        """What a row says of it."""
        return {"chosen": dict(self.settings), "chosen_by": self.source, "tried": self.tried}


def rows_of(searched: list[Row], net: str, method: str) -> list[Row]:
    """The rows of a method on a network."""
    return [row for row in searched if (row["net"], row["method"]) == (net, method)]


def as_long(rows: list[Row], epochs: int) -> list[Row]:
    """The rows with as many passes, or with the nearest number of them (by its logarithm, the larger one of two)."""
    nearest = min((row["epochs"] for row in rows), key=lambda own: (abs(math.log(own / epochs)), -own), default=epochs)
    return [row for row in rows if row["epochs"] == nearest]


def best(rows: list[Row], entrant: Entrant, epochs: int) -> Row:
    """The row with the best score of those `as_long`."""
    sign = -1 if entrant.chosen_by == "accuracy" else 1
    return min(as_long(rows, epochs), key=lambda row: sign * row[entrant.chosen_by])


def beyond(rows: list[Row], entrant: Entrant, epochs: int) -> Settings | None:
    """The best settings with twice the rate where that is the largest tried, with half of it where it is the smallest.

    None where it is neither, so a grid that lies beside the best rate does no harm to a method.

    >>> method = Entrant("a", object, chosen_by="nll")
    >>> rows = [{"epochs": 1, "nll": nll, "settings": {"lr": lr}} for lr, nll in ((0.1, 3.0), (0.2, 2.0))]
    >>> beyond(rows, method, 1), beyond([*rows, {"epochs": 1, "nll": 2.5, "settings": {"lr": 0.4}}], method, 1)
    ({'lr': 0.4}, None)
    """
    rates = {row["settings"].get("lr") for row in as_long(rows, epochs)}
    if None in rates or len(rates) < 2:
        return None
    found = best(rows, entrant, epochs)["settings"]
    factor = {max(rates): FACTOR, min(rates): 1 / FACTOR}.get(found["lr"])
    return None if factor is None else {**found, "lr": found["lr"] * factor}
