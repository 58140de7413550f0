"""Result files: written after every row, so that a benchmark can be run in parts and survives a kill."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import Result, Row, table

RESULTS = Path(__file__).parent / "results"  # the committed files
KEY = ("method", "order", "net", "data", "blocks", "limit", "seed", "epochs", "settings")  # some are of few benchmarks alone


def write(path: Path, name: str, result: Result) -> None:
    """Adds the rows to the file as they come and prints their mean over the seeds."""
    started(path, name, result.settings)  # a file of another benchmark is refused before anything is trained
    new: list[Row] = []
    for row in result.rows:
        new.append(row)
        content = started(path, name, result.settings)  # read again: another part of the benchmark may run beside
        save(path, content | {"rows": merged(content["rows"], row)})
    print(f"{table(new)}\nwritten to {path}" if new else "nothing to run")


def committed(name: str, folder: Path = RESULTS) -> list[Row]:
    """The rows of a result file; none if the benchmark was not run yet."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.is_file() else []


def started(path: Path, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The file's content with these settings, or that of a new file.

    Raises:
        SystemExit: the file holds another benchmark.
    """
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
    machine["omp_num_threads"] = os.environ.get("OMP_NUM_THREADS")
    old = json.loads(path.read_text()) if path.is_file() else {"benchmark": name, "settings": {}, "rows": []}
    if old["benchmark"] != name:
        raise SystemExit(f"{path} holds the results of {old['benchmark']!r}: choose another file for {name!r}")
    return {"benchmark": name, "settings": updated(old["settings"], settings | machine), "rows": old["rows"]}


def merged(rows: list[Row], row: Row) -> list[Row]:
    """The rows with this one in the place of its like, or at the end.

    >>> merged([{"method": "a", "nll": 1.0}, {"method": "b", "nll": 1.0}], {"method": "a", "nll": 2.0})
    [{'method': 'a', 'nll': 2.0}, {'method': 'b', 'nll': 1.0}]
    """
    places = [i for i, other in enumerate(rows) if key(other) == key(row)] or [len(rows)]
    return [*rows[: places[0]], row, *rows[places[0] + 1 :]]


def updated(old: dict[str, Any], new: dict[str, Any], depth: int = 3) -> dict[str, Any]:
    """The old settings with the new ones in their place: by topic, network and method, where a dict goes so deep.

    >>> old = {"methods": {"mlp": {"adamw": {"lr": 1}}}, "threads": 2}
    >>> updated(old, {"methods": {"mlp": {"sgd": {"lr": 2}}}, "threads": 1})
    {'methods': {'mlp': {'adamw': {'lr': 1}, 'sgd': {'lr': 2}}}, 'threads': 1}
    >>> updated(old, {"methods": {"mlp": {"adamw": {}}}})["methods"]
    {'mlp': {'adamw': {}}}
    """
    both = {key for key in new if depth > 1 and isinstance(new[key], dict) and isinstance(old.get(key), dict)}
    return old | {key: updated(old[key], value, depth - 1) if key in both else value for key, value in new.items()}


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes the file whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(content, indent=1) + "\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside, renamed once it is written: a kill leaves the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.partial")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def key(row: Row) -> list[Any]:
    """What tells a row from all others of its benchmark."""
    return [row.get(column) for column in KEY]
