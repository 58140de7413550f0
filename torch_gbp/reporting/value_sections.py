"""Sections on real targets: predictive bands, calibration of intervals, the predictions that were farthest off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from torch_gbp.evaluation.outcome import Outcome
from torch_gbp.reporting import curves, real
from torch_gbp.reporting.canvas import panel
from torch_gbp.reporting.curves import Array
from torch_gbp.reporting.page import Section, figure, grid, key, table

TARGETS = 3  # with drawings of their own, where an example has several
ROWS, COLUMNS = 8, 6  # of the table of surprises: examples and values of an input


class Values(NamedTuple):
    """Predictive mean, standard deviation and target, each (n, k)."""

    mean: Array
    deviation: Array
    target: Array


def values(outcome: Outcome) -> Values:
    """What is drawn, as arrays."""
    parts = (outcome.mean, outcome.std, outcome.targets)
    return Values(*(part.double().reshape(len(outcome), -1).numpy() for part in parts if part is not None))


def glance(outcome: Outcome) -> str:
    """What a person wants to know first, in sentences."""
    found = values(outcome)
    far, wide = np.abs(found.target - found.mean), 2 * found.deviation
    inside, width = 100 * np.mean(far <= wide), np.median(wide)
    return (
        f"Off by <b>{np.sqrt(np.mean(far**2)):.4g}</b> (root mean square) on {len(outcome):,} examples. "
        f"<b>{inside:.1f} %</b> of the targets lie within two predicted deviations, of Gaussian ones 95.4 % would; "
        f"that is {width:.4g} to either side in the median."
    )


def bands(outcomes: Sequence[Outcome], inputs: Tensor | None) -> Section:
    """Targets beside predictive means and bands, and errors beside predicted deviations."""
    text = """<p>Targets as dots; bars or bands of two predicted standard deviations, which hold 95 of 100 Gaussian targets.
Below: whether the errors are large where the model says so. Each point stands for an eighth of the examples, a
grey bar for two standard errors of a model whose deviations are right.</p>"""
    rows = [(i, own, k) for i, own in enumerate(outcomes) for k in range(min(TARGETS, values(own).mean.shape[1]))]
    drawn = [figure(_band(i, own, k, inputs), _of_target(own, k), own.name, i) for i, own, k in rows]
    errors = [figure(_errors(i, own, k), _of_target(own, k), own.name, i) for i, own, k in rows]
    return Section("bands", "Predictive bands", text + grid(drawn) + "<h3>Errors and predicted deviations</h3>" + grid(errors))


def _of_target(outcome: Outcome, k: int) -> str:
    several = values(outcome).mean.shape[1]
    return f"Target {k + 1} of {several}." if several > 1 else ""


def _band(number: int, outcome: Outcome, k: int, inputs: Tensor | None) -> str:
    mean, deviation, target = (part[:, k] for part in values(outcome))
    x = outcome.inputs if inputs is None else inputs
    if x is not None and len(x) == len(mean) and x.flatten(1).shape[1] == 1:
        across = x.detach().double().flatten().cpu().numpy()
        return panel(real.predictive_band(across, mean, deviation, target, number), "predictive band over the input")
    return panel(real.targets_against_means(mean, deviation, target, number), "targets against predictive means")


def _errors(number: int, outcome: Outcome, k: int) -> str:
    mean, deviation, target = (part[:, k] for part in values(outcome))
    return panel(real.errors_against_deviations(mean, deviation, target, number), "errors against predicted deviations")


def calibration(outcomes: Sequence[Outcome]) -> Section:
    """Coverage of central intervals, and histograms of the probability integral transform."""
    text = """<p>An interval of level 80 % should hold 80 % of the targets; in the grey band lie 95 of 100 models for which
that is so. The bars show at which quantile of its predictive distribution each target lay: flat for a
calibrated model, a hill where its intervals are too wide, a valley where they are too narrow.</p>"""
    transforms = [own.whole().transform(own.targets.double()).flatten().numpy() for own in outcomes]
    lines = panel(real.coverage_lines([curves.interval_coverage(own) for own in transforms]), "coverage against level")
    above = figure(lines, " ".join(key(i, own.name) for i, own in enumerate(outcomes)), "Coverage against level")
    bars = [
        figure(panel(real.pit_bars(curves.pit_histogram(own), i), "histogram of the PIT"), "", outcomes[i].name, i)
        for i, own in enumerate(transforms)
    ]
    return Section("calibration", "Calibration", text + grid([above, *bars]))


def surprises(outcomes: Sequence[Outcome], inputs: Tensor | None) -> Section:
    """The targets that lay farthest from the predictive mean, in predicted standard deviations."""
    text = "<p>Where the model was most wrongly certain: targets that lay most predicted deviations off.</p>"
    return Section("surprises", "Surprises", text + "".join(_surprises(i, own, inputs) for i, own in enumerate(outcomes)))


def _surprises(number: int, outcome: Outcome, inputs: Tensor | None) -> str:
    found = values(outcome)
    far = (found.target - found.mean) / found.deviation
    worst = np.argsort(-np.abs(far).max(1), kind="stable")[:ROWS]
    x = outcome.inputs if inputs is None else inputs
    known = None if x is None or x.flatten(1).shape[1] > 64 else x.detach().flatten(1)[:, :COLUMNS]
    head = [
        "example",
        "target",
        "predicted",
        "off by",
        *(f"input {j + 1}" for j in range(0 if known is None else known.shape[1])),
    ]
    rows = []
    for place in map(int, worst):
        k = int(np.abs(far[place]).argmax())
        own = [] if known is None or place >= len(known) else [f"{float(value):.4g}" for value in known[place]]
        said = f"{found.mean[place, k]:.4g} ± {found.deviation[place, k]:.3g}"
        rows.append([f"{place + 1}", f"{found.target[place, k]:.4g}", said, f"{far[place, k]:+.1f} deviations", *own])
    return f"<h3>{key(number, outcome.name)}</h3>" + table(head, rows)
