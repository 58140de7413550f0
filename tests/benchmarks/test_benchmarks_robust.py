"""The robustness grid: its size, a run of a part of it, and what its table counts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.checks import robust
from benchmarks.checks.grid import Case, cases, changed, load
from benchmarks.checks.robust import _told, verdicts
from benchmarks.checks.tables import robust_table
from benchmarks.results import Request


def row(method: str, seed: int = 0, **found: Any) -> dict[str, Any]:
    return {"method": method, "net": "a", "part": "a", "seed": seed, "warned": []} | found


def test_the_grid_has_two_hundred_configurations_with_names_of_their_own() -> None:
    found = cases()
    assert len(found) >= 200
    assert len({case.name for case in found}) == len(found)


def test_a_quick_part_has_a_row_for_every_method(run: Callable[..., list[dict[str, Any]]]) -> None:
    rows = run("robust", "--quick", "--net", "digits")
    assert [found["method"] for found in rows] == ["gbp", "adamw", "linear"]
    assert all(0 <= found["accuracy"] <= 1 and "error" not in found for found in rows)


def test_an_error_is_a_row_and_not_the_end() -> None:
    def train(case: Any, data: Any) -> Any:
        raise ValueError("no")

    assert _told(train, Case("a"), load("iris", Path(), 0), 0)["error"] == "ValueError: no"


def test_an_unknown_part_names_those_there_are() -> None:
    with pytest.raises(SystemExit, match="raw units"):
        robust.run(Request(Path(), [0], net="nothing"))


def test_digits_that_chose_the_defaults_are_not_scored() -> None:
    data = load("digits", Path(), 0)
    assert (len(data.x), len(data.scored_x)) == (1000, 397)
    torch.testing.assert_close(changed(data, "x 1e3").x, 1e3 * data.x)


def test_the_table_counts_over_the_seeds_together() -> None:
    rows = [row("gbp", seed, accuracy=value) for seed, value in enumerate((0.9, 0.86))]
    rows += [row("adamw", accuracy=0.885), row("linear", accuracy=0.9)]
    (verdict,) = verdicts(rows)
    assert not verdict.behind and not verdict.collapsed("gbp")
    (verdict,) = verdicts([row("gbp", accuracy=0.87), *rows[2:]])
    assert verdict.behind
    (verdict,) = verdicts([row("gbp", error="E: no"), *rows[2:]])
    assert verdict.failed and verdict.collapsed("gbp")
    assert "| 1 | 1 | 1 |" not in robust_table(rows)
    assert "**all but raw units**" in robust_table(rows)
