"""The table of the ablation: a line for every variant of the recipe, three scores for every case."""

from __future__ import annotations

from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.report import Row
from benchmarks.summary import SMALLEST_SET

SCORES = {"accuracy": ("accuracy", 2, 100, " %"), "NLL": ("nll", 4, 1, ""), "ECE": ("ece", 4, 1, "")}
NETS = {"mlp": "MLP", "lenet": "LeNet-5"}

Place = tuple[str, int]  # network and number of training images


def table(rows: list[Row]) -> str:
    """Accuracy, NLL and ECE of every variant, mean and standard error of the seeds, for every case that was run."""
    if not rows:
        return NOT_RUN
    cases = list(dict.fromkeys((row["net"], row["limit"]) for row in rows))
    headings = [f"{_title(case)}: {score}" for case in cases for score in SCORES]
    variants = dict.fromkeys(row["method"] for row in rows)
    return grid(["variant", *headings], [[name, *_cells(rows, name, cases)] for name in variants])


def _title(case: Place) -> str:
    net, limit = case
    return NETS[net] if limit >= SMALLEST_SET else f"{NETS[net]}, {limit} images"


def _cells(rows: list[Row], variant: str, cases: list[Place]) -> list[str]:
    own = [[row for row in rows if (row["method"], row["net"], row["limit"]) == (variant, *case)] for case in cases]
    return [number(found, key, digits, scale, unit=unit) for found in own for key, digits, scale, unit in SCORES.values()]
