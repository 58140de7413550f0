"""The tables of the distances to the sampled posteriors, and of the diagnostics of the sampling."""

from __future__ import annotations

from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.posterior.compare import POSTERIORS
from benchmarks.posterior.problems import PROBLEMS
from benchmarks.report import Row


def table(rows: list[Row]) -> str:
    """Every method's distance to the reference on every problem, near the training inputs / far from them."""
    if not rows:
        return NOT_RUN
    kinds = {name: "tv" if any("tv" in row for row in rows if row["net"] == name) else "w2" for name in PROBLEMS}
    headings = ["method", *(f"{name}, {kind}" for name, kind in kinds.items())]
    lines = [[compared.title, *_cells(method, rows, kinds)] for method, compared in POSTERIORS.items()]
    return grid(headings, lines)


def reference_table(rows: list[Row]) -> str:
    """Whether the chains have mixed: the worst R-hat and effective sample size over the outputs at the compared inputs."""
    if not rows:
        return NOT_RUN
    headings = ["problem", "points", "R-hat", "effective samples", "divergences", "steps a sample"]
    return grid(headings, [[row["net"], str(row["limit"]), *_checks(row)] for row in rows])


def _cells(method: str, rows: list[Row], kinds: dict[str, str]) -> list[str]:
    own = {name: [row for row in rows if row["net"] == name and row["method"] == method] for name in kinds}
    return [f"{_mean(own[name], kind)} / {_mean(own[name], f'{kind}_far')}" for name, kind in kinds.items()]


def _mean(rows: list[Row], key: str) -> str:
    return number(rows, key, spread=False)


def _checks(row: Row) -> list[str]:
    return [f"{row['r_hat']:.3f}", f"{row['effective_samples']:.0f}", str(row["divergences"]), f"{row['steps_per_sample']:.0f}"]
