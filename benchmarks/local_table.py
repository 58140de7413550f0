"""The tables of block-local learning: ways of giving credit beside each other, and one part changed at a time."""

from __future__ import annotations

from benchmarks.local.methods import TITLES
from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.report import Row

DATA = {"fashion": "FashionMNIST", "cifar10": "CIFAR-10"}
HEADINGS = ["data", "method", "blocks", "accuracy", "NLL", "activations kept", "peak memory", "training"]


def table(rows: list[Row]) -> str:
    """Mean and standard error over the seeds of every method, for every data set, number of images and passes."""
    if not rows:
        return NOT_RUN
    cases = list(dict.fromkeys((row["data"], row["limit"], row["epochs"], row["method"], row["blocks"]) for row in rows))
    return grid(HEADINGS, [_line(rows, *case) for case in cases])


def _line(rows: list[Row], data: str, limit: int, epochs: int, method: str, blocks: int) -> list[str]:
    case = (data, limit, epochs, method, blocks)
    own = [row for row in rows if (row["data"], row["limit"], row["epochs"], row["method"], row["blocks"]) == case]
    return [
        f"{DATA[data]}, {limit:,} images, {epochs} passes",
        TITLES.get(method, method),
        str(blocks),
        number(own, "accuracy", 2, 100, unit=" %"),
        number(own, "nll", 4),
        number(own, "activation_mb", 1, spread=False, unit=" MB"),
        number(own, "peak_memory_mb", 1, spread=False, unit=" MB"),
        number(own, "train_seconds", 0, spread=False, unit=" s"),
    ]


def search_table(rows: list[Row]) -> str:
    """One line for every method, its held-out accuracy at every rate, the best in bold."""
    if not rows:
        return NOT_RUN
    rates = sorted({row["settings"]["lr"] for row in rows})
    found = {(row["method"], row["settings"]["lr"]): row["accuracy"] for row in rows}
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        best = max(found[method, rate] for rate in rates if (method, rate) in found)
        own = [found.get((method, rate)) for rate in rates]
        lines.append([TITLES[method], *(_percent(accuracy, bold=accuracy == best) for accuracy in own)])
    return grid(["method", *(f"rate {rate:g}" for rate in rates)], lines)


def _percent(accuracy: float | None, *, bold: bool) -> str:
    if accuracy is None:
        return "-"
    return f"**{100 * accuracy:.2f} %**" if bold else f"{100 * accuracy:.2f} %"


def pipeline_table(rows: list[Row]) -> str:
    """One line for the loop in one process and one for each process of the pipeline."""
    if not rows:
        return NOT_RUN
    lines = [[f"{DATA[row['data']]}, {row['limit']:,} images", row["method"], *_stage(row)] for row in rows]
    return grid(["data", "process", "time", "idle", "activations kept"], lines)


def _stage(row: Row) -> list[str]:
    idle = f"{100 * row['idle_share']:.0f} %" if "idle_share" in row else "-"
    return [f"{row['train_seconds']:.1f} s", idle, number([row], "activation_mb", 1, unit=" MB")]
