"""The figures of XOR and of the curve: what the network says between the points, by both methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from benchmarks.panels import OURS, REFERENCE, TRUTH, dress_plain, make_panels, settle
from benchmarks.report import Row
from benchmarks.results import committed
from benchmarks.toys import curve, xor
from benchmarks.toys.learning import TITLES

SHOWN = 4  # seeds with a panel of their own
CLASSES = ListedColormap(["#CFE3F1", "#F6D9C6"])
LINES = {"graph_exact": (REFERENCE, 2.2, "-"), "graph": (OURS, 1.2, "-")}  # colour, width, style


def xor_map(results: Path) -> Figure | None:
    """A row for each method, a column for each of the first seeds: the class of every point of the grid."""
    rows = committed("graph_xor", results)
    seeds = sorted({row["seed"] for row in rows})[:SHOWN]
    shown = [row for method in TITLES for seed in seeds for row in rows if (row["method"], row["seed"]) == (method, seed)]
    if not shown:
        return None
    figure, axes = make_panels(len(shown), columns=len(seeds))
    for own, row in zip(axes, shown, strict=True):
        _classes(own, row)
    settle(figure)
    return figure


def curve_fits(results: Path) -> Figure | None:
    """A panel for each seed: the points, the true function, and the curves of both methods."""
    rows = committed("graph_regression", results)
    seeds = sorted({row["seed"] for row in rows})
    if not seeds:
        return None
    figure, axes = make_panels(len(seeds))
    for own, seed in zip(axes, seeds, strict=True):
        _fits(own, seed, {row["method"]: row for row in rows if row["seed"] == seed})
    axes[0].legend(fontsize=7, frameon=False, loc="upper center")
    settle(figure)
    return figure


def _classes(axes: Any, row: Row) -> None:
    drawn = [[int(cell) for cell in line] for line in zip(*row["map"], strict=True)]  # the second input upwards
    half = xor.EDGE * xor.SIDE / (xor.SIDE - 1)  # cells are drawn around the grid's points
    axes.imshow(drawn, cmap=CLASSES, vmin=0, vmax=1, origin="lower", extent=(-half, half, -half, half))
    for label, colour in enumerate((TRUTH, OURS)):
        x, y = xor.POINTS[label == xor.LABELS].T
        axes.plot(x, y, "o", color=colour, markersize=6, markeredgecolor="white")
    dress_plain(axes, f"{TITLES[row['method']]}, seed {row['seed']}", "first input", "second input")
    axes.grid(visible=False)
    axes.set_xticks([-1, 0, 1])
    axes.set_yticks([-1, 0, 1])


def _fits(axes: Any, seed: int, rows: dict[str, Row]) -> None:
    data = curve.points(seed)
    axes.plot(data.x, data.y, ".", color="black", markersize=2.5, label="points")
    axes.plot(data.drawn, data.truth, color=TRUTH, linewidth=0.9, linestyle="--", label="true function")
    for method, row in rows.items():
        colour, width, style = LINES[method]
        axes.plot(data.drawn, row["fit"], color=colour, linewidth=width, linestyle=style, label=TITLES[method])
    low, high = float(data.y.min()), float(data.y.max())
    axes.set_ylim(low - 0.1, high + 0.35 * (high - low))
    told = ", ".join(f"{row['rmse']:.3f}" for row in rows.values())
    dress_plain(axes, f"seed {seed}", f"x (RMSE {told})", "y")
