"""The tables of the checks."""

from __future__ import annotations

from functools import partial
from statistics import mean

from benchmarks.anynet import CASES
from benchmarks.checks import coverage as covered
from benchmarks.checks import curve, posterior, robust, ways
from benchmarks.checks.thesis_nets import PUBLISHED
from benchmarks.markdown import ACCURACY, ECE, NLL, Column, Line, cell, crossed, distinct, grid, number
from benchmarks.results import Row, matching


def synthetic(rows: list[Row]) -> str:
    """Error against the curve and log-likelihood of new points."""
    lines = [Line([net.title], {"net": name}) for name, net in curve.NETS.items()]
    columns = [
        Column("RMSE against the curve", cell("rmse", 3)),
        Column("log-likelihood of new points", cell("log_likelihood", 3)),
    ]
    return crossed(rows, ["network"], lines, columns)


def coverage(rows: list[Row]) -> str:
    """Correlation of credible level and coverage, and the coverage of 1, 2 and 3 sigma, by each prior and predictive."""
    lines = []
    for name, case in covered.CASES.items():
        if own := matching(rows, seed="all", net=name):
            lines += _published_coverage(case.function)
            for row in own:
                lines += _covered(case, row)
    headings = ["functions", "prior", "predictive", "networks", "region", "correlation"]
    return grid([*headings, *(f"{name[-1]} sigma" for name in covered.SIGMAS)], lines)


_SIDES = {"left": "x < -10", "inside": "inside", "right": "x > 10"}


def _covered(case: covered.Case, row: Row) -> list[list[str]]:
    told = [case.function, case.title, covered.TITLES[row["method"]], _networks(row)]
    lines = []
    for region, title in _SIDES.items():
        correlation = f"{row[key]:.3f}" if (key := f"correlation_{region}") in row else ""
        lines.append([*told, title, correlation, *(f"{100 * row[f'{name}_{region}']:.0f} %" for name in covered.SIGMAS)])
    return [*lines, [*told, "both sides", f"{row['correlation']:.3f}", *("" for _ in covered.SIGMAS)]]


def _networks(row: Row) -> str:
    lost = row.get("diverged", 0)
    return f"{row['networks']} of {row['networks'] + lost}, the others diverged" if lost else str(row["networks"])


def _published_coverage(function: str) -> list[list[str]]:
    """What the thesis tells of these functions: 100 networks."""
    found, lines = PUBLISHED["coverage"][function], []
    for region, title in (_SIDES | {"both sides": "both sides"}).items():
        shares = [f"{share} %" for share in found.get(region, [])]
        correlation = found.get("correlation", {}).get(region)
        if shares or correlation:
            told = [function, "the thesis'", "published", "100", title, "" if correlation is None else f"{correlation:.2f}"]
            lines.append([*told, *shares, *("" for _ in range(len(covered.SIGMAS) - len(shares)))])
    return lines


def distances(rows: list[Row]) -> str:
    """Every method's distance to the sampled posterior near the training inputs / far from them / all together, and on how
    many problems it is the closer one than mean-field VI."""
    kinds = {name: "tv" if any("tv" in row for row in matching(rows, net=name)) else "w2" for name in posterior.PROBLEMS}
    parts = ("", "_far", "_all")

    def closer(own: list[Row], part: str) -> str:
        wins = []
        for name, kind in kinds.items():
            pair = matching(own, net=name), matching(rows, net=name, method="vi")
            if all(pair):
                ours, theirs = (mean(row[kind + part] for row in some) for some in pair)
                wins.append(ours < theirs)
        return f"{sum(wins)} of {len(wins)}"

    def told(kind: str, own: list[Row]) -> str:
        return " / ".join(number(own, kind + part, spread=False) for part in parts)

    columns = [Column(f"{name}, {kind}", partial(told, kind), {"net": name}) for name, kind in kinds.items()]
    vi = posterior.POSTERIORS["vi"].title
    columns.append(
        Column(
            f"closer than {vi}", lambda own: "" if own[0]["method"] == "vi" else " / ".join(closer(own, part) for part in parts)
        )
    )
    lines = [Line([compared.title], {"method": method}) for method, compared in posterior.POSTERIORS.items()]
    return crossed(rows, ["method"], lines, columns)


def reference(rows: list[Row]) -> str:
    """Whether the chains have mixed: the worst R-hat and effective sample size over the outputs at the compared inputs."""
    columns = [Column("points", cell("limit", 0)), Column("R-hat", cell("r_hat", 3))]
    columns += [Column("effective samples", cell("effective_samples", 0)), Column("divergences", cell("divergences", 0))]
    lines = [Line([net], {"net": net}) for (net,) in distinct(rows, "net")]
    return crossed(rows, ["problem"], lines, [*columns, Column("steps a sample", cell("steps_per_sample", 0))])


def robust_table(rows: list[Row]) -> str:
    """A line for each part of the grid, and one for all but the raw units."""
    found = robust.verdicts(rows)
    parts = list(dict.fromkeys(verdict.part for verdict in found))
    lines = [_part(part, [verdict for verdict in found if verdict.part == part]) for part in parts]
    headings = ["part of the grid", "configurations", "torch_gbp", "AdamW", "linear", "torch_gbp collapsed", "AdamW collapsed",
                "torch_gbp behind AdamW", "errors or NaN", "collapsed in silence", "warned though it learns"]  # fmt: skip
    return grid(headings, [*lines, _part("**all but raw units**", [verdict for verdict in found if verdict.part != robust.RAW])])


def _part(title: str, own: list[robust.Verdict]) -> list[str]:
    means = [f"{100 * mean(v.scores[method] for v in own):.1f} %" for method in ("gbp", "adamw", "linear")]
    silent = sum(v.collapsed("gbp") and v.silent for v in own)
    counts = [sum(v.collapsed("gbp") for v in own), sum(v.collapsed("adamw") for v in own), sum(v.behind for v in own)]
    false = sum(v.warned and not v.collapsed("gbp") for v in own)
    return [title, str(len(own)), *means, *map(str, [*counts, sum(v.failed for v in own), silent, false])]


def ways_of_predicting(rows: list[Row]) -> str:
    """Every network and way of predicting, as it comes and at a temperature."""
    lines = [
        Line([CASES[net].net.title, title], {"net": net, "method": way})
        for net in ways.NETS
        for way, title in ways.TITLES.items()
    ]
    columns = [
        Column("NLL", NLL),
        Column("accuracy", ACCURACY),
        Column("ECE", ECE),
        Column("NLL with a temperature", cell("nll_tempered")),
        Column("ECE with it", cell("ece_tempered")),
        Column("temperature", cell("temperature", 2)),
    ]
    return crossed(rows, ["network", "predicted by"], lines, columns)
