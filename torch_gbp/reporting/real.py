"""Drawings of real targets: predictive bands, PIT, coverage of intervals, errors against predicted deviations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from torch_gbp.reporting.canvas import BAND, INK, colour
from torch_gbp.reporting.curves import Array, Band

Drawing = Callable[[Any], None]
SHOWN = 120  # examples with a bar of their own


def predictive_band(x: Array, mean: Array, deviation: Array, target: Array, number: int) -> Drawing:
    """Targets over one input, with the predictive mean and bands of one and two standard deviations; all (n,)."""

    def draw(axes: Any) -> None:
        order = np.argsort(x)
        across, middle, wide = x[order], mean[order], deviation[order]
        for times, alpha in ((2, 0.18), (1, 0.3)):
            axes.fill_between(
                across, middle - times * wide, middle + times * wide, color=colour(number), alpha=alpha, linewidth=0
            )
        axes.plot(across, middle, color=colour(number))
        shown = evenly(len(x))
        axes.scatter(x[shown], target[shown], 9, INK, linewidths=0, alpha=0.7, zorder=3)
        axes.set(xlabel="input", ylabel="target")

    return draw


def targets_against_means(mean: Array, deviation: Array, target: Array, number: int) -> Drawing:
    """Targets against predictive means, with intervals of two standard deviations; of some examples, evenly over the means."""

    def draw(axes: Any) -> None:
        shown = np.argsort(mean)[evenly(len(mean))]
        x, y, wide = mean[shown], target[shown], deviation[shown]
        axes.vlines(x, x - 2 * wide, x + 2 * wide, color=colour(number), linewidth=1.6, alpha=0.35)
        axes.plot([x.min(), x.max()], [x.min(), x.max()], color=INK, linewidth=0.8, linestyle="--")
        axes.scatter(x, y, 9, INK, linewidths=0, alpha=0.8, zorder=3)
        axes.set(xlabel="predictive mean", ylabel="target")

    return draw


def evenly(n: int) -> Any:
    """Places of at most `SHOWN` of n examples, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, SHOWN)).round().astype(int))


def pit_bars(found: Band, number: int) -> Drawing:
    """Histogram of the probability integral transform over the band of chance around 1."""

    def draw(axes: Any) -> None:
        width = found.position[1] - found.position[0]
        axes.fill_between([0, 1], found.low[0], found.high[0], color=BAND, linewidth=0, zorder=1)
        axes.bar(found.position, found.observed, 0.9 * width, color=colour(number), alpha=0.75, zorder=2)
        for height in (found.low[0], found.high[0]):
            axes.axhline(height, color=INK, linewidth=0.8, linestyle=":", zorder=3)
        axes.set(xlim=(0, 1), ylim=(0, None), xlabel="predicted P(target below what was seen)", ylabel="density")

    return draw


def coverage_lines(found: Sequence[Band]) -> Drawing:
    """Share of the targets inside central intervals against their level, one line a model, over the band of chance."""

    def draw(axes: Any) -> None:
        level = 100 * found[0].position
        axes.fill_between(level, 100 * found[0].low, 100 * found[0].high, color=BAND, linewidth=0)
        axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle="--")
        for number, band in enumerate(found):
            axes.plot(level, 100 * band.observed, color=colour(number), marker="o", markersize=3)
        axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="level of the interval, %", ylabel="targets inside, %")

    return draw


def errors_against_deviations(mean: Array, deviation: Array, target: Array, number: int, bins: int = 8) -> Drawing:
    """Root mean squared error against predicted standard deviation, in bins of as many examples, with two standard errors."""

    def draw(axes: Any) -> None:
        groups = [own for own in np.array_split(np.argsort(deviation), bins) if len(own)]
        x = np.array([np.sqrt(np.mean(deviation[own] ** 2)) for own in groups])
        y = np.array([np.sqrt(np.mean((target - mean)[own] ** 2)) for own in groups])
        # Of the mean of m squared Gaussian errors, by the delta method: y / root(2 m).
        spread = 2 * x / np.sqrt([2 * len(own) for own in groups])
        ends = [0.95 * x.min(), 1.05 * x.max()]
        axes.plot(ends, ends, color=INK, linewidth=0.8, linestyle="--")
        axes.vlines(x, np.maximum(x - spread, 0), x + spread, color=BAND, linewidth=7, zorder=1)
        axes.plot(x, y, color=colour(number), marker="o", markersize=5, linewidth=1.2)
        axes.set(xlim=ends, xlabel="predicted standard deviation", ylabel="root mean squared error")

    return draw
