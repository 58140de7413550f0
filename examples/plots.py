"""The demo's picture: images of each kind in the order of a model's confidence, with what it refuses to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

INK, FAINT = "#1d2327", "#727c82"
COLOURS = {"right": "#0f766e", "wrong": "#d0413f", "no digit": "#7c5cd6"}
LEFT, RIGHT = 3.4, 6.0  # room beside the images, in images
PALE = 0.25
matplotlib.rcParams.update({"font.size": 10, "text.color": INK})


class Lane(NamedTuple):
    """Images of a kind under a model: kind, images (n, h, w), confidence (n,), and which are right (None: they have no class).

    `note` is what is written behind them; the model answers where its confidence is at least `least`.
    """

    kind: str
    images: Tensor
    confidence: Tensor
    right: Tensor | None
    least: float
    note: str


def plot_knowledge(models: Mapping[str, Sequence[Lane]], path: Path) -> None:
    """One band a model, one lane a kind: from least to most sure, pale where the model refuses to answer; saved as PNG.

    A frame says whether the answer is right, wrong, or none was possible.
    """
    rows = sum(len(lanes) + 1.3 for lanes in models.values())
    columns = max(len(lane.images) for lanes in models.values() for lane in lanes) + LEFT + RIGHT
    figure = Figure(figsize=(0.36 * columns, 0.36 * (rows + 1.9)), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-LEFT, columns - LEFT), ylim=(rows, -1.9), aspect="equal")
    axes.axis("off")
    _heading(axes, columns)
    top = 0.0
    for name, lanes in models.items():
        axes.text(-LEFT + 0.3, top + 0.6, name, weight="bold", fontsize=12, va="center")
        for number, lane in enumerate(lanes):
            _lane(axes, lane, top + 1.1 + number)
        top += len(lanes) + 1.3
    figure.savefig(path, dpi=110)


def _heading(axes: Any, columns: float) -> None:
    axes.text(-LEFT + 0.3, -1.2, "What it knows, what it does not, what it refuses", weight="bold", fontsize=15, va="center")
    text = "each lane from the image that the model is least sure of to the one it is surest of; pale: it refuses to answer"
    axes.text(-LEFT + 0.3, -0.35, text, color=FAINT, va="center")
    patches = [Patch(facecolor="none", edgecolor=colour, linewidth=2.5, label=kind) for kind, colour in COLOURS.items()]
    axes.legend(handles=patches, loc="upper right", ncols=len(patches), frameon=False, bbox_to_anchor=(1 - 0.3 / columns, 0.995))


def _lane(axes: Any, lane: Lane, top: float) -> None:
    axes.text(-0.3, top + 0.5, lane.kind, ha="right", va="center")
    order = lane.confidence.argsort(stable=True).tolist()
    for place, number in enumerate(order):
        given = float(lane.confidence[number]) >= lane.least
        known = "no digit" if lane.right is None else "right" if bool(lane.right[number]) else "wrong"
        _image(axes, lane.images[number].numpy(), place, top, COLOURS[known], given)
    refused = int((lane.confidence < lane.least).sum())
    axes.plot([refused, refused], [top, top + 1], color=INK, linewidth=2.5, solid_capstyle="butt", zorder=4)
    axes.text(len(order) + 0.3, top + 0.5, lane.note, va="center", color=FAINT)


def _image(axes: Any, image: np.ndarray, left: float, top: float, colour: str, given: bool) -> None:
    alpha = 1.0 if given else PALE
    axes.imshow(image, cmap="gray_r", extent=(left + 0.1, left + 0.9, top + 0.9, top + 0.1), alpha=alpha)
    frame = Rectangle((left + 0.07, top + 0.07), 0.86, 0.86, fill=False, edgecolor=colour, linewidth=2, alpha=max(alpha, 0.4))
    axes.add_patch(frame)
