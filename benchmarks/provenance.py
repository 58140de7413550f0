"""The table of all committed result files: what was run, on what, how long, and the command that renews it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.markdown import grid
from benchmarks.results import RESULTS, Row, read

CLOCKS = ("train_seconds", "processor_seconds", "cpu_seconds")  # of a row: the first that it has
HEADINGS = ("file", "rows", "methods", "seeds", "hours of training", "code", "torch", "threads", "machine", "renewed by")


def runs(folder: Path = RESULTS) -> str:
    """A line for every file, by name."""
    return grid(HEADINGS, [line(path) for path in sorted(folder.glob("*.json"))])


def line(path: Path) -> list[str]:
    """The cells of a file; a dash for what it does not say."""
    content = read(path)
    rows, settings = content["rows"], content["settings"]
    seconds = [own for row in rows if (own := clock(row)) is not None]
    said = [str(settings.get(key, "-")) for key in ("torch", "threads", "machine")]
    return [
        f"`{path.name}`",
        str(len(rows)),
        str(len({row["method"] for row in rows if "method" in row}) or "-"),
        str(len({row["seed"] for row in rows if "seed" in row}) or "-"),
        f"{sum(seconds) / 3600:.2f}" if seconds else "-",
        str(content.get("code", 1)),
        *said,
        f"`python -m benchmarks {content['benchmark']}`",
    ]


def clock(row: Row) -> float | None:
    """Seconds that a row took to train; None if it does not say."""
    return next((float(row[key]) for key in CLOCKS if key in row), None)
