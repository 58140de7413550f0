"""The thesis' table 5.1: its published accuracies, ours in its order, and ours in batches."""

from __future__ import annotations

from statistics import mean

from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.report import Row
from benchmarks.thesis import LIMITS, PUBLISHED, WAYS

TITLES = {"gbp_onehot": "one-hot", "gbp_argmax": "argmax", "gbp_argmax_plain": "argmax without +-1", "gbp": "softmax"}


def table(rows: list[Row]) -> str:
    """A line for each number of images; accuracies in percent, mean and standard error over the seeds, one with one."""
    if not rows:
        return NOT_RUN
    columns = [(method, order) for method in TITLES for order, way in WAYS.items() if method in way.likelihoods]
    headings = ["images", *(f"{TITLES[method]}, published" for method in PUBLISHED)]
    headings += [f"{TITLES[method]}, {order}" for method, order in columns]
    lines = [_line(place, limit, rows, columns) for place, limit in enumerate(LIMITS)]
    return grid([*headings, "time, sequential / averaged"], lines)


def _line(place: int, limit: int, rows: list[Row], columns: list[tuple[str, str]]) -> list[str]:
    published = [f"{accuracies[place]:.2f}" for accuracies in PUBLISHED.values()]
    found = [_own(rows, limit, *column) for column in columns]
    return [f"{limit:,}", *published, *(number(own, "accuracy", 2, 100) for own in found), _ratio(rows, limit)]


def _own(rows: list[Row], limit: int, method: str, order: str) -> list[Row]:
    return [row for row in rows if (row["limit"], row["method"], row["order"]) == (limit, method, order)]


def _ratio(rows: list[Row], limit: int) -> str:
    """How many times longer the one-hot method takes in the thesis' order."""
    found = (_own(rows, limit, "gbp_onehot", order) for order in WAYS)
    sequential, averaged = ([row["train_seconds"] for row in own if "train_seconds" in row] for own in found)
    return f"{mean(sequential) / mean(averaged):.0f}" if sequential and averaged else "-"
