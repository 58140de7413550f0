"""The tables of the distances to the sampled posteriors, and of the diagnostics of the sampling."""

from __future__ import annotations

from statistics import mean

from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.posterior.compare import POSTERIORS
from benchmarks.posterior.problems import PROBLEMS
from benchmarks.report import Row

RIVAL = "vi"
PARTS = ("", "_far", "_all")  # of the compared inputs


def table(rows: list[Row]) -> str:
    """Every method's distance to the reference on every problem, and on how many it is the closer one than mean-field VI:
    near the training inputs / far from them / all together."""
    if not rows:
        return NOT_RUN
    kinds = {name: "tv" if any("tv" in row for row in rows if row["net"] == name) else "w2" for name in PROBLEMS}
    headings = ["method", *(f"{name}, {kind}" for name, kind in kinds.items()), f"closer than {POSTERIORS[RIVAL].title}"]
    lines = [
        [compared.title, *_cells(method, rows, kinds), _closer(method, rows, kinds)] for method, compared in POSTERIORS.items()
    ]
    return grid(headings, lines)


def reference_table(rows: list[Row]) -> str:
    """Whether the chains have mixed: the worst R-hat and effective sample size over the outputs at the compared inputs."""
    if not rows:
        return NOT_RUN
    headings = ["problem", "points", "R-hat", "effective samples", "divergences", "steps a sample"]
    return grid(headings, [[row["net"], str(row["limit"]), *_checks(row)] for row in rows])


def _own(rows: list[Row], name: str, method: str) -> list[Row]:
    return [row for row in rows if row["net"] == name and row["method"] == method]


def _closer(method: str, rows: list[Row], kinds: dict[str, str]) -> str:
    """On how many problems the mean distance is smaller than mean-field VI's."""
    if method == RIVAL:
        return ""
    wins = []
    for part in PARTS:
        pairs = [[_own(rows, name, who) for who in (method, RIVAL)] for name in kinds]
        told = [
            [mean(row[kinds[name] + part] for row in own) for own in pair]
            for name, pair in zip(kinds, pairs, strict=True)
            if all(pair)
        ]
        wins.append(f"{sum(ours < theirs for ours, theirs in told)} of {len(told)}")
    return " / ".join(wins)


def _cells(method: str, rows: list[Row], kinds: dict[str, str]) -> list[str]:
    return [" / ".join(_mean(_own(rows, name, method), kind + part) for part in PARTS) for name, kind in kinds.items()]


def _mean(rows: list[Row], key: str) -> str:
    return number(rows, key, spread=False)


def _checks(row: Row) -> list[str]:
    return [f"{row['r_hat']:.3f}", f"{row['effective_samples']:.0f}", str(row["divergences"]), f"{row['steps_per_sample']:.0f}"]
