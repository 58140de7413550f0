"""Times of a step: which rows there are, and which benchmarks take a device."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import step_times
from benchmarks.__main__ import ON_DEVICES, parse
from benchmarks.other_tables import step_times as table


def test_every_method_has_a_row_and_adamw_is_the_unit(run: Callable[..., list[dict[str, Any]]]) -> None:
    rows = [row for net in ("mlp_small", "characters") for row in run("step_times", "--quick", "--net", net)]
    assert [row["method"] for row in rows[-4:]] == ["adamw", "gbp"] * 2
    for row in rows:
        assert row["step_seconds"] > 0 and (row["step_ratio"] == 1) == (row["method"] == "adamw")
    assert {row["net"]: row["weights"] for row in rows}["mlp_small"] == 784 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
    assert "MLP 784-128-128-10; MNIST" in table(rows) and "memory" not in table(rows)  # which is a GPU's


@pytest.mark.parametrize("net", step_times.NETS)
def test_inputs_fit_the_networks(net: str) -> None:
    timed = step_times.NETS[net]
    x, y = step_times._batches(timed, "cpu")[0]
    with torch.no_grad():
        outputs = timed.make().eval()(x[:2])
    assert outputs.shape[:-1] == y[:2].shape


@pytest.mark.parametrize("name", ["uci", "thesis", "onepass", "continual"])
def test_a_device_is_refused_where_it_would_be_ignored(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    arguments = ["--data-dir", str(tmp_path), "--out", str(tmp_path / "a.json"), "--device", "cuda"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", name, *arguments])
    with pytest.raises(SystemExit):
        parse()
    assert "runs on the CPU alone" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["benchmarks", "anynet", *arguments])
    assert parse().device == "cuda" and {"step_times", "mnist_search"} <= ON_DEVICES


def test_a_network_is_trained_on_the_device_of_its_images(device: torch.device) -> None:
    from benchmarks.methods.gbp import MeansSweep
    from benchmarks.race import Run, race
    from benchmarks.tasks import Net, Plan, Split, Trial
    from lightning_modules.data.augmentation import Augmentation

    x, y = torch.randn(24, 3, 8, 8), torch.arange(24) % 3
    net = Net("a", lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3)), [], Augmentation(2, True, [0.0] * 3))
    split = Split(x, y, x, y, {"ood": x}).on(str(device))
    (racer,) = race([Run("gbp", {"samples": False}, MeansSweep)], Trial("a", net, Plan(2, None, 8, 8), split, 0))
    assert {own.device.type for own in racer.method.network.parameters()} == {device.type}
    assert racer.predict(split.scored_x).device.type == split.scored_y.device.type == "cpu"
