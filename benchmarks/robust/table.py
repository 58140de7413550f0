"""The table of the grid: for every part how well each method does, who collapses, who falls behind, and who is warned."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.markdown import NOT_RUN, grid
from benchmarks.report import Row

COLLAPSED = 0.5  # of the linear model's score
BEHIND = 0.01
RAW = "raw units"  # nothing learns there: counted by itself


class Verdict(NamedTuple):
    """One configuration, averaged over the seeds: scores, and what befell torch_gbp in any of them: `NotLearning`, no warning at
    all, an error."""

    part: str
    scores: dict[str, float]
    warned: bool
    silent: bool
    failed: bool

    def collapsed(self, method: str) -> bool:
        """Whether the method is below half of the linear model."""
        return not self.scores[method] >= COLLAPSED * self.scores["linear"]

    @property
    def behind(self) -> bool:
        """Whether torch_gbp is below AdamW by more than a point."""
        return not self.scores["gbp"] >= self.scores["adamw"] - BEHIND


def verdicts(rows: list[Row]) -> list[Verdict]:
    """A verdict for every configuration that all methods have run.

    >>> rows = [{"method": m, "net": "a", "part": "a", "accuracy": v, "warned": []} for m, v in
    ...         (("gbp", 0.4), ("adamw", 0.9), ("linear", 0.9))]
    >>> [(verdict.collapsed("gbp"), verdict.behind, verdict.warned) for verdict in verdicts(rows)]
    [(True, True, False)]
    """
    found = []
    for net in dict.fromkeys(row["net"] for row in rows):
        own = {
            method: [row for row in rows if (row["net"], row["method"]) == (net, method)] for method in ("gbp", "adamw", "linear")
        }
        if all(own.values()):
            ours = own["gbp"]
            warned = any("NotLearning" in row["warned"] for row in ours)
            silent = not any(row["warned"] for row in ours)
            failed = any("error" in row or not math.isfinite(score(row)) for row in ours)
            found.append(
                Verdict(ours[0]["part"], {name: _mean(map(score, part)) for name, part in own.items()}, warned, silent, failed)
            )
    return found


def score(row: Row) -> float:
    """Accuracy, or R^2 of real targets; NaN where there was an error."""
    return float(row.get("accuracy", row.get("r2", math.nan)))


def table(rows: list[Row]) -> str:
    """A line for each part of the grid, and one for all but the raw units."""
    if not rows:
        return NOT_RUN
    found = verdicts(rows)
    parts = list(dict.fromkeys(verdict.part for verdict in found))
    lines = [_line(part, [verdict for verdict in found if verdict.part == part]) for part in parts]
    headings = ["part of the grid", "configurations", "torch_gbp", "AdamW", "linear", "torch_gbp collapsed", "AdamW collapsed",
                "torch_gbp behind AdamW", "errors or NaN", "collapsed in silence", "warned though it learns"]  # fmt: skip
    return grid(headings, [*lines, _line("**all but raw units**", [verdict for verdict in found if verdict.part != RAW])])


def _line(title: str, own: list[Verdict]) -> list[str]:
    means = [f"{100 * _mean(v.scores[method] for v in own):.1f} %" for method in ("gbp", "adamw", "linear")]
    silent = sum(v.collapsed("gbp") and v.silent for v in own)
    counts = [sum(v.collapsed("gbp") for v in own), sum(v.collapsed("adamw") for v in own), sum(v.behind for v in own)]
    false = sum(v.warned and not v.collapsed("gbp") for v in own)
    return [title, str(len(own)), *means, *map(str, [*counts, sum(v.failed for v in own), silent, false])]


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)
