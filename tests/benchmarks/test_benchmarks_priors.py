"""The two benchmarks of the prior variance: every path runs on made-up data, the rows have their form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import prior_variance, prior_variance_uci
from benchmarks.report import Request
from lightning_modules.data.images import Images


def test_prior_variance_scores_every_variant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pixels, labels = torch.randint(0, 256, (40, 1, 28, 28), dtype=torch.uint8), torch.arange(40) % 10
    task = prior_variance.TASKS["mnist"]._replace(load=lambda *_: Images(pixels, labels, pixels, labels))
    monkeypatch.setitem(prior_variance.TASKS, "mnist", task)
    rows = list(prior_variance.run(Request(tmp_path, [0, 1], quick=True, epochs=1, limit=20)).rows)
    assert [row["method"] for row in rows] == list(prior_variance.VARIANTS)
    assert all(row["seed"] == 0 and row["nll"] > 0 for row in rows)
    assert len({row["nll"] for row in rows}) == len(rows)


def test_prior_variance_uci_scores_every_variant(tmp_path: Path) -> None:
    folder = tmp_path / "UCI" / "energy"
    folder.mkdir(parents=True)
    values = np.random.default_rng(0).normal(size=(60, 4))
    for name, content in (
        ("data", values), ("index_features", np.arange(3)), ("index_target", np.array([3])),
        ("index_train_0", np.arange(50)), ("index_test_0", np.arange(50, 60)),
    ):  # fmt: skip
        np.savetxt(folder / f"{name}.txt", content)
    rows = list(prior_variance_uci.run(Request(tmp_path, [0, 1], quick=True, net="energy")).rows)
    assert [row["method"] for row in rows] == list(prior_variance_uci.VARIANTS)
    assert all(row["limit"] == 40 and row["noise_variance"] > 0 and row["rmse"] > 0 for row in rows)
