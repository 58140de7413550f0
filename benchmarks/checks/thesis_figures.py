"""The thesis' figures 5.4 and 5.6 to 5.12: coverage, confidence, calibration, relative calibration, ROC curves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.checks import coverage as covered
from benchmarks.checks.thesis_curves import BINS, DISCARDED, FALSE
from benchmarks.checks.thesis_nets import NETS, PUBLISHED, TABLE
from benchmarks.checks.thesis_tables import METHODS
from benchmarks.drawing import GREEN, LOOKS, OURS, REFERENCE, TRUTH, dress, make_panels
from benchmarks.results import Row, committed, matching

SIDES = {"left": ("x < -10", TRUTH), "inside": ("training range", GREEN), "right": ("x > 10", OURS)}
ROC = "true_positives_ood_auroc"
ORDERS = ("averaged", "plain", "searched")  # those that are drawn
Draw = Callable[[Any, Row, dict[str, Any]], None]


def coverage(results: Path) -> Figure | None:
    """A panel for each prior and predictive: the share of networks whose interval covers, against the credible level."""
    rows = [row for row in committed("coverage", results) if "needed" in row]
    cases = [(net, method) for net in covered.CASES for method in covered.PREDICTIVES]
    found = {case: own for case in cases if (own := matching(rows, net=case[0], method=case[1]))}
    if not found:
        return None
    figure, axes = make_panels(len(found))
    for own, ((net, method), networks) in zip(axes, found.items(), strict=True):
        own.plot([0, 1], [0, 1], color=REFERENCE, linestyle=":")
        for region, (side, colour) in SIDES.items():
            own.plot(covered.LEVELS, covered.coverage(networks, region), color=colour, label=side)
        own.legend(fontsize=7, frameon=False)
        case = covered.CASES[net]
        dress(
            own,
            f"{case.function}\n{case.title}\n{covered.TITLES[method]}",
            "credible level",
            f"coverage, {len(networks)} networks",
        )
    return figure


def confidence(results: Path) -> Figure | None:
    """Figure 5.6: histograms of the largest class probability."""
    edges = [(place + 0.5) / BINS for place in range(BINS)]

    def draw(axes: Any, row: Row, look: dict[str, Any]) -> None:
        axes.plot(edges, row["curves"]["share"], drawstyle="steps-mid", **look)
        axes.set_yscale("log")

    return _panels(results, "share", draw, ("largest class probability", "share of the test images"))


def calibration(results: Path) -> Figure | None:
    """Figure 5.7: accuracy against confidence, with the thesis' calibration error of whole probability vectors."""

    def draw(axes: Any, row: Row, look: dict[str, Any]) -> None:
        own = row["curves"]
        points = [pair for pair in zip(own["confidence"], own["accuracy"], strict=True) if None not in pair]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=2.5, **look)
        axes.plot([0, 1], [0, 1], color=REFERENCE, linewidth=0.5)

    return _panels(results, "confidence", draw, ("largest class probability", "accuracy"), "vector_ece")


def relative(results: Path) -> Figure | None:
    """Figures 5.8 to 5.10: accuracy on what is left when the least certain predictions are discarded."""

    def draw(axes: Any, row: Row, look: dict[str, Any]) -> None:
        axes.plot(DISCARDED, row["curves"]["kept_accuracy"], **look)
        axes.set_ylim(0.85, 1.003)

    return _panels(
        results, "kept_accuracy", draw, ("share discarded, the least certain", "accuracy on the others"), "relative_auc"
    )


def roc(results: Path) -> Figure | None:
    """Figures 5.11 and 5.12: MNIST test images told from FashionMNIST by the entropy."""

    def draw(axes: Any, row: Row, look: dict[str, Any]) -> None:
        axes.plot(FALSE, row["curves"][ROC], **look)

    return _panels(results, ROC, draw, ("false positives, FashionMNIST", "true positives, MNIST"), "ood_auroc")


def _panels(results: Path, key: str, draw: Draw, axis_titles: tuple[str, str], score: str | None = None) -> Figure | None:
    """A panel for each network and number of images of which curves were kept, a line for each method; first seed."""
    rows = [row for row in committed("thesis", results) if key in row.get("curves", {}) and row["order"] in ORDERS]
    sizes = [(net, limit) for net in TABLE for limit in sorted({row["limit"] for row in matching(rows, net=net)})]
    if not sizes:
        return None
    figure, axes = make_panels(len(sizes))
    for own, (net, limit) in zip(axes, sizes, strict=True):
        for method in METHODS:
            for row in matching(rows, net=net, limit=limit, method=method)[:1]:
                colour, line = LOOKS[method]
                draw(own, row, {"color": colour, "linestyle": line, "linewidth": 1.2, "label": _label(row, score)})
        own.legend(fontsize=6.5, frameon=False)
        dress(own, f"{NETS[net].title}, {limit:,} images", *axis_titles)
    return figure


def _label(row: Row, score: str | None) -> str:
    """The method, its score, and the published one where the text tells it."""
    title = METHODS[row["method"]]
    if score is None:
        return title
    told = matching(PUBLISHED["figures"], net=row["net"], limit=row["limit"], method=row["method"], score=score)
    return f"{title}: {row[score]:.4f}" + "".join(f" (published {own['value']:.4f})" for own in told)


MAKERS = {
    "coverage": coverage,
    "thesis_confidence": confidence,
    "thesis_calibration": calibration,
    "thesis_relative": relative,
    "thesis_roc": roc,
}
