"""The figures of the thesis' curve: predictives of deeper and wider networks, and coverage against credible level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from benchmarks.coverage import INPUTS, LEVELS, REGIONS, SIGMAS, coverage
from benchmarks.curve_tables import PREDICTIVE_TITLES
from benchmarks.curves import curve, line, points
from benchmarks.panels import OURS, REFERENCE, TRUTH, dress_plain, make_panels, settle
from benchmarks.report import Row
from benchmarks.results import committed
from benchmarks.synthetic import DRAWN, NETS

SIDES = {"left": ("x < -10", TRUTH), "inside": ("training range", "#009E73"), "right": ("x > 10", OURS)}


def synthetic(results: Path) -> Figure | None:
    """A panel for each network: mean and 1, 2, 3 sigma of the predictive, the curve and the training points; first seed."""
    rows = {row["net"]: row for row in reversed(committed("synthetic", results))}
    if not rows:
        return None
    names = [name for name in NETS if name in rows]
    figure, axes = make_panels(len(names))
    for own, name in zip(axes, names, strict=True):
        _predictive(own, name, rows[name])
    settle(figure)
    return figure


def coverage_of_levels(results: Path) -> Figure | None:
    """A row for each predictive: coverage against credible level, and the coverage of 1, 2 and 3 sigma against the input."""
    rows = [row for row in committed("coverage", results) if "needed" in row]
    found = {method: [row for row in rows if row["method"] == method] for method in PREDICTIVE_TITLES}
    found = {method: own for method, own in found.items() if own}
    if not found:
        return None
    figure, axes = make_panels(len(found) * (1 + len(REGIONS)), columns=1 + len(REGIONS))
    for place, (method, own) in enumerate(found.items()):
        _coverage(axes[place * (1 + len(REGIONS)) :], f"{PREDICTIVE_TITLES[method]}, {len(own)} networks", own)
    settle(figure)
    return figure


def _coverage(axes: Any, title: str, rows: list[Row]) -> None:
    axes[0].plot([0, 1], [0, 1], color=REFERENCE, linestyle=":")
    for region, (side, colour) in SIDES.items():
        axes[0].plot(LEVELS, coverage(rows, region), color=colour, label=side)
    axes[0].legend(fontsize=7, frameon=False)
    dress_plain(axes[0], title, "credible level", "coverage of the curve")
    for own, region in zip(axes[1:], REGIONS, strict=False):
        _sigmas(own, rows, region)


def _predictive(axes: Any, name: str, row: Row) -> None:
    net = NETS[name]
    x, mean, deviation = line(*net.drawn, DRAWN)[:, 0], torch.tensor(row["mean"]), torch.tensor(row["deviation"])
    for sigma in (3, 2, 1):
        axes.fill_between(x, mean - sigma * deviation, mean + sigma * deviation, color=OURS, alpha=0.15, linewidth=0)
    axes.plot(x, mean, color=OURS)
    axes.plot(x, curve(x), color=TRUTH, linewidth=0.9, linestyle="--")
    axes.plot(*points(row["limit"], *net.ends), ".", color="black", markersize=1.5)
    axes.set_ylim(-1.5, 3.0)
    dress_plain(axes, net.title, "x", f"y (log-likelihood {row['log_likelihood']:.2f})")


def _sigmas(axes: Any, rows: list[Row], region: str) -> None:
    needed = torch.tensor([row["needed"][region] for row in rows])
    for (name, level), shade in zip(SIGMAS.items(), (1.0, 0.7, 0.4), strict=True):
        covered = (needed <= level).double().mean(0)
        axes.plot(line(*REGIONS[region], INPUTS)[:, 0], covered, color=OURS, alpha=shade, label=f"{name[-1]} sigma")
        axes.axhline(level, color=REFERENCE, linewidth=0.6, linestyle=":")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=7, frameon=False)
    dress_plain(axes, SIDES[region][0], "x", "share of networks that cover the curve")
