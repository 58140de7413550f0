"""The tables of inputs from elsewhere: out-of-distribution sets by score, and corruptions by severity."""

from __future__ import annotations

from benchmarks import corruptions, ood
from benchmarks.markdown import Column, Line, cell, crossed, distinct, number
from benchmarks.methods import METHODS
from benchmarks.results import Row, matching
from benchmarks.tasks import TASKS


def detection(rows: list[Row]) -> str:
    """A line for each network, method and score; AUROC / FPR95 in per cent of every set, near ones first."""
    lines = []
    for data, net, limit, epochs in distinct(rows, "data", "net", "limit", "epochs"):
        title = f"{TASKS[data].title}, {TASKS[data].nets[net].title}, {limit:,} images, {epochs} passes"
        own = {"data": data, "net": net, "limit": limit, "epochs": epochs}
        for (method,) in distinct(matching(rows, **own), "method"):
            for score, words in ood.SCORES.items():
                lines.append(Line([title, _named(method), words], own | {"method": method, "score": score}))
    near = list(dict.fromkeys(name for sets in ood.NEAR.values() for name in sets))
    columns = [Column(f"near: {name}", _both, {"ood": name}) for name in near]
    columns += [Column(f"far: {name}", _both, {"ood": name}) for name in (ood.MADE, *ood.FAR)]
    return crossed(rows, ["trained on", "method", "score"], lines, columns)


def corrupted(rows: list[Row]) -> str:
    """A line for each network and method: NLL and ECE by severity, means over the kinds, and with a held-out temperature."""
    means = corruptions.mean_over_kinds(rows)
    lines = []
    order = list(METHODS)
    cases = distinct(means, "net", "limit", "epochs", "method")
    for net, limit, epochs, method in sorted(cases, key=lambda case: (*case[:-1], order.index(case[-1]))):
        title = f"{TASKS[corruptions.TASK].nets[net].title}, {limit:,} images, {epochs} passes"
        lines.append(Line([title, _named(method)], {"net": net, "limit": limit, "epochs": epochs, "method": method}))
    shown = {"NLL": "nll", "NLL, temperature": "nll_tempered", "ECE": "ece", "ECE, temperature": "ece_tempered"}
    columns = [
        Column(f"{words}, {f'severity {severity}' if severity else 'clean'}", cell(key, 3, spread=False), {"severity": severity})
        for words, key in shown.items()
        if any(key in row for row in means)
        for severity in (0, *corruptions.SEVERITIES)
    ]
    return crossed(means, ["net", "method"], lines, columns)


def _named(method: str) -> str:
    title = METHODS[method].title
    return f"**{title}**" if method == "gbp" else title


def _both(own: list[Row]) -> str:
    """AUROC and, after it, FPR95 in per cent."""
    return f"{number(own, 'auroc', 3)} / {number(own, 'fpr95', 0, 100, spread=False)} %" if own else "-"
