"""Tables from the committed result files: `python -m benchmarks.tables` writes them, nothing is typed by hand.

A table stands between `<!-- results: NAME -->` and `<!-- end -->` and is made from benchmarks/results/NAME.json;
`<!-- results: NAME 640 -->` takes the rows of 640 training images alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import (
    ablation_table,
    curve_tables,
    graph_ablation,
    graph_cost,
    graph_iterations,
    graph_mnist_table,
    local_table,
    posterior_table,
    thesis_table,
    uci_table,
    video_table,
    widening_table,
)
from benchmarks.anynet import table as anynet_table
from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.methods import METHODS
from benchmarks.report import Row
from benchmarks.results import RESULTS, committed
from benchmarks.robust import table as robust_table
from benchmarks.summary import case_title, gather
from benchmarks.tasks import TASKS
from benchmarks.toys import table as toys_table

ROOT = Path(__file__).parent.parent
PLACES = (ROOT / "docs" / "results.md", ROOT / "docs" / "local_learning.md", ROOT / "benchmarks" / "README.md")
OTHERS: dict[str, Callable[[list[Row]], str]] = {  # benchmarks that are no comparison of image classifiers
    "ablation": ablation_table.table,
    "anynet": anynet_table.table,
    "coverage": curve_tables.coverage_table,
    "graph_ablation": graph_ablation.table,
    "graph_cost": graph_cost.table,
    "graph_iterations": graph_iterations.table,
    "graph_mnist": graph_mnist_table.table,
    "graph_regression": toys_table.curve_table,
    "graph_video": video_table.table,
    "graph_xor": toys_table.xor_table,
    "local": local_table.table,
    "local_ablation": local_table.table,
    "local_pipeline": local_table.pipeline_table,
    "local_search": local_table.search_table,
    "posterior": posterior_table.table,
    "posterior_reference": posterior_table.reference_table,
    "robust": robust_table.table,
    "synthetic": curve_tables.synthetic_table,
    "thesis": thesis_table.table,
    "uci": uci_table.table,
    "widening": widening_table.table,
}
_PLACE = re.compile(r"(<!-- results: (\w+)(?: (\d+))? -->\n).*?(<!-- end -->)", re.DOTALL)


class Column(NamedTuple):
    """A column of the tables: its heading, the key of the rows, a factor, how the numbers are written, and when it is shown."""

    heading: str
    key: str
    scale: float = 1
    digits: int = 4
    unit: str = ""
    spread: bool = True  # with the standard error
    always: bool = True  # else in tables with a row that has the key


def columns(name: str) -> list[Column]:
    """The columns of a benchmark's table; those of the OOD sets differ."""
    scores = [Column("accuracy", "accuracy", 100, 2, " %"), *_with_temperature("NLL", "nll"), *_with_temperature("ECE", "ece")]
    ood = [Column(f"OOD AUROC {images}", key, digits=3) for key, images in TASKS[name].ood.items()]
    training = Column("training / AdamW's", "train_ratio", digits=2, unit="x")
    predicting = Column("predict", "predict_seconds", digits=2, unit=" s", spread=False)
    return [*scores, *ood, training, predicting, Column("memory", "peak_memory_mb", digits=1, unit=" MB", spread=False)]


def table(name: str, limit: int | None = None, folder: Path = RESULTS) -> str:
    """Markdown table of a result file."""
    rows = [row for row in committed(name, folder) if limit in (None, row["limit"])]
    return OTHERS.get(name, partial(comparison, name))(rows)


def comparison(name: str, rows: list[Row]) -> str:
    """Mean +- standard error of the seeds, for every network and method."""
    if not rows:
        return NOT_RUN
    shown = [column for column in columns(name) if column.always or any(column.key in row for row in rows)]
    headings = ["net", "method", *(column.heading for column in shown)]
    cases = ((case_title(name, case), methods) for case, methods in gather(rows).items())
    lines = [[title, _title(method), *_cells(own, shown)] for title, methods in cases for method, own in methods.items()]
    return grid(headings, lines)


def fill(text: str) -> str:
    """The text with every table made anew."""
    return _PLACE.sub(lambda place: place[1] + table(place[2], int(place[3]) if place[3] else None) + place[4], text)


def _with_temperature(heading: str, key: str) -> list[Column]:
    return [Column(heading, key), Column(f"{heading} with a held-out temperature", f"{key}_tempered", always=False)]


def _title(method: str) -> str:
    title = METHODS[method].title
    return f"**{title}**" if method == "gbp" else title


def _cells(rows: list[Row], shown: list[Column]) -> list[str]:
    return [number(rows, column.key, column.digits, column.scale, column.spread, column.unit) for column in shown]


if __name__ == "__main__":
    for path in PLACES:
        path.write_text(fill(path.read_text()))
