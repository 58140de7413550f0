"""The benchmark `ways`: every way of predicting by one trained network with BatchNorm, and its table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from lightning_helpers import write_image_sets
from torch import nn

from benchmarks import anynet, tables
from benchmarks.__main__ import main
from benchmarks.checks import ways
from benchmarks.methods.base import Training
from benchmarks.methods.gbp import MeansSweep
from torch_gbp.weights.attached import ParameterMarginal


def test_every_way_has_its_row_and_the_table_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image_sets(tmp_path)
    anynet.images.cache_clear()
    out = tmp_path / "ways.json"
    command = ["benchmarks", "ways", "--data-dir", str(tmp_path), "--out", str(out), "--quick", "--accept-altered"]
    monkeypatch.setattr(sys, "argv", [*command, "--net", "resnet8", "--seeds", "0"])
    main()
    rows = {row["method"]: row for row in json.loads(out.read_text())["rows"]}
    assert list(rows) == list(ways.WAYS) == list(ways.TITLES)
    told = {way: row["nll"] for way, row in rows.items()}
    assert len(set(told.values())) == len(told)  # no two are the same
    text = tables.table("ways", folder=tmp_path)
    assert all(title in text for title in ways.TITLES.values())


def test_statistics_are_kept_only_where_they_are_to_be() -> None:
    trained = _trained()
    x = torch.randn(5, 3, 6, 6)
    kept = ways._keeping(trained.network)
    assert all(own.mean_input is None for own in _marginals(kept))
    assert any(own.mean_input is not None for own in _marginals(trained.network))
    assert ways._anew(trained)(x).exp().sum(1).tolist() == pytest.approx([1.0] * 5)


def _trained() -> MeansSweep:
    torch.manual_seed(0)
    x, y = torch.randn(40, 3, 6, 6), torch.randint(10, (40,))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))
    method = MeansSweep(Training(network, x, y, 1, 5), samples=False)
    for start in range(0, 40, 8):
        method.step(x[start : start + 8], y[start : start + 8])
    method.finish()
    method.network.eval()
    return method


def _marginals(network: nn.Module) -> list[ParameterMarginal]:
    return [own for own in network.modules() if isinstance(own, ParameterMarginal)]
