"""The tables of the thesis' curve: networks of growing depth and width, and the coverage of 100 networks."""

from __future__ import annotations

from benchmarks.coverage import SIGMAS
from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.report import Row
from benchmarks.synthetic import NETS

REGION_TITLES = {"left": "x < -10", "inside": "inside", "right": "x > 10"}
PREDICTIVE_TITLES = {"gbp": "marginals", "gbp_joint": "linear response"}


def synthetic_table(rows: list[Row]) -> str:
    """Error against the curve and log-likelihood of new points, mean and standard error over the seeds."""
    if not rows:
        return NOT_RUN
    own = {name: [row for row in rows if row["net"] == name] for name in NETS}
    lines = [[NETS[name].title, number(found, "rmse"), number(found, "log_likelihood")] for name, found in own.items()]
    return grid(["network", "RMSE against the curve", "log-likelihood of new points"], lines)


def coverage_table(rows: list[Row]) -> str:
    """Correlation of credible level and coverage, and the coverage of 1, 2 and 3 sigma, by each predictive."""
    together = [row for row in rows if row["seed"] == "all"]
    if not together:
        return NOT_RUN
    headings = ["predictive", "networks", "region", "correlation", *(f"{name[-1]} sigma" for name in SIGMAS)]
    return grid(headings, [line for row in together for line in _regions(row)])


def _regions(row: Row) -> list[list[str]]:
    """The lines of one predictive: a region each, and both sides together."""
    case = [PREDICTIVE_TITLES[row["method"]], str(row["networks"])]
    lines = [[*case, title, *_cells(row, region)] for region, title in REGION_TITLES.items()]
    return [*lines, [*case, "both sides", f"{row['correlation']:.3f}", *("" for _ in SIGMAS)]]


def _cells(row: Row, region: str) -> list[str]:
    correlation = row.get(f"correlation_{region}")
    told = "" if correlation is None else f"{correlation:.3f}"
    return [told, *(f"{100 * row[f'{name}_{region}']:.0f} %" for name in SIGMAS)]
