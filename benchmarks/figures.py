"""Figures from the committed result files: `python -m benchmarks.figures` draws them into benchmarks/figures/."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from benchmarks import graph_mnist_table, video_figures
from benchmarks.curve_figures import coverage_of_levels, synthetic
from benchmarks.labels import Label, label_ends, label_points
from benchmarks.methods import METHODS
from benchmarks.panels import SCORES, Score, colour, dress, error_bars, make_panels, settle
from benchmarks.report import Row
from benchmarks.results import RESULTS, committed, replacing
from benchmarks.summary import Estimate, Gathered, case_title, estimate, gather
from benchmarks.tasks import TASKS
from benchmarks.toys.picture import curve_fits, xor_map

FIGURES = Path(__file__).parent / "figures"
LOW_DATA = "lowdata"
RATIOS = (0.5, 1, 2, 5, 10, 20, 50, 100)  # ticks of the training time
ROOM = 12  # factor by which the axis of images goes on, for the names at the lines' ends


class Point(NamedTuple):
    """A method at one place of a panel, in the units of its axes."""

    method: str
    x: Estimate
    y: Estimate


def draw(results: Path = RESULTS, figures: Path = FIGURES) -> list[Path]:
    """Draws every figure whose results are there; tells the files."""
    drawn = {f"{score.name}_against_time": against_time(score, results) for score in SCORES}
    drawn |= {LOW_DATA: low_data(results), "synthetic": synthetic(results), "coverage": coverage_of_levels(results)}
    drawn |= {
        "graph_xor": xor_map(results),
        "graph_regression": curve_fits(results),
        "graph_mnist": graph_mnist_table.figure(results),
    }
    drawn |= {video_figures.NAME: video_figures.frames(results), "graph_video_clip": video_figures.whole_clip(results)}
    paths = {figures / f"{name}.png": figure for name, figure in drawn.items() if figure is not None}
    for path, figure in paths.items():
        with replacing(path) as beside:
            figure.savefig(beside, format="png")
    moving = figures / f"{video_figures.NAME}.gif"
    return [*paths, moving] if video_figures.clip(results, moving) else list(paths)


def against_time(score: Score, results: Path) -> Figure | None:
    """A panel for each data set and network: every method's score against its training time."""
    panels = _timed(score, results)
    if not panels:
        return None
    figure, axes = make_panels(len(panels))
    for own, (title, points) in zip(axes, panels.items(), strict=True):
        for point in points:
            error_bars(own, point.method, [point.x], [point.y])
        dress(own, title, "training time / AdamW's", RATIOS, score)
        own.margins(0.2)
    settle(figure)
    for own, points in zip(axes, panels.values(), strict=True):
        label_points(own, [_label(point) for point in points])
    return figure


def low_data(results: Path) -> Figure | None:
    """A row of panels for each network: the scores against the number of training images, a line for each method."""
    cases = gather(committed(LOW_DATA, results))
    panels = {(net, score): _lines(net, score, cases) for net in dict.fromkeys(case.net for case in cases) for score in SCORES}
    if not panels:
        return None
    figure, axes = make_panels(len(panels))
    for own, ((net, score), lines) in zip(axes, panels.items(), strict=True):
        for method, points in lines.items():
            error_bars(own, method, [point.x for point in points], [point.y for point in points], joined=True)
        dress(own, f"MNIST, {TASKS[LOW_DATA].nets[net].title}", "training images", _limits(lines)[::-2], score)
        own.set_xlim(right=ROOM * own.get_xlim()[1])
    settle(figure)
    for own, lines in zip(axes, panels.values(), strict=True):
        label_ends(own, [_label(points[-1]) for points in lines.values()])
    return figure


def _timed(score: Score, results: Path) -> dict[str, list[Point]]:
    """The points of each panel, by its title; a method without both numbers has none, and one point alone says nothing."""
    panels: dict[str, list[Point]] = {}
    for name in (name for name in TASKS if name != LOW_DATA):
        for case, methods in gather(committed(name, results)).items():
            title = f"{TASKS[name].title}, {case_title(name, case)}"
            points = [_point(method, estimate(rows, "train_ratio"), rows, score) for method, rows in methods.items()]
            panels[title] = [point for point in points if point is not None]
    return {title: points for title, points in panels.items() if len(points) > 1}


def _lines(net: str, score: Score, cases: Gathered) -> dict[str, list[Point]]:
    """The points of each method's line, in the order of the images."""
    lines: dict[str, list[Point]] = {}
    for case in sorted(case for case in cases if case.net == net):
        for method, rows in cases[case].items():
            point = _point(method, Estimate(case.limit, 0.0), rows, score)
            lines.setdefault(method, []).extend([point] if point else [])
    return lines


def _point(method: str, x: Estimate | None, rows: list[Row], score: Score) -> Point | None:
    y = estimate(rows, score.key)
    if x is None or y is None:
        return None
    return Point(method, x, Estimate(score.offset + score.scale * y.mean, abs(score.scale) * y.error))


def _limits(lines: dict[str, list[Point]]) -> list[float]:
    return sorted({point.x.mean for points in lines.values() for point in points})


def _label(point: Point) -> Label:
    return Label(METHODS[point.method].title, point.x.mean, point.y.mean, colour(point.method))


if __name__ == "__main__":
    for path in draw():
        print(path)
