"""The demo's two figures: a reliability diagram, and images with their predictive distributions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from torch_gbp.metrics import BINS, calibration_error

COLOURS = ("#14746f", "#e07a2f")  # first and second model; told apart by colour-blind readers too
matplotlib.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})


class Reliability(NamedTuple):
    """Per bin of the confidence: count, accuracy and mean confidence (both nan where the bin is empty), each (bins,)."""

    count: Tensor
    accuracy: Tensor
    confidence: Tensor


def reliability(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> Reliability:
    """The numbers of a reliability diagram with equal-width bins.

    >>> reliability(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([0, 1]), bins=2).accuracy
    tensor([   nan, 0.5000], dtype=torch.float64)
    """
    confidence, predicted = probabilities.double().max(1)
    index = (confidence * bins).long().clamp(max=bins - 1)
    count, hits, total = (torch.zeros(bins, dtype=torch.float64) for _ in range(3))
    count.index_add_(0, index, torch.ones_like(confidence))
    hits.index_add_(0, index, (predicted == labels).double())
    total.index_add_(0, index, confidence)
    return Reliability(count, hits / count, total / count)


def plot_reliability(predictions: dict[str, Tensor], labels: Tensor, path: Path) -> None:
    """Accuracy against confidence of each model, over a histogram of its confidences; saved as PNG.

    Args:
        predictions: class probabilities (n, classes) of two models by name.
        labels: (n,) of integers.
    """
    figure = Figure(figsize=(4.2 * len(predictions), 5.2), layout="constrained")
    axes = figure.subplots(2, len(predictions), sharex=True, sharey="row", height_ratios=(3, 1), squeeze=False)
    for column, (name, probabilities) in enumerate(predictions.items()):
        top, bottom = axes[:, column]
        _draw_reliability(top, reliability(probabilities, labels), COLOURS[column])
        top.set_title(f"{name}   (ECE {100 * calibration_error(probabilities, labels):.2f} %)", loc="left", weight="bold")
        _draw_histogram(bottom, reliability(probabilities, labels).count, COLOURS[column])
    axes[0, 0].set_ylabel("accuracy in the bin")
    axes[1, 0].set_ylabel("test images")
    figure.savefig(path, dpi=130)


def _draw_reliability(axes: Any, numbers: Reliability, colour: str) -> None:
    full = numbers.count > 0
    count, y, x = (part[full].numpy() for part in numbers)
    # Two standard errors of a calibrated model in that bin: gaps inside are what chance alone makes.
    spread = 2 * np.sqrt(x * (1 - x) / count)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="calibrated")
    low, high = np.clip(x - spread, 0, 1), np.clip(x + spread, 0, 1)
    axes.vlines(x, low, high, color="0.82", linewidth=5, label="chance (2 s.e.)", zorder=1)
    axes.vlines(x, np.minimum(x, y), np.maximum(x, y), color=colour, linewidth=1, zorder=2)
    axes.scatter(x, y, 18 + 60 * np.sqrt(count / count.max()), colour, label="observed", zorder=3)
    axes.set(xlim=(0, 1.02), ylim=(-0.03, 1.05))
    axes.legend(frameon=False, loc="upper left", fontsize=8)


def _draw_histogram(axes: Any, count: Tensor, colour: str) -> None:
    width = 1 / len(count)
    axes.bar((np.arange(len(count)) + 0.5) * width, count.numpy(), 0.9 * width, color=colour)
    axes.set(yscale="log", ylim=(0.7, None), xlabel="confidence")


class Gallery(NamedTuple):
    """A row of the gallery: title, images (n, h, w), labels (n,) or None, class probabilities (n, classes) by model."""

    title: str
    images: Tensor
    labels: Tensor | None
    predictions: dict[str, Tensor]


def plot_gallery(rows: list[Gallery], path: Path) -> None:
    """Images in rows, each beside the bars of the class probabilities that every model gives it; saved as PNG."""
    columns = len(rows[0].images)
    figure = Figure(figsize=(3.1 * columns, 1.75 * len(rows) + 0.3), layout="constrained")
    bands: Any = figure.subfigures(len(rows), 1, squeeze=False)
    for band, row in zip(bands[:, 0], rows, strict=True):
        band.suptitle(row.title, x=0.01, ha="left", weight="bold", fontsize=10)
        cells = band.subplots(1, 2 * columns, width_ratios=(1, 1.6) * columns)
        for i in range(columns):
            cells[2 * i].imshow(row.images[i].numpy(), cmap="gray_r", interpolation="nearest")
            cells[2 * i].axis("off")
            if row.labels is not None:
                cells[2 * i].set_title(f"label {int(row.labels[i])}", fontsize=8, pad=2)
            _draw_bars(cells[2 * i + 1], {name: p[i].numpy() for name, p in row.predictions.items()})
    handles, labels = bands[0, 0].axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=130)


def _draw_bars(axes: Any, predictions: dict[str, np.ndarray]) -> None:
    width = 0.8 / len(predictions)
    for number, (name, probabilities) in enumerate(predictions.items()):
        shift = (number + 0.5) * width - 0.4
        axes.bar(np.arange(len(probabilities)) + shift, probabilities, width, color=COLOURS[number], label=name)
    axes.set(ylim=(0, 1), yticks=(0, 0.5, 1), xticks=range(10))
    axes.tick_params(labelsize=7, length=2)
