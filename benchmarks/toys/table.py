"""The tables of XOR and of the curve: summed messages beside exact messages on every edge."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.report import Row
from benchmarks.toys import curve, xor
from benchmarks.toys.learning import TITLES, Pacing

Cells = Callable[[list[Row]], list[str]]


def xor_table(rows: list[Row]) -> str:
    """A line for each method: how many seeds have all four points right, and how the grid's classes agree."""
    headings = ["seeds with all 4 points right", "grid, class of the nearest point", "grid, other class than by exact messages"]
    return _table(rows, xor.PACE, headings, _solved)


def curve_table(rows: list[Row]) -> str:
    """A line for each method: error against the true function, and distance from the curve of exact messages."""
    headings = ["RMSE to the true function", "by exact messages = 1", "rms distance from the curve by exact messages"]
    reference = {row["seed"]: row["rmse"] for row in rows if row["method"] == "graph_exact"}

    def fitted(own: list[Row]) -> list[str]:
        ratios = [{"ratio": row["rmse"] / reference[row["seed"]]} for row in own if row["seed"] in reference]
        return [number(own, "rmse", 4), number(ratios, "ratio", 2), number(own, "difference", 4)]

    return _table(rows, curve.PACE, headings, fitted)


def _table(rows: list[Row], paces: dict[str, Pacing], headings: list[str], cells: Cells) -> str:
    if not rows:
        return NOT_RUN
    lines = []
    for method, pace in paces.items():
        if own := [row for row in rows if row["method"] == method]:
            lines.append([TITLES[method], _told(pace), str(len(own)), *cells(own), number(own, "processor_seconds", 1)])
    return grid(["method", "iterations, damping, dropout", "seeds", *headings, "CPU seconds"], lines)


def _solved(own: list[Row]) -> list[str]:
    right = sum(row["corners"] == 4 for row in own)
    return [f"{right} of {len(own)}", number(own, "accuracy", 1, 100, unit=" %"), number(own, "disagreement", 2, 100, unit=" %")]


def _told(pace: Pacing) -> str:
    weights = "" if pace.weight_damping is None else f" (weights {pace.weight_damping:g})"
    return f"{pace.iterations}, {pace.damping:g}{weights}, {pace.dropout:g}"
