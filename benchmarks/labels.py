"""Names written beside points and line ends in place of a legend, so that none covers another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.transforms import Bbox

SIZE = 7.5  # of the letters, in points
RADII, DIRECTIONS = (8, 11, 14, 20, 28, 38), 8  # where a name may stand around its point, in points
POINT = 5  # half the side of the square around a point that stays free, in pixels


class Label(NamedTuple):
    """A name and the point it belongs to, in the units of the axes."""

    text: str
    x: float
    y: float
    colour: str


def label_points(axes: Any, labels: Sequence[Label]) -> None:
    """Writes every name near its point, where it covers least of points and other names.

    The figure's layout has to be settled: places are compared in pixels.
    """
    taken = [_square(*axes.transData.transform((label.x, label.y))) for label in labels]
    for label in labels:
        taken.append(_placed(axes, label, taken))


def label_ends(axes: Any, labels: Sequence[Label]) -> None:
    """Writes every name to the right of its line's end, moved up or down as far as the others and the axes need."""
    height = 1.2 * SIZE * axes.figure.dpi / 72
    pixels = {label: float(axes.transData.transform((label.x, label.y))[1]) for label in labels}
    ends = sorted(labels, key=pixels.__getitem__)
    places = spread([pixels[label] for label in ends], height)
    shift = min(0.0, axes.bbox.y1 - places[-1]) or max(0.0, axes.bbox.y0 + height / 2 - places[0])
    for label, place in zip(ends, places, strict=True):
        offset = (6, (place + shift - pixels[label]) * 72 / axes.figure.dpi)
        axes.annotate(label.text, (label.x, label.y), offset, **_style(label), ha="left", va="center")


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places, moved as little as they need to lie a gap apart, around the mean of those that collide.

    >>> spread([0.0, 1.0, 10.0], 2.0)
    [-0.5, 1.5, 10.0]
    """
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _start(groups[-1], gap) - _start(groups[-2], gap) < gap * len(groups[-2]):
            last = groups.pop()
            groups[-1] += last
    return [_start(group, gap) + i * gap for group in groups for i in range(len(group))]


def _start(group: list[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _placed(axes: Any, label: Label, taken: Sequence[Bbox]) -> Bbox:
    """Writes one name at the best of the places around its point; tells the box it fills."""
    text = axes.annotate(label.text, (label.x, label.y), (0, 0), **_style(label))
    size = text.get_window_extent(axes.figure.canvas.get_renderer())
    x, y = axes.transData.transform((label.x, label.y))

    def box(place: tuple[float, float]) -> Bbox:
        left = x + place[0] * axes.figure.dpi / 72 - size.width * _share(place[0])
        return Bbox.from_bounds(left, y + place[1] * axes.figure.dpi / 72 - size.height / 2, size.width, size.height)

    def covered(place: tuple[float, float]) -> float:
        own = box(place)
        outside = own.width * own.height - _overlap(own, axes.bbox)
        return outside + sum(_overlap(own, other) for other in taken)

    best = min(_places(), key=covered)
    text.set(position=best, ha=("left", "center", "right")[round(2 * _share(best[0]))], va="center_baseline")
    return box(best)


def _places() -> list[tuple[float, float]]:
    """Offsets from the point in points, the nearest first."""
    turns = [2 * math.pi * i / DIRECTIONS for i in range(DIRECTIONS)]
    return [(radius * math.cos(turn), radius * math.sin(turn)) for radius in RADII for turn in turns]


def _share(offset: float) -> float:
    """The part of a name that lies to the left of its anchor: none to the right of the point, all to the left of it."""
    return 0.5 if abs(offset) < 1 else float(offset < 0)


def _overlap(one: Bbox, other: Bbox) -> float:
    """Common area."""
    common = Bbox.intersection(one, other)
    return 0.0 if common is None else common.width * common.height


def _square(x: float, y: float) -> Bbox:
    return Bbox.from_extents(x - POINT, y - POINT, x + POINT, y + POINT)


def _style(label: Label) -> dict[str, Any]:
    return {"color": label.colour, "fontsize": SIZE, "textcoords": "offset points", "annotation_clip": False}
