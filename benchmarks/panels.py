"""The panels of the figures: their grid, the colours of the methods, points with error bars, and readable axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from benchmarks.methods import METHODS
from benchmarks.summary import Estimate

DPI, SIZE, COLUMNS = 150, (3.9, 3.2), 3  # pixels per inch, inches of a panel, panels side by side
# Okabe & Ito's colours, told apart by colour-blind readers too, and a grey: each method has those of its place in METHODS.
_OWN, _BLACK, _GREY = "#D55E00", "#000000", "#8C8C8C"
COLOURS = (_OWN, _OWN, _OWN, _OWN, _BLACK, _BLACK, _GREY, _GREY, "#0072B2", "#009E73", "#CC79A7", "#E69F00")
OURS, TRUTH, REFERENCE = "#D55E00", "#0072B2", "#8C8C8C"  # where there are no methods to tell apart
MARKERS = "osD^ososoooo"  # one family, one colour: torch_gbp's four, AdamW's two, SGD's two
LINES = ("-", "--", "-.", ":", "-", "--", "-", "--", "-", "-", "-", "-")
NARROW = 6  # a logarithmic axis whose ends are closer than this factor gets ticks at even distances


class Score(NamedTuple):
    """What is drawn upwards, less is better: the figure's name, its title, the key of the rows, and a linear map of it."""

    name: str
    title: str
    key: str
    scale: float = 1
    offset: float = 0


SCORES = (
    Score("error", "test error, 100 - accuracy (%)", "accuracy", -100, 100),
    Score("nll", "negative log likelihood", "nll"),
    Score("ece", "calibration error (ECE)", "ece"),
)


def make_panels(count: int, columns: int = COLUMNS) -> tuple[Figure, list[Any]]:
    """A figure with so many panels, row by row, that can measure its texts."""
    rows, columns = -(-count // columns), min(count, columns)
    figure = Figure(figsize=(SIZE[0] * columns, SIZE[1] * rows), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def settle(figure: Figure) -> None:
    """Fixes the layout, so that labels can be placed by pixels."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def colour(method: str) -> str:
    """The method's colour in every figure."""
    return COLOURS[list(METHODS).index(method)]


def error_bars(axes: Any, method: str, xs: Sequence[Estimate], ys: Sequence[Estimate], joined: bool = False) -> None:
    """A method's points, with a standard error in each direction; torch_gbp before the others."""
    place = list(METHODS).index(method)
    (x, x_errors), (y, y_errors) = zip(*xs, strict=True), zip(*ys, strict=True)
    axes.errorbar(
        x,
        y,
        y_errors,
        x_errors,
        color=colour(method),
        marker=MARKERS[place],
        linestyle=LINES[place] if joined else "",
        linewidth=1.8 if place == 0 else 1.0,
        elinewidth=0.9,
        markersize=3.5 if joined else 4.5,
        zorder=3 - place / len(METHODS),
    )


def dress(axes: Any, title: str, x_title: str, x_ticks: Sequence[float], score: Score) -> None:
    """Titles, and logarithmic axes with plain numbers, along x at these ticks."""
    dress_plain(axes, title, x_title, score.title)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(x_ticks))
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(MaxNLocator(5) if high < NARROW * low else LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def dress_plain(axes: Any, title: str, x_title: str, y_title: str) -> None:
    """Titles, and linear axes."""
    axes.set_title(title, loc="left", fontsize=9, weight="bold")
    axes.set_xlabel(x_title, fontsize=8)
    axes.set_ylabel(y_title, fontsize=8)
    axes.tick_params(labelsize=7.5)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
