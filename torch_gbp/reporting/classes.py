"""Drawings of class probabilities: reliability, confidence, risk against coverage, ROC of other inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_gbp.reporting.canvas import BAND, DASHES, INK, RIGHT, WRONG, colour
from torch_gbp.reporting.curves import Array, Reliability, thinned

Drawing = Callable[[Any], None]
CONFIDENCE_BINS = 20


def reliability_diagram(found: Reliability, number: int) -> Drawing:
    """Share of right predictions against confidence, over the bars of what chance alone makes of a calibrated model."""

    def draw(axes: Any) -> None:
        x, y, shown = found.confidence, found.accuracy, colour(number)
        outside = (y < found.low) | (y > found.high)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
        axes.vlines(x, found.low, found.high, color=BAND, linewidth=7, zorder=1)
        axes.plot(x, y, color=shown, linewidth=1.2, zorder=2)
        size = 14 + 70 * np.sqrt(found.count / found.count.max())
        axes.scatter(x, y, size, np.where(outside, shown, "none"), edgecolors=shown, linewidths=1.6, zorder=3)
        start = max(0.0, np.floor(10 * min(x.min(), y.min(), found.low.min()) - 0.2) / 10)
        axes.set(xlim=(start, 1.02), ylim=(start, 1.03), xlabel="confidence", ylabel="share that is right")

    return draw


def confidence_histogram(confidence: Array, right: NDArray[np.bool_], outside: Sequence[Array]) -> Drawing:
    """How many examples have which confidence: right ones, wrong ones before them, and those of other inputs as lines."""

    def draw(axes: Any) -> None:
        start = np.floor(20 * min([confidence.min(), *(own.min() for own in outside)])) / 20
        edges = np.linspace(start, 1, CONFIDENCE_BINS + 1)
        axes.hist(confidence[right], edges, color=RIGHT, rwidth=0.92)
        axes.hist(confidence[~right], edges, color=WRONG, rwidth=0.5)  # in front: on a logarithmic scale stacked heights mislead
        for number, own in enumerate(outside):
            counts = np.histogram(own, edges)[0]
            axes.stairs(counts, edges, color=INK, linestyle=(0, DASHES[number % len(DASHES)]), linewidth=1.3)
        axes.set(yscale="log", ylim=(0.7, None), xlim=(start, 1), xlabel="confidence", ylabel="examples")
        axes.yaxis.set_major_formatter("{x:g}")

    return draw


def risk_curves(curves: Sequence[tuple[Array, Array]]) -> Drawing:
    """Share of errors among the kept examples against their share of all, one line a model."""

    def draw(axes: Any) -> None:
        for number, (coverage, risk) in enumerate(curves):
            x, y = thinned(coverage, risk)
            axes.plot(100 * x, 100 * y, color=colour(number))
        axes.set(xlim=(0, 101), ylim=(0, None), xlabel="examples that are kept, %", ylabel="errors among them, %")

    return draw


def roc_curves(curves: Mapping[int, tuple[Array, Array]]) -> Drawing:
    """Share of the other inputs that are found against share of the own ones that are accused, by the models' numbers."""

    def draw(axes: Any) -> None:
        axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle="--")
        for number, (accused, found) in curves.items():
            x, y = thinned(accused, found)
            axes.plot(100 * x, 100 * y, color=colour(number))
        axes.set(xlim=(-1, 101), ylim=(-1, 101), xlabel="own examples accused, %", ylabel="others found, %")

    return draw
