"""What every benchmark is asked, what it answers, and what is printed meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

Row = dict[str, Any]
CASE = ("net", "limit", "method", "order", "settings")  # what the seeds are averaged over; few rows have the last two
SHOWN = (
    "accuracy", "nll", "nll_tempered", "ece", "ece_tempered", "temperature",
    "ood_auroc", "rmse", "log_likelihood", "noise_variance", "tv", "tv_far", "w2", "w2_far",
    "psnr", "psnr_noisy", "correlation", "corners", "disagreement", "difference", "processor_seconds",
    "train_seconds", "train_ratio", "predict_seconds", "peak_memory_mb",
)  # fmt: skip


class Request(NamedTuple):
    """A benchmark call."""

    data_dir: Path
    seeds: list[int]
    quick: bool = False
    net: str | None = None
    limit: int | None = None
    epochs: int | None = None
    methods: list[str] | None = None
    accept_altered: bool = False
    beside: Path | None = None  # folder for pictures, named like the result file
    done: Sequence[Row] = ()  # rows that the result file has already, for benchmarks that go on where they were cut off


class Result(NamedTuple):
    """Settings that the rows are made with, and the rows, one per run, as they are finished."""

    settings: dict[str, Any]
    rows: Iterable[Row]


def say(case: Row, text: str) -> None:
    """One line of progress."""
    print(f"{case['net']}, {case['limit']} images, seed {case['seed']}, {text}", flush=True)


def table(rows: list[Row]) -> str:
    """One line per network, number of images and method, the mean over the seeds."""
    columns = [column for column in SHOWN if any(column in row for row in rows)]
    lines = [f"{'net':9} {'images':>6} {'method':60} " + " ".join(f"{column:>15}" for column in columns)]
    cases: list[Any] = [tuple(row.get(key) for key in CASE) for row in rows]
    for case in [case for i, case in enumerate(cases) if case not in cases[:i]]:
        own = [row for row, its in zip(rows, cases, strict=True) if its == case]
        lines.append(_told(*case) + " ".join(_mean(own, column) for column in columns))
    return "\n".join(lines)


def _mean(rows: list[Row], column: str) -> str:
    """Over the rows that have the column; it stays empty if none has, as distances of classes for a regression."""
    values = [row[column] for row in rows if column in row]
    return f"{mean(values):15.4f}" if values else " " * 15


def _told(net: str, limit: int, method: str, order: str | None, settings: dict[str, Any] | None) -> str:
    told = " ".join([method, *([order] if order else []), *(f"{key}={value}" for key, value in (settings or {}).items())])
    return f"{net:9} {limit:6} {told:60} "
