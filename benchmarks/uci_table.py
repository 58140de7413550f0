"""The table of the UCI regressions: ours from the result file, the others as published (published/uci.json)."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.report import Row
from benchmarks.uci_data import FOLDERS

PUBLISHED = Path(__file__).parent / "published" / "uci.json"
SCORES = {"RMSE": ("rmse", -1), "log-likelihood": ("log_likelihood", 1)}  # heading: key, and whether more is better
OURS = "torch_gbp"


def table(rows: list[Row]) -> str:
    """Both scores of every set, mean and standard error over the splits, beside the published means."""
    if not rows:
        return NOT_RUN
    published = json.loads(PUBLISHED.read_text())["methods"]
    lines = []
    for heading, (key, sign) in SCORES.items():
        found = {name: [row for row in rows if row["net"] == name] for name in FOLDERS}
        for name, own in found.items():
            others = [f"{method[key][name]:g}" for method in published.values()]
            lines.append([heading, name, f"{len(own)}", f"**{number(own, key)}**", *others])
        counts = [tally(found, method[key], key, sign) for method in published.values()]
        lines.append([heading, f"{OURS} at least as good on", "", "", *counts])
    return grid(["score", "set", "splits", OURS, *published], lines)


def tally(found: dict[str, list[Row]], published: dict[str, float], key: str, sign: int) -> str:
    """On how many of the sets run so far our mean is at least as good.

    >>> tally({"a": [{"rmse": 1.0}], "b": [{"rmse": 3.0}], "c": []}, {"a": 2.0, "b": 2.0, "c": 2.0}, "rmse", -1)
    '1 of 2'
    """
    ran = {name: sum(row[key] for row in own) / len(own) for name, own in found.items() if own}
    return f"{sum(sign * mean >= sign * published[name] for name, mean in ran.items())} of {len(ran)}"
