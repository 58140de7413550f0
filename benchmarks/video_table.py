"""The table of the video benchmark: PSNR at frame 5, beside the published one, and over all frames that were run."""

from __future__ import annotations

from collections import Counter
from statistics import mean

from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.report import Row
from benchmarks.video import JOINT, METHODS, PUBLISHED, SHOWN_FRAME, TITLES


def table(rows: list[Row]) -> str:
    """A line for each method: frame 5 over the seeds with the standard error, and means of the seeds that saw most frames."""
    if not rows:
        return NOT_RUN
    headings = ["method", "PSNR, frame 5", "published", "mean PSNR", "frames", "CPU seconds a frame"]
    own = {method: [row for row in rows if row["method"] == method] for method in METHODS}
    return grid(headings, [_line(method, found) for method, found in own.items() if found])


def _line(method: str, rows: list[Row]) -> list[str]:
    shown = [row for row in rows if row["limit"] == SHOWN_FRAME]
    seen = Counter(row["seed"] for row in rows)
    whole = [row for row in rows if seen[row["seed"]] == max(seen.values())]
    averages = [f"{mean(row[key] for row in whole):.{digits}f}" for key, digits in (("psnr", 2), ("cpu_seconds", 1))]
    frames = str(len({row["limit"] for row in whole}))
    published = str(PUBLISHED[method.removesuffix(JOINT)])
    return [TITLES[method], number(shown, "psnr", 2), published, averages[0], frames, averages[1]]
