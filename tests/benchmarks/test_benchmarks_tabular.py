"""The benchmark of scikit-learn's tables: a row for every method, scores beside independent ones, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LinearRegression

from benchmarks import tabular
from benchmarks.other_tables import shipped_tables

X = np.random.default_rng(0).normal(size=(60, 3))
Y = X @ [1.0, -2.0, 0.5] + np.random.default_rng(1).normal(0, 0.3, 60)


@pytest.mark.filterwarnings("ignore::torch_gbp.errors.NotLearning")
def test_a_quick_run_has_a_row_for_every_method_and_is_told(run: Callable[..., list[dict[str, Any]]]) -> None:
    found = run("tabular", "--quick", "--net", "diabetes", "--methods", "gbp", "linear", "gp")
    assert [row["method"] for row in found] == ["gbp", "linear", "gp"]
    assert all(np.isfinite([row["rmse"], row["nll"]]).all() and row["limit"] == tabular.QUICK_ROWS for row in found)
    found += run("tabular", "--quick", "--net", "iris", "--methods", "linear")[-1:]
    told = shipped_tables(found)
    assert "| **torch_gbp** |" in told and f"{100 * found[-1]['accuracy']:.1f} %" in told


def test_scores_are_those_of_scipy() -> None:
    made = tabular.WithDeviation(LinearRegression()).fit(X, Y)
    mean, std = made.predict(X)
    found = tabular.regressed(made, X, Y)
    assert found["nll"] == pytest.approx(-norm.logpdf(Y, mean, std).mean())
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((Y - mean) ** 2)))
    assert 0.2 < std[0] < 0.45 and (std == std[0]).all()


def test_a_fold_is_not_learnt_from() -> None:
    """Labels that say nothing of the rows are guessed no better than by chance."""
    x, y = X, np.random.default_rng(2).integers(0, 2, 60)
    row = tabular._row(
        {"method": "forest", "net": "none", "limit": 60, "seed": 0},
        tabular.classifiers(True)["forest"],
        (x[:40], y[:40]),
        (x[40:], y[40:]),
        True,
    )
    assert row["accuracy"] < 0.85 and row["nll"] > 0.5
