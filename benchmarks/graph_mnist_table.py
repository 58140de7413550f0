"""The table and the figure of one pass over images: accuracy by the number of images, a column or a line for each method."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.graph_mnist import PUBLISHED
from benchmarks.labels import Label, label_ends
from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.panels import OURS, REFERENCE, TRUTH, dress_plain, make_panels, settle
from benchmarks.report import Row
from benchmarks.results import RESULTS, committed
from benchmarks.summary import estimate

DATA = {"mnist": "MNIST", "mnist_wide": "MNIST, pool 8 x 8", "fashion": "FashionMNIST", "cifar10": "CIFAR-10"}
FULL = 45_000  # images; fewer are a part of the data set, for which no figure is published
CROWDED = 5  # sizes on an axis, of which only every other is written
ROOM = 100  # factor by which the axis of images goes on, for the names at the lines' ends


class Look(NamedTuple):
    """A method's name, and how its line is drawn."""

    title: str
    colour: str
    style: str = "-"


LOOKS = {
    "graph": Look("factor graph", OURS),
    "graph_random": Look("random layers", OURS, "--"),
    "graph_pixels": Look("weights on pixels", OURS, "-."),
    "graph_joint": Look("joint filters", OURS, ":"),
    "linear_adam": Look("linear, Adam", REFERENCE),
    "cnn_adam": Look("CNN, Adam", TRUTH),
    "cnn_adam_replay": Look("CNN, Adam, replay", TRUTH, "--"),
}


def table(rows: list[Row]) -> str:
    """A line for each data set and number of images: accuracies in percent, mean and standard error over the seeds."""
    if not rows:
        return NOT_RUN
    methods = [method for method in LOOKS if any(row["method"] == method for row in rows)]
    headings = ["data", "images", *(LOOKS[method].title for method in methods), "published", "factor graph, CPU seconds"]
    return grid(headings, [_line(rows, name, limit, methods) for name in DATA for limit in _limits(rows, name)])


def figure(results: Path = RESULTS) -> Figure | None:
    """A panel for each data set of several sizes: accuracy against images, with the published one of the whole set."""
    rows = committed("graph_mnist", results)
    names = [name for name in DATA if len(_limits(rows, name)) > 1]
    if not names:
        return None
    made, axes = make_panels(len(names), columns=2)
    ends = [_panel(own, name, rows) for own, name in zip(axes, names, strict=True)]
    settle(made)
    for own, labels in zip(axes, ends, strict=True):
        label_ends(own, labels)
    return made


def _line(rows: list[Row], name: str, limit: int, methods: list[str]) -> list[str]:
    found = [_own(rows, name, limit, method) for method in methods]
    published = f"{PUBLISHED[name]:g}" if limit >= FULL and name in PUBLISHED else "-"
    seconds = number(_own(rows, name, limit, "graph"), "processor_seconds", 0)
    return [DATA[name], f"{limit:,}", *(number(own, "accuracy", 2, 100) for own in found), published, seconds]


def _limits(rows: list[Row], name: str) -> list[int]:
    return sorted({row["limit"] for row in rows if row["net"] == name})


def _own(rows: list[Row], name: str, limit: int, method: str) -> list[Row]:
    return [row for row in rows if (row["net"], row["limit"], row["method"]) == (name, limit, method)]


def _panel(axes: Any, name: str, rows: list[Row]) -> list[Label]:
    """Draws the lines of a data set that reach all sizes, the others are in the table; the names to be written at their ends."""
    limits, ends = _limits(rows, name), []
    for method, look in LOOKS.items():
        found = {limit: estimate(own, "accuracy") for limit in limits if (own := _own(rows, name, limit, method))}
        points = [(limit, 100 * own.mean, 100 * own.error) for limit, own in found.items() if own is not None]
        if points and points[-1][0] == limits[-1]:
            x, y, errors = zip(*points, strict=True)
            drawn = {"color": look.colour, "linestyle": look.style, "marker": "o", "markersize": 3.5, "linewidth": 1.2}
            axes.errorbar(x, y, errors, elinewidth=0.9, **drawn)
            ends.append(Label(look.title, x[-1], y[-1], look.colour))
    if limits[-1] >= FULL and name in PUBLISHED:
        axes.plot(limits[-1], PUBLISHED[name], "*", color="black", markersize=8, zorder=3)
        ends.append(Label("published", limits[-1], PUBLISHED[name], "black"))
    dress_plain(axes, f"{DATA[name]}, one pass", "training images", "accuracy (%)")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(limits if len(limits) < CROWDED else limits[::-2][::-1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(right=ROOM * limits[-1])
    return ends
