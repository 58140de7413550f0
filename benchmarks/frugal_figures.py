"""The figures of little, and of corrupted images: scores by rate, by seconds of training, and by severity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from benchmarks import corruptions, passes, untuned
from benchmarks.drawing import LOOKS, dress, make_panels, plain_numbers
from benchmarks.frugal_tables import as_they_come, by_multiple, points
from benchmarks.methods import METHODS, OURS
from benchmarks.results import Row, committed, estimate, matching
from benchmarks.tasks import TASKS

TEMPERED = {"nll_tempered": "NLL, held-out temperature", "ece_tempered": "ECE, held-out temperature"}

LARGEST = 3.0  # NLL that is drawn; a guess among ten classes has 2.3
SHORT = {"adamw_tail": "AdamW, averaged", "sgd_momentum": "SGD, averaged"}


def untuned_rates(results: Path) -> Figure | None:
    """A panel for each network: a row of dots for each method, its NLL at five rates, and a bar at their median."""
    rows = committed("untuned", results)
    nets = [name for name in untuned.PORTIONS if matching(rows, net=name)]
    if not nets:
        return None
    figure, axes = make_panels(len(nets), 2, size=(5.4, 2.6))
    for own, net in zip(axes, nets, strict=True):  # each with its own names, as not all methods have run on all
        _dots(own, matching(rows, net=net))
        dress(own, untuned.PORTIONS[net].title, f"NLL at 0.1 (pale) to 10 (dark) times the usual rate; {LARGEST:g}: or more", "")
    return figure


def _dots(axes: Any, rows: list[Row]) -> None:
    """A row for each method, and a dotted line at torch_gbp's worst."""
    methods = [name for name in untuned.ENTRANTS if matching(rows, method=name)][::-1]
    for height, method in enumerate(methods):
        own, colour = matching(rows, method=method), LOOKS[method][0]
        for place, multiple in enumerate(untuned.MULTIPLES):
            if found := estimate(matching(own, settings={"multiple": multiple}), "nll"):
                at, shade = min(found.mean, LARGEST), (1 + place) / len(untuned.MULTIPLES)
                axes.plot(at, height, "o", color=colour, alpha=shade, markersize=7, markeredgecolor=colour)
        axes.plot(min(by_multiple(own, "nll").median, LARGEST), height, "|", color=colour, markersize=17, markeredgewidth=1.6)
    ours = [by_multiple(own, "nll").worst for name in OURS if (own := matching(rows, method=name))]
    for worst, line in zip(ours, (":", "--"), strict=False):
        axes.axvline(worst, color=LOOKS["gbp"][0], linewidth=0.8, linestyle=line)
    axes.set_yticks(range(len(methods)), [SHORT.get(method, untuned.ENTRANTS[method].title) for method in methods])
    axes.set_xscale("log")
    plain_numbers(axes.xaxis)


def cost(results: Path) -> Figure | None:
    """A panel for each network: NLL against the seconds of training, a point for each number of passes."""
    rows = committed("cost", results)
    nets = [name for name in passes.COSTS if matching(rows, net=name)]
    if not nets:
        return None
    figure, axes = make_panels(len(nets), 2, size=(4.6, 3.4))
    for own, net in zip(axes, nets, strict=True):
        for method, entrant in passes.COST.entrants.items():
            if found := points(matching(rows, net=net, method=method)):
                colour, line = LOOKS[method]
                own.plot(*zip(*found, strict=True), color=colour, linestyle=line, marker="o", markersize=4, label=entrant.title)
        own.set(xscale="log", yscale="log")
        plain_numbers(own.xaxis)
        plain_numbers(own.yaxis)
        dress(
            own,
            f"{passes.COSTS[net].title}, 10,000 images",
            "processor seconds of training (1, 2, 4, 8 passes)",
            TEMPERED["nll_tempered"],
        )
    axes[0].legend(fontsize=7.5, frameon=False)
    return figure


def corrupted(results: Path) -> Figure | None:
    """A row of panels for each network: the scores against the severity, means over the kinds, a line for each method."""
    rows = corruptions.mean_over_kinds(as_they_come(committed("corruptions", results)))
    panels = [(net, score) for net in dict.fromkeys(row["net"] for row in rows) for score in TEMPERED]
    if not panels:
        return None
    figure, axes = make_panels(len(panels), 2, size=(4.6, 3.4))
    for own, (net, score) in zip(axes, panels, strict=True):
        for method, entrant in METHODS.items():
            _by_severity(own, matching(rows, net=net, method=method), score, entrant.title)
        own.xaxis.set_major_locator(FixedLocator([0, *corruptions.SEVERITIES]))
        title = f"CIFAR-10, {TASKS[corruptions.TASK].nets[net].title}"
        dress(own, title, "severity of 15 corruptions (0: clean)", TEMPERED[score])
    shown = {label: handle for own in axes for handle, label in zip(*own.get_legend_handles_labels(), strict=True)}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, fontsize=7.5, frameon=False)
    return figure


def _by_severity(axes: Any, rows: list[Row], score: str, title: str) -> None:
    found = {own: estimate(matching(rows, severity=own), score) for own in sorted({row["severity"] for row in rows})}
    points = [(severity, own.mean, own.error) for severity, own in found.items() if own]
    if points:
        colour, line = LOOKS[rows[0]["method"]]
        x, y, errors = zip(*points, strict=True)
        axes.errorbar(x, y, errors, color=colour, linestyle=line, marker="o", markersize=3, label=title)
