"""What a benchmark is asked and answers, and its result file: written after every row, so that a kill costs one row."""

from __future__ import annotations

import json
import math
import os
import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch

Row = dict[str, Any]
_NUMBERS = re.compile(r"\[([-+.,eE\d\s]+)\]")
RESULTS = Path(__file__).parent / "results"  # the committed files
FORMAT = 1  # of the result files; another one is refused
CODE = 1  # raised by hand where a change of the library or of a benchmark gives other numbers; files of another are refused
KEY = ("method", "order", "net", "data", "blocks", "limit", "seed", "epochs", "settings")  # some are of few benchmarks alone
KEY += ("ood", "score", "corruption", "severity")


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
    device: str = "cpu"  # where networks are trained and predict: of images and text

    @property
    def runs(self) -> list[int]:
        """The seeds, one of them with --quick."""
        return self.seeds[: 1 if self.quick else None]

    def asked(self, names: Iterable[str]) -> list[str]:
        """The network of the call, or all of them.

        Raises:
            SystemExit: there is none of that name.
        """
        known = list(names)
        if self.net not in (None, *known):
            raise SystemExit(f"no network, data set or part {self.net!r} in this benchmark: use {', '.join(known)}")
        return [self.net] if self.net else known


class Result(NamedTuple):
    """Settings that the rows are made with, and the rows, one per run, as they are finished."""

    settings: dict[str, Any]
    rows: Iterable[Row]


class Estimate(NamedTuple):
    """Mean over the seeds and its standard error, nan for one seed."""

    mean: float
    error: float


def estimate(rows: Sequence[Row], column: str) -> Estimate | None:
    """Mean and standard error of a column, None if there are no rows or one lacks it.

    >>> estimate([{"nll": 1.0}, {"nll": 3.0}], "nll")
    Estimate(mean=2.0, error=1.0)
    """
    if not rows or not all(column in row for row in rows):
        return None
    values = [row[column] for row in rows]
    return Estimate(mean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan)


def matching(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows with these values.

    >>> matching([{"net": "a", "seed": 0}, {"net": "b", "seed": 0}], net="b")
    [{'net': 'b', 'seed': 0}]
    """
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def say(case: Row, text: str) -> None:
    """One line of progress."""
    print(f"{case['net']}, {case['limit']} images, seed {case['seed']}, {text}", flush=True)


def write(path: Path, name: str, result: Result) -> None:
    """Adds the rows to the file as they come and prints their mean over the seeds."""
    started(path, name, result.settings)  # a file of another benchmark is refused before anything is trained
    new: list[Row] = []
    for row in result.rows:
        new.append(row)
        content = started(path, name, result.settings)  # read again: another part of the benchmark may run beside
        save(path, content | {"rows": merged(content["rows"], row)})
    print(f"{printed(new)}\nwritten to {path}" if new else "nothing to run")


def printed(rows: list[Row]) -> str:
    """A line for every case, the means of its numbers over the seeds."""
    cases: list[Any] = [{key: row[key] for key in KEY if key in row and key != "seed"} for row in rows]
    lines = []
    for case in [case for i, case in enumerate(cases) if case not in cases[:i]]:
        own = [row for row, its in zip(rows, cases, strict=True) if its == case]
        numbers = {key: found for key, value in own[0].items() if isinstance(value, float) and (found := estimate(own, key))}
        told = [f"{key} {found.mean:.4f}" for key, found in numbers.items()]
        lines.append(" ".join(str(value) for value in case.values()) + ": " + ", ".join(told))
    return "\n".join(lines)


def committed(name: str, folder: Path = RESULTS) -> list[Row]:
    """The rows of a result file; none if the benchmark was not run yet."""
    path = folder / f"{name}.json"
    return read(path)["rows"] if path.is_file() else []


def read(path: Path) -> dict[str, Any]:
    """The content of a result file.

    Raises:
        SystemExit: it has another format, or was made by another version of the code.
    """
    content = json.loads(path.read_text())
    found = {"format": content.get("format"), "code version": content.get("code", 1)}  # files without the number are of the first
    for what, wanted in {"format": FORMAT, "code version": CODE}.items():
        if found[what] != wanted:
            name = content.get("benchmark", "NAME")
            raise SystemExit(
                f"{path} has {what} {found[what]}, this version reads {wanted}: remove it and renew it by "
                f"`python -m benchmarks {name} --data-dir DIR --out {path}`"
            )
    return content


def started(path: Path, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The file's content with these settings, or that of a new file.

    Raises:
        SystemExit: the file holds another benchmark, or has another format.
    """
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
    machine["omp_num_threads"] = os.environ.get("OMP_NUM_THREADS")
    old = read(path) if path.is_file() else {"benchmark": name, "settings": {}, "rows": []}
    if old["benchmark"] != name:
        raise SystemExit(f"{path} holds the results of {old['benchmark']!r}: choose another file for {name!r}")
    return {
        "format": FORMAT,
        "code": CODE,
        "benchmark": name,
        "settings": updated(old["settings"], settings | machine),
        "rows": old["rows"],
    }


def merged(rows: list[Row], row: Row) -> list[Row]:
    """The rows with this one in the place of its like, or at the end.

    >>> merged([{"method": "a", "nll": 1.0}, {"method": "b", "nll": 1.0}], {"method": "a", "nll": 2.0})
    [{'method': 'a', 'nll': 2.0}, {'method': 'b', 'nll': 1.0}]
    """
    places = [i for i, other in enumerate(rows) if key(other) == key(row)] or [len(rows)]
    return [*rows[: places[0]], row, *rows[places[0] + 1 :]]


def key(row: Row) -> list[Any]:
    """What tells a row from all others of its benchmark."""
    return [row.get(column) for column in KEY]


def updated(old: dict[str, Any], new: dict[str, Any], depth: int = 3) -> dict[str, Any]:
    """The old settings with the new ones in their place: by topic, network and method, where a dict goes so deep.

    >>> updated({"methods": {"mlp": {"adamw": {"lr": 1}}}}, {"methods": {"mlp": {"sgd": {"lr": 2}}}})
    {'methods': {'mlp': {'adamw': {'lr': 1}, 'sgd': {'lr': 2}}}}
    """
    both = {key for key in new if depth > 1 and isinstance(new[key], dict) and isinstance(old.get(key), dict)}
    return old | {key: updated(old[key], value, depth - 1) if key in both else value for key, value in new.items()}


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes the file whole or not at all; a list of numbers takes a line."""
    text = _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", json.dumps(content, indent=1))
    with replacing(path) as beside:
        beside.write_text(text + "\n")


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
