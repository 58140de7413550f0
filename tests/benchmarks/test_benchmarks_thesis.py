"""The thesis' tables and figures: every way of training, the curves that rows keep, and what stands beside ours."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import figures, tables
from benchmarks.__main__ import main
from benchmarks.checks import prior, thesis_tables, thesis_times
from benchmarks.checks.thesis_curves import DISCARDED, FALSE, curves
from benchmarks.checks.thesis_nets import LIMITS, NETS, PUBLISHED
from torch_gbp.metrics import classification_scores, ood_auroc

Rows = list[dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rows]:
    """Calls the command line on MNIST and FashionMNIST folders of 32 random images each; the rows of the result file."""
    generator = torch.Generator().manual_seed(0)
    for name in ("MNIST", "FashionMNIST"):
        folder = tmp_path / name / "raw"
        folder.mkdir(parents=True)
        for part in ("train", "t10k"):
            pixels = torch.randint(0, 256, (32, 28, 28), generator=generator, dtype=torch.uint8)
            labels = torch.arange(32, dtype=torch.uint8) % 10
            (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">iiii", 2051, 32, 28, 28) + pixels.numpy().tobytes())
            (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, 32) + labels.numpy().tobytes())

    def call(name: str, *arguments: str) -> Rows:
        out = tmp_path / f"{name}.json"
        told = ["benchmarks", name, "--data-dir", str(tmp_path), "--out", str(out), "--quick", "--seeds", "0", *arguments]
        monkeypatch.setattr(sys, "argv", told)
        main()
        return json.loads(out.read_text())["rows"]

    return call


def test_every_way_trains_and_what_is_there_is_left_alone(run: Callable[..., Rows], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--limit", "6", "--epochs", "1", "--net", "mlp"
    rows = run("thesis", *arguments, "--methods", "gbp_onehot", "sgd", "sgd_squares", "adamw")
    expected = [("sequential", "gbp_onehot"), ("averaged", "gbp_onehot"), ("plain", "sgd_squares"), ("plain", "sgd")]
    assert [(row["order"], row["method"]) for row in rows] == [*expected, ("searched", "adamw")]
    assert all(row["limit"] == 6 and row["epochs"] == 1 and row["nll"] > 0 and 0 <= row["ood_auroc"] <= 1 for row in rows)
    assert rows[2]["nll"] != rows[3]["nll"] and rows[4]["chosen_by"] and "curves" not in rows[0]
    assert run("thesis", *arguments, "--methods", "gbp_onehot", "plain", "averaged") == rows
    assert "nothing to run" in capsys.readouterr().out


def test_a_call_may_name_ways(run: Callable[..., Rows]) -> None:
    rows = run("thesis", "--limit", "6", "--epochs", "1", "--net", "lenet", "--methods", "averaged", "gbp_argmax", "sgd")
    assert [(row["order"], row["method"], row["net"]) for row in rows] == [("averaged", "gbp_argmax", "lenet")]


def test_rows_of_few_sizes_keep_their_curves_and_figures_are_drawn_of_them(run: Callable[..., Rows], tmp_path: Path) -> None:
    rows = run("thesis", "--epochs", "1", "--net", "mlp", "--methods", "sgd", "adamw", "averaged", "plain", "gbp_onehot")
    assert all(row["limit"] == 16 and set(row["curves"]) >= {"share", "kept_accuracy"} for row in rows)
    drawn = {path.stem for path in figures.draw(tmp_path, tmp_path)}
    assert drawn == {"thesis_confidence", "thesis_calibration", "thesis_relative", "thesis_roc"}


def test_the_areas_under_the_curves_are_the_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    inside, outside = (scale * torch.randn(2000, 10, generator=generator) for scale in (3.0, 1.5))
    logs, labels = inside.log_softmax(1), (3 * inside).softmax(1).multinomial(1, generator=generator)[:, 0]
    found = curves(logs, labels, {"far": outside.log_softmax(1)})
    relative = torch.trapezoid(torch.tensor(found["kept_accuracy"], dtype=torch.float64), DISCARDED)
    assert float(relative) == pytest.approx(classification_scores(logs, labels)["relative_auc"], abs=0.015)
    roc = torch.trapezoid(torch.tensor(found["true_positives_far"], dtype=torch.float64), FALSE)
    assert float(roc) == pytest.approx(ood_auroc(logs, outside.log_softmax(1)), abs=0.005)
    assert sum(share or 0 for share in found["share"]) == pytest.approx(1, abs=0.002)


def test_published_accuracies_stand_above_ours() -> None:
    rows = [{"net": "lenet", "method": "gbp_onehot", "order": "averaged", "limit": 80, "accuracy": 0.5}]
    lines = [line for line in thesis_tables.accuracies(rows).splitlines() if "LeNet-5 | one-hot" in line]
    assert lines[0].startswith("| LeNet-5 | one-hot (R-MP) | published | 27.75 | 25.58 |")
    assert lines[1].startswith("| LeNet-5 | one-hot (R-MP) | **torch_gbp as it comes** | 50.00 | - |")
    own = {"net": "mlp400", "method": "gbp_onehot", "order": "averaged", "limit": 60000, "epochs": 3, "accuracy": 0.9}
    assert "60,000 images, 3 passes | 90.00 | 0.5000" in thesis_tables.widths([{**own, "relative_auc": 0.5}])
    told = {"net": "lenet", "method": "sgd", "order": "plain", "limit": 640, "relative_auc": 0.25}
    assert "| 0.4451 | 0.2500 | - |" in thesis_tables.scores([told])


def test_the_published_figures_are_of_known_networks_and_methods() -> None:
    assert {told["net"] for told in PUBLISHED["figures"]} | set(PUBLISHED["widths"]) <= set(NETS)
    assert all(told["limit"] in LIMITS and told["method"] in thesis_tables.METHODS for told in PUBLISHED["figures"])
    assert all(len(own) <= len(LIMITS) for net in PUBLISHED["accuracy"].values() for own in net.values())
    assert set(PUBLISHED["milliseconds"]["cpu"]) == {*thesis_times.LAYERS, *thesis_times.SIGNALS}


def test_the_prior_predictive_by_moments_is_that_of_drawn_networks(run: Callable[..., Rows], tmp_path: Path) -> None:
    rows = run("prior_predictive", "--methods", "published", "default")
    assert [row["method"] for row in rows] == ["published"] * prior.QUICK + ["default"] * prior.QUICK
    assert all(row["deviation"] == pytest.approx(row["drawn_deviation"], rel=0.25) for row in rows)
    assert rows[0]["deviation"] < rows[1]["deviation"] < rows[2]["deviation"]  # wider with depth, as the thesis says
    assert "| 4 hidden layers of 100 |" in tables.table("prior_predictive", folder=tmp_path)


def test_every_layer_is_timed_in_both_precisions(
    run: Callable[..., Rows], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thesis_times, "LARGEST", "mlp")  # the largest takes seconds
    rows = run("thesis_times")
    layers = len(thesis_times.LAYERS) + len(thesis_times.SIGNALS)
    assert len(rows) == 2 * layers + len(thesis_times.RIVALS) and all(row["milliseconds"] >= 0 for row in rows)
    assert [row["method"] for row in rows[-3:]] == list(thesis_times.RIVALS) and rows[-1]["peak_memory_mb"] > 1
    assert "| linear | 147.8 | 23.9 |" in tables.table("thesis_times", folder=tmp_path)
