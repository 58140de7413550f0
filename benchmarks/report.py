"""What every benchmark is asked and what it writes."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch

SCORES = ("accuracy", "nll", "ece", "ood_auroc")
COSTS = ("train_seconds", "pass_seconds", "predict_seconds", "peak_memory_mb")


class Request(NamedTuple):
    """A benchmark call."""

    data_dir: Path
    seeds: list[int]
    quick: bool = False
    net: str | None = None
    limit: int | None = None
    epochs: int | None = None


class Result(NamedTuple):
    """Settings that the rows were made with, and one row per run."""

    settings: dict[str, Any]
    rows: list[dict[str, Any]]


def write(path: Path, name: str, result: Result) -> None:
    """Writes the result file and prints the mean over the seeds."""
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
    machine["omp_num_threads"] = os.environ.get("OMP_NUM_THREADS")
    content = {"benchmark": name, "settings": {**result.settings, **machine}, "rows": result.rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(table(result.rows))
    print(f"written to {path}")


def table(rows: list[dict[str, Any]]) -> str:
    """One line per network and method, the mean over the seeds."""
    columns = [column for column in SCORES + COSTS if column in rows[0]]
    lines = [f"{'net':6} {'method':50} " + " ".join(f"{column:>15}" for column in columns)]
    for net, method in dict.fromkeys((row["net"], row["method"]) for row in rows):
        chosen = [row for row in rows if (row["net"], row["method"]) == (net, method)]
        means = (mean(row[column] for row in chosen) for column in columns)
        lines.append(f"{net:6} {method:50} " + " ".join(f"{value:15.4f}" for value in means))
    return "\n".join(lines)
