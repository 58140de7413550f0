"""The demo's picture: the same images under each model, from least to most sure, with what it refuses to answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

INK, FAINT = "#1d2327", "#8b959b"
COLOURS = {"right": "#0f766e", "wrong": "#d0413f", "no digit": "#7c5cd6"}
ROWS = 4  # of images in a column
matplotlib.rcParams.update({"font.size": 10, "text.color": INK})


class Shown(NamedTuple):
    """A model's answers on the images shown: name, confidence (n,), what each is (a key of `COLOURS`), which it gives (n,)."""

    name: str
    confidence: Tensor
    kind: list[str]
    given: Tensor


def plot_knowledge(images: Tensor, models: list[Shown], path: Path) -> None:
    """Images (n, h, w) in the order of each model's confidence, one band a model; those that it refuses are pale. PNG.

    The frame of an image says whether the answer is right, wrong, or none was possible.
    """
    columns = -(-len(images) // ROWS)
    height = 0.36 * ROWS + 0.95
    figure = Figure(figsize=(0.36 * columns + 0.6, height * len(models) + 0.75), facecolor="white")
    bands: Any = figure.subplots(len(models), 1, squeeze=False)
    figure.subplots_adjust(left=0.015, right=0.985, top=1 - 0.85 / figure.get_figheight(), bottom=0.01, hspace=0.32)
    figure.text(0.015, 1 - 0.3 / figure.get_figheight(), _title(len(images)), weight="bold", fontsize=13, va="center")
    patches = [Patch(facecolor="none", edgecolor=colour, linewidth=2.5, label=kind) for kind, colour in COLOURS.items()]
    figure.legend(handles=patches, loc="upper right", ncols=len(patches), frameon=False, bbox_to_anchor=(0.99, 1.0))
    for axes, model in zip(bands[:, 0], models, strict=True):
        _band(axes, images.numpy(), model)
    figure.savefig(path, dpi=110)


def _title(number: int) -> str:
    return f"The same {number} pictures, from what each model is least sure of to what it is surest of"


def _band(axes: Any, images: np.ndarray, model: Shown) -> None:
    order = model.confidence.argsort(stable=True).tolist()
    for place, number in enumerate(order):
        column, row = divmod(place, ROWS)
        _image(axes, images[number], column, row, COLOURS[model.kind[number]], bool(model.given[number]))
    refused = len(order) - int(model.given.sum())
    _sides(axes, refused, model)
    axes.set(xlim=(-0.1, -(-len(order) // ROWS) + 0.1), ylim=(ROWS + 0.1, -0.75), aspect="equal")
    axes.axis("off")


def _image(axes: Any, image: np.ndarray, column: int, row: int, colour: str, given: bool) -> None:
    alpha = 1.0 if given else 0.28
    axes.imshow(image, cmap="gray_r", extent=(column + 0.1, column + 0.9, row + 0.9, row + 0.1), alpha=alpha)
    frame = Rectangle((column + 0.06, row + 0.06), 0.88, 0.88, fill=False, edgecolor=colour, linewidth=2.2, alpha=max(alpha, 0.45))
    axes.add_patch(frame)


def _sides(axes: Any, refused: int, model: Shown) -> None:
    """What it refuses and what it answers, in numbers, with a line between both."""
    column, row = divmod(refused, ROWS)
    steps = [(column + 1, 0), (column + 1, row), (column, row), (column, ROWS)] if row else [(column, 0), (column, ROWS)]
    axes.plot(*zip(*steps, strict=True), color=INK, linewidth=2)
    counts = {side: [kind for kind, given in zip(model.kind, model.given.tolist(), strict=True) if given == side] for side in (0, 1)}
    text = {side: ", ".join(f"{counts[side].count(kind)} {kind}" for kind in COLOURS) for side in (0, 1)}
    axes.text(0, -0.3, f"{model.name} refuses {len(counts[0])}: {text[0]}", va="center", color=FAINT)
    axes.text(-(-len(model.kind) // ROWS), -0.3, f"answers {len(counts[1])}: {text[1]}", va="center", ha="right", weight="bold")
