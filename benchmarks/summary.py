"""What tables and figures are made of: the committed rows, gathered by case, with mean and standard error over the seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import mean, stdev
from typing import NamedTuple

from benchmarks.methods import METHODS
from benchmarks.report import Row
from benchmarks.tasks import TASKS

SMALLEST_SET = 50_000  # CIFAR-10's; fewer images are a part of a data set


class Case(NamedTuple):
    """One network trained in one way; its methods are compared."""

    net: str
    limit: int
    epochs: int


class Estimate(NamedTuple):
    """Mean over the seeds and its standard error, nan for one seed."""

    mean: float
    error: float


Gathered = dict[Case, dict[str, list[Row]]]  # the seeds' rows by case and method


def gather(rows: Iterable[Row]) -> Gathered:
    """The rows by case, in the order of the file, and by method, in the order of METHODS."""
    cases: Gathered = {}
    for row in rows:
        cases.setdefault(Case(row["net"], row["limit"], row["epochs"]), {}).setdefault(row["method"], []).append(row)
    return {case: {method: methods[method] for method in METHODS if method in methods} for case, methods in cases.items()}


def case_title(name: str, case: Case) -> str:
    """The network, the passes, and the number of images where it is not the whole data set.

    >>> case_title("mnist", Case("onepass", 60000, 1)), case_title("lowdata", Case("lenet", 640, 60))
    ('conv 16-32-100, 1 pass', 'LeNet-5, 640 images, 60 passes')
    """
    net = TASKS[name].nets[case.net]
    images = f"{case.limit:,} images, " if case.limit < SMALLEST_SET else ""
    return f"{net.title}, {images}{case.epochs} pass{'es' if case.epochs > 1 else ''}"


def estimate(rows: list[Row], column: str) -> Estimate | None:
    """Mean and standard error of a column, None if a row lacks it.

    >>> estimate([{"nll": 1.0}, {"nll": 3.0}], "nll")
    Estimate(mean=2.0, error=1.0)
    """
    if not all(column in row for row in rows):
        return None
    values = [row[column] for row in rows]
    return Estimate(mean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan)
