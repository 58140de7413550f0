"""The video benchmark in pictures: a frame denoised by every method, and a short clip before and after."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from benchmarks.labels import Label, label_ends
from benchmarks.panels import OURS, TRUTH, dress_plain, make_panels, settle
from benchmarks.pictures import read
from benchmarks.report import Row
from benchmarks.results import committed, replacing
from benchmarks.video import JOINT, METHODS, MOVING, SHOWN_FRAME, TITLES

NAME = "graph_video"
COLUMNS, PANEL, PIXELS = 4, (3.0, 1.7), 86  # panels side by side, inches of one, pixels per inch
ZOOM = slice(118, 182), slice(45, 141)  # rows and columns of the part that is shown enlarged: the head
STYLES = {"single": "--", "single_continual": ":"}  # lines of one colour
MILLISECONDS, GAP = 400, 4  # a frame of the clip, white pixels between its halves


def frames(results: Path) -> Figure | None:
    """The frame of the published scores, clean, noisy and denoised, each with its PSNR and a part enlarged."""
    rows = [row for row in committed(NAME, results) if row["limit"] == SHOWN_FRAME]
    images = {name: read(results / NAME, name, SHOWN_FRAME, True) for name in ("clean", "noisy", *METHODS)}
    found = {name: image for name, image in images.items() if image is not None}
    if not rows or not found:
        return None
    lines = -(-len(found) // COLUMNS)
    figure = Figure(figsize=(PANEL[0] * COLUMNS, (PANEL[1] + 0.25) * lines), dpi=PIXELS, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(lines, COLUMNS, squeeze=False).flat)
    for own, (name, image) in zip(axes, found.items(), strict=False):
        _show(own, image, _title(name, rows))
    for spare in axes[len(found) :]:
        spare.remove()
    return figure


def clip(results: Path, path: Path) -> bool:
    """Writes a GIF of the first frames, noisy and denoised side by side; False where they were not kept."""
    folder = results / NAME
    halves = [(read(folder, "noisy", index, False), read(folder, MOVING, index, False)) for index in range(SHOWN_FRAME + 1)]
    pairs = [(noisy, denoised) for noisy, denoised in halves if noisy is not None and denoised is not None]
    if not pairs:
        return False
    first, *others = [Image.fromarray(_beside(*pair).numpy()).quantize(128, dither=Image.Dither.NONE) for pair in pairs]
    with replacing(path) as beside:
        first.save(beside, "GIF", save_all=True, append_images=others, duration=MILLISECONDS, loop=0, optimize=True)
    return True


def whole_clip(results: Path) -> Figure | None:
    """PSNR along the frames, for the methods that saw the most of them, with the noise of the first seed."""
    rows = committed(NAME, results)
    first = [row for row in rows if row["seed"] == min(other["seed"] for other in rows)]
    longest = max((row["limit"] for row in first), default=0)
    lines = {row["method"]: [own for own in first if own["method"] == row["method"]] for row in first if row["limit"] == longest}
    if longest <= SHOWN_FRAME:
        return None
    figure, (axes,) = make_panels(1)
    figure.set_size_inches(7, 3.2)
    ends = [_line(axes, method, sorted(own, key=lambda row: row["limit"])) for method, own in lines.items()]
    noisy = mean(row["psnr_noisy"] for row in next(iter(lines.values())))
    dress_plain(axes, f"DAVIS bear, a tenth of the pixels replaced: {noisy:.1f} dB", "frame", "PSNR (dB)")
    axes.set(xlim=(0, 1.35 * longest), xticks=range(0, longest + 1, 10))
    settle(figure)
    label_ends(axes, ends)
    return figure


def _line(axes: Any, method: str, rows: list[Row]) -> Label:
    """Draws a method's frames; its name, to be written at the end."""
    x, y = ([row[key] for row in rows] for key in ("limit", "psnr"))
    colour = OURS if method.endswith(JOINT) else TRUTH
    axes.plot(x, y, color=colour, linestyle=STYLES.get(method.removesuffix(JOINT), "-"), linewidth=1.2)
    return Label(TITLES.get(method, method), x[-1], y[-1], colour)


def _beside(left: Tensor, right: Tensor) -> Tensor:
    return torch.cat([left, left.new_full((len(left), GAP, 3), 255), right], 1)


def _show(axes: Any, image: Tensor, title: str) -> None:
    """The image, a part of it enlarged in the corner."""
    axes.imshow(image.numpy(), interpolation="nearest")
    inset = axes.inset_axes((0.58, 0.0, 0.42, 0.42 * 454 / 258 * 64 / 96))
    inset.imshow(image[ZOOM].numpy(), interpolation="nearest")
    for own in (axes, inset):
        own.set(xticks=[], yticks=[])
        own.spines[:].set_visible(own is inset)
        own.spines[:].set_color("white")
    axes.set_title(title, fontsize=8, loc="left")


def _title(name: str, rows: list[Row]) -> str:
    """The method and the PSNR of this very picture, that of the first seed."""
    if name == "clean":
        return "clean"
    key, own = ("psnr_noisy", rows) if name == "noisy" else ("psnr", [row for row in rows if row["method"] == name])
    first = min(own, key=lambda row: row["seed"])
    return f"{TITLES.get(name, name)}, {first[key]:.2f} dB"
