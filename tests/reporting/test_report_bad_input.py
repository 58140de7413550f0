"""Hostile values for every parameter of `report`: it writes a page, or refuses with a way out and writes nothing."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from fuzz import SCALARS, TENSORS, Case, outcome

from torch_gbp.evaluation import Outcome, Predictions
from torch_gbp.reporting import class_sections, other_sections, report, run_sections

LABELS, X = torch.arange(6) % 3, torch.rand(6, 1, 5, 5)
P = torch.softmax(torch.arange(18.0).reshape(6, 3).sin(), 1)
OUTCOME = Outcome("m", LABELS, probabilities=P, inputs=X, ood={"far": Predictions(probabilities=P.flip(0), inputs=X)})
KNOWN: dict[str, Any] = {"models": OUTCOME, "path": "r.html", "resamples": 0, "inputs": X}
TRIED = {
    **{f"{name}={key}": {name: value} for name in inspect.signature(report).parameters for key, value in SCALARS.items()},
    **{f"inputs={key}": {"inputs": spoil(X)} for key, spoil in TENSORS.items()},
    **{
        f"classes={key}": {"classes": value}
        for key, value in (("numbers", [0, 1, 2]), ("two", ["a", "b"]), ("three", ["a", "b", "c"]))
    },
    **{f"networks of {key}": {"networks": {"m": value}} for key, value in SCALARS.items()},
    **{f"histories of {key}": {"histories": {"m": value}} for key, value in SCALARS.items()},
    **{f"curves of {key}": {"histories": {"m": {"evidence": value}}} for key, value in SCALARS.items()},
    "a folder": {"path": "."},
    "a nameless file": {"path": ""},
}


@pytest.mark.filterwarnings("ignore")  # of torch, about what is tried here
def test_hostile_values_are_refused_or_make_a_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for room in (class_sections, other_sections, run_sections):
        monkeypatch.setattr(room, "panel", lambda *parts, **options: "<svg></svg>")  # it is what takes the time
    faults = {}
    for name, given in TRIED.items():
        before = set(tmp_path.iterdir())
        found = outcome(Case(name, lambda given=given: report(**KNOWN | given)))
        written = set(tmp_path.iterdir()) - before
        if found not in ("sound", "refused") or (found == "refused" and written):
            faults[name] = found
        for path in written:
            path.unlink()
    assert faults == {}
    assert len(TRIED) > 300
