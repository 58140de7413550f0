"""Curves behind the diagrams: reliability, risk against coverage, ROC, coverage of intervals, each with what chance makes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BINS = 15  # equal-width bins of the confidence, as in the calibration error
FEWEST = 20  # examples of a point of a reliability diagram: fewer say nothing, so bins are joined until they have as many
RESAMPLES, MOST_DRAWS = 1000, 20_000_000  # of the consistency band; fewer resamples where there are very many examples
LEVEL = 0.95  # of every chance band
LEVELS = np.linspace(0.05, 0.95, 19)  # of central predictive intervals
POINTS = 400  # of a drawn curve; more cannot be seen


class Reliability(NamedTuple):
    """Points of a reliability diagram: mean confidence, share of right predictions, examples, and a band of chance."""

    confidence: Array
    accuracy: Array
    count: NDArray[np.int64]
    low: Array
    high: Array


class Band(NamedTuple):
    """What is observed at each position, and between which values it lies in 95 of 100 calibrated models."""

    position: Array
    observed: Array
    low: Array
    high: Array


def reliability(
    confidence: Array, right: NDArray[np.bool_], bins: int = BINS, fewest: int = FEWEST, seed: int = 0
) -> Reliability:
    """Reliability diagram with consistency bars: how often predictions of a confidence are right, and should be by chance.

    Neighbouring equal-width bins are joined until each has `fewest` examples. The bars hold the middle 95 % of what a
    calibrated model with these confidences shows: confidences drawn with replacement, right with just that probability.

    Args:
        confidence: probability of the predicted class, (n,).
        right: whether the prediction was right, (n,).

    Source: Broecker and Smith 2007, "Increasing the reliability of reliability diagrams" (consistency resampling).

    >>> found = reliability(np.repeat([0.7, 0.9], 50), np.arange(100) % 10 != 0)
    >>> found.accuracy.round(2), found.count
    (array([0.9, 0.9]), array([50, 50]))
    """
    place, edges = _joined(confidence, bins, fewest)
    count, mean = _means(place, confidence, len(edges))
    gaps = _calibrated_gaps(confidence, edges, seed)
    low, high = np.nanquantile(gaps, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    accuracy = _means(place, right, len(edges))[1]
    return Reliability(mean, accuracy, count, np.clip(mean + low, 0, 1), np.clip(mean + high, 0, 1))


def _joined(confidence: Array, bins: int, fewest: int) -> tuple[NDArray[np.int64], Array]:
    """Bin of each example, and the lower edges of the bins, none of which has too few examples (unless there are no more)."""
    lower = np.linspace(0, 1, bins + 1)[:-1]
    starts, waiting = [0], 0
    counts = np.bincount(_place(confidence, lower), minlength=bins)
    for number, count in enumerate(counts):
        waiting += int(count)
        if waiting >= fewest and counts[number + 1 :].sum() >= fewest:
            starts, waiting = [*starts, number + 1], 0
    edges = lower[starts]
    return _place(confidence, edges), edges


def _place(confidence: Array, lower: Array) -> NDArray[np.int64]:
    return np.searchsorted(lower, confidence, side="right") - 1


def _means(place: NDArray[np.int64], values: NDArray, bins: int) -> tuple[NDArray[np.int64], Array]:
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # a resample may leave a bin empty
        return count, np.bincount(place, values.astype(float), minlength=bins) / count


def _calibrated_gaps(confidence: Array, edges: Array, seed: int) -> Array:
    """Accuracy less mean confidence in every bin, of resamples of a calibrated model; (resamples, bins)."""
    random, n = np.random.default_rng(seed), len(confidence)
    gaps = []
    for _ in range(max(200, min(RESAMPLES, MOST_DRAWS // n))):
        drawn = confidence[random.integers(n, size=n)]
        right = random.random(n) < drawn
        gaps.append(_means(_place(drawn, edges), right - drawn, len(edges))[1])
    return np.array(gaps)


def roc(inside: Array, outside: Array) -> tuple[Array, Array]:
    """ROC curve of a score that is larger outside: share of the outside found against share of the inside accused.

    >>> roc(np.array([0.1, 0.4]), np.array([0.3, 0.9]))
    (array([0. , 0. , 0.5, 0.5, 1. ]), array([0. , 0.5, 0.5, 1. , 1. ]))
    """
    thresholds = np.append(np.inf, np.unique(np.concatenate([inside, outside]))[::-1])
    accused, found = (1 - np.searchsorted(np.sort(own), thresholds) / len(own) for own in (inside, outside))
    return accused, found


def interval_coverage(pit: Array) -> Band:
    """Coverage of central predictive intervals: share of the targets inside, against the interval's level.

    A target is inside the central interval of level c if its probability integral transform u has |2 u - 1| <= c.

    >>> interval_coverage(np.linspace(0, 1, 1001)).observed[:3].round(2)
    array([0.05, 0.1 , 0.15])
    """
    observed = np.array([np.mean(np.abs(2 * pit - 1) <= level) for level in LEVELS])
    return Band(LEVELS, observed, *_binomial(len(pit), LEVELS))


def pit_histogram(pit: Array) -> Band:
    """Histogram of the probability integral transform, as a density: flat for a calibrated model; 10 bins, 20 for many targets.

    >>> pit_histogram(np.linspace(0.001, 0.999, 200)).observed
    array([1., 1., 1., 1., 1., 1., 1., 1., 1., 1.])
    """
    bins = 20 if len(pit) >= 20 * FEWEST else 10
    share = np.histogram(pit, bins, (0, 1))[0] / len(pit)
    low, high = _binomial(len(pit), np.full(bins, 1 / bins))
    return Band((np.arange(bins) + 0.5) / bins, bins * share, bins * low, bins * high)


def _binomial(n: int, shares: Array) -> tuple[Array, Array]:
    """Between which shares 95 of 100 binomial samples of n examples lie, by simulation."""
    drawn = np.random.default_rng(0).binomial(n, shares, (4000, len(shares))) / n
    low, high = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    return low, high


def thinned(*curves: Array) -> tuple[Array, ...]:
    """The same points of each curve, at most `POINTS` of them, first and last included."""
    chosen = np.unique(np.linspace(0, len(curves[0]) - 1, POINTS).round().astype(int))
    return tuple(curve[chosen] for curve in curves)
