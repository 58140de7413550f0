"""Figures from the committed result files: `python -m benchmarks.figures` draws them into benchmarks/figures/.

Those of the video are drawn where its pictures lie beside its result file, as a run of `graph_video` leaves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

from benchmarks import active, frugal_figures, graph_images, video
from benchmarks.checks import curve, thesis_figures
from benchmarks.drawing import BLACK, GREEN, LOOKS, OURS, REFERENCE, TRUTH, dress, make_panels, plain_numbers
from benchmarks.frugal_tables import SINGLE, as_they_come
from benchmarks.markdown import DATA, FULL
from benchmarks.methods import METHODS
from benchmarks.results import RESULTS, Row, committed, estimate, matching, replacing
from benchmarks.tasks import TASKS

FIGURES = Path(__file__).parent / "figures"
WAYS = {"random": REFERENCE, "entropy": TRUTH, "margin": "#CC79A7", "bald": OURS, "batchbald": GREEN}  # of choosing what to label
SCORES = {
    "test error (%)": ("accuracy", -100, 100),
    **{title: (key, 1, 0) for key, title in frugal_figures.TEMPERED.items()},
}
ZOOM = slice(118, 182), slice(45, 141)  # rows and columns of the frame's part that is shown enlarged: the head
MILLISECONDS, GAP = 400, 4  # a frame of the clip, white pixels between its halves


def draw(results: Path = RESULTS, figures: Path = FIGURES) -> list[Path]:
    """Draws every figure whose results are there; tells the files."""
    makers = {"lowdata": low_data, "graph_mnist": one_pass, "synthetic": synthetic, "graph_video": frames}
    makers |= {"active": label_curves, "cost": frugal_figures.cost, "untuned": frugal_figures.untuned_rates}
    makers |= {"corruptions": frugal_figures.corrupted, **thesis_figures.MAKERS}
    drawn = {name: make(results) for name, make in (makers | {"graph_video_clip": whole_clip}).items()}
    paths = {figures / f"{name}.png": figure for name, figure in drawn.items() if figure is not None}
    for path, figure in paths.items():
        with replacing(path) as beside:
            figure.savefig(beside, format="png")
    moving = figures / "graph_video.gif"
    return [*paths, moving] if clip(results, moving) else list(paths)


def low_data(results: Path) -> Figure | None:
    """A row of panels for each network: scores against the number of training images, a line for each single network."""
    rows = [row for row in as_they_come(committed("lowdata", results)) if "nll_tempered" in row]
    panels = [(net, score) for net in dict.fromkeys(row["net"] for row in rows) for score in SCORES]
    return lines_by_images(panels, rows, {name: METHODS[name].title for name in SINGLE}, 3) if panels else None


def one_pass(results: Path) -> Figure | None:
    """A panel for each data set of several sizes: accuracy against images, with the published one of the whole set."""
    rows = committed("graph_mnist", results)
    sizes = {name: sorted({row["limit"] for row in matching(rows, net=name)}) for name in DATA}
    panels = [(name, "accuracy (%)") for name, limits in sizes.items() if len(limits) > 1]
    return lines_by_images(panels, rows, graph_images.TITLES, 2) if panels else None


def lines_by_images(panels: Sequence[tuple[str, str]], rows: list[Row], titles: dict[str, str], columns: int) -> Figure:
    """Panels of a score against the number of training images, with one legend for all of them."""
    figure, axes = make_panels(len(panels), columns)
    for own, (net, score) in zip(axes, panels, strict=True):
        limits = _lines(own, matching(rows, net=net), score, titles)
        title = f"{DATA[net]}, one pass" if net in DATA else f"MNIST, {TASKS['lowdata'].nets[net].title}"
        dress(own, title, "training images", score)
        own.set_xscale("log")
        if "(%)" not in score:
            own.set_yscale("log")
            plain_numbers(own.yaxis)
        own.xaxis.set_major_locator(FixedLocator(limits[::-2]))
        own.xaxis.set_minor_locator(NullLocator())
        own.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        published = graph_images.PUBLISHED["factor graph"]
        if net in published and limits[-1] >= FULL and net in DATA:
            own.plot(limits[-1], float(published[net]), "*", color=BLACK, markersize=8, zorder=3, label="published")
    shown = {label: handle for own in axes for handle, label in zip(*own.get_legend_handles_labels(), strict=True)}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, fontsize=7.5, frameon=False)
    return figure


def _lines(axes: Any, rows: list[Row], score: str, titles: dict[str, str]) -> list[int]:
    """Draws every method's line, in the order of the titles; the numbers of images."""
    key, scale, offset = SCORES.get(score, ("accuracy", 100, 0))
    for method, title in titles.items():
        own = {limit: estimate(matching(rows, method=method, limit=limit), key) for limit in sorted({r["limit"] for r in rows})}
        points = [(limit, offset + scale * found.mean, abs(scale) * found.error) for limit, found in own.items() if found]
        if points:
            colour, line = LOOKS[method]
            x, y, errors = zip(*points, strict=True)
            face = colour if line == "-" else "white"  # a single point has no line
            axes.errorbar(x, y, errors, color=colour, linestyle=line, marker="o", markersize=3, markerfacecolor=face, label=title)
    return sorted({row["limit"] for row in rows})


def label_curves(results: Path) -> Figure | None:
    """A panel for each method: accuracy against the number of labels, a line for every way of choosing and seed."""
    rows = committed("active", results)
    methods = {name: title for name, title in {"gbp": "torch_gbp", "adamw": "AdamW"}.items() if _begins(rows, name)}
    if not methods:
        return None
    figure, axes = make_panels(len(methods), size=(5.2, 3.4))
    for own, (name, title) in zip(axes, methods.items(), strict=True):
        for row in _begins(rows, name):
            way = row["method"].removeprefix(f"{name}_")
            label = None if way in own.get_legend_handles_labels()[1] else way
            own.plot(row["labels"], [100 * value for value in row["accuracy"]], color=WAYS[way], alpha=0.8, label=label)
        own.axhline(100 * active.GOAL, color=BLACK, linestyle=":", linewidth=0.8)
        own.set_ylim(80, 98)
        own.legend(fontsize=7.5, frameon=False, loc="lower right")
        dress(own, f"MNIST, LeNet-5, {title}", "labels", "test accuracy (%)")
    return figure


def _begins(rows: list[Row], method: str) -> list[Row]:
    """The rows of a method's ways."""
    return [row for row in rows if row["method"].startswith(f"{method}_")]


def synthetic(results: Path) -> Figure | None:
    """A panel for each network: mean and 1, 2, 3 sigma of the predictive, the curve and the training points; first seed."""
    rows = {row["net"]: row for row in reversed(committed("synthetic", results))}
    names = [name for name in curve.NETS if name in rows]
    if not names:
        return None
    figure, axes = make_panels(len(names))
    for own, name in zip(axes, names, strict=True):
        row, net = rows[name], curve.NETS[name]
        x, mean, deviation = curve.line(*net.drawn, curve.DRAWN)[:, 0], torch.tensor(row["mean"]), torch.tensor(row["deviation"])
        for sigma in (3, 2, 1):
            own.fill_between(x, mean - sigma * deviation, mean + sigma * deviation, color=OURS, alpha=0.15, linewidth=0)
        own.plot(x, mean, color=OURS)
        own.plot(x, curve.curve(x), color=TRUTH, linewidth=0.9, linestyle="--")
        own.plot(*curve.points(row["limit"], *net.ends), ".", color=BLACK, markersize=1.5)
        own.set_ylim(-1.5, 3.0)
        dress(own, net.title, "x", f"y (log-likelihood {row['log_likelihood']:.2f})")
    return figure


def frames(results: Path) -> Figure | None:
    """The frame of the published scores, clean, noisy and denoised, each with its PSNR and a part enlarged."""
    folder, rows = results / "graph_video", matching(committed("graph_video", results), limit=video.SHOWN_FRAME)
    images = {name: _picture(folder, name, video.SHOWN_FRAME, True) for name in ("clean", "noisy", *video.METHODS)}
    found = {name: image for name, image in images.items() if image is not None}
    if not rows or not found:
        return None
    figure, axes = make_panels(len(found), 4, (3.0, 1.95), 86)
    for own, (name, image) in zip(axes, found.items(), strict=True):
        inset = own.inset_axes((0.58, 0.0, 0.42, 0.42 * 454 / 258 * 64 / 96))
        for part, shown in ((own, image), (inset, image[ZOOM])):
            part.imshow(shown, interpolation="nearest")
            part.set(xticks=[], yticks=[])
            part.spines[:].set_visible(part is inset)
            part.spines[:].set_color("white")
        own.set_title(_psnr_title(name, rows), fontsize=8, loc="left")
    return figure


def _psnr_title(name: str, rows: list[Row]) -> str:
    """The method and the PSNR of this very picture, that of the first seed."""
    if name == "clean":
        return "clean"
    key, own = ("psnr_noisy", rows) if name == "noisy" else ("psnr", matching(rows, method=name))
    return f"{video.TITLES.get(name, name)}, {min(own, key=lambda row: row['seed'])[key]:.2f} dB"


def clip(results: Path, path: Path) -> bool:
    """Writes a GIF of the first frames, noisy and denoised side by side; False where they were not kept."""
    pairs = []
    for index in range(video.SHOWN_FRAME + 1):
        noisy, denoised = (_picture(results / "graph_video", name, index, False) for name in ("noisy", video.MOVING))
        if noisy is not None and denoised is not None:
            pairs.append(numpy.concatenate([noisy, numpy.full((len(noisy), GAP, 3), 255, noisy.dtype), denoised], 1))
    if not pairs:
        return False
    first, *others = [Image.fromarray(pair).quantize(128, dither=Image.Dither.NONE) for pair in pairs]
    with replacing(path) as beside:
        first.save(beside, "GIF", save_all=True, append_images=others, duration=MILLISECONDS, loop=0, optimize=True)
    return True


def whole_clip(results: Path) -> Figure | None:
    """PSNR along the frames, for the methods that saw the most of them, with the noise of the first seed."""
    rows = committed("graph_video", results)
    first = [row for row in rows if row["seed"] == min(other["seed"] for other in rows)]
    longest = max((row["limit"] for row in first), default=0)
    if longest <= video.SHOWN_FRAME:
        return None
    figure, (axes,) = make_panels(1, size=(7, 3.2))
    for (method,) in dict.fromkeys((row["method"],) for row in first if row["limit"] == longest):
        own = sorted(matching(first, method=method), key=lambda row: row["limit"])
        colour = OURS if method.endswith(video.JOINT) else TRUTH
        line = {"single": "--", "single_continual": ":"}.get(method.removesuffix(video.JOINT), "-")
        x, y = ([row[key] for row in own] for key in ("limit", "psnr"))
        axes.plot(x, y, color=colour, linestyle=line, linewidth=1.2, label=video.TITLES[method])
    noisy = float(numpy.mean([row["psnr_noisy"] for row in own]))
    dress(axes, f"DAVIS bear, a tenth of the pixels replaced: {noisy:.1f} dB", "frame", "PSNR (dB)")
    axes.legend(fontsize=7.5, frameon=False)
    return figure


def _picture(folder: Path, name: str, index: int, whole: bool) -> Any:
    """A kept picture, (rows, columns, 3) of bytes; None if there is none."""
    path = video.kept(folder, name, index, whole)
    return numpy.asarray(Image.open(path).convert("RGB")) if path.is_file() else None


if __name__ == "__main__":
    for path in draw():
        print(path)
