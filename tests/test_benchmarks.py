"""The benchmark's command line on made-up images: every path runs, the result file has the agreed form."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.memory import PeakMemory
from benchmarks.tasks import TASKS

CASE = {"method", "net", "limit", "seed", "epochs"}
SCORES = {"accuracy", "nll", "ece", "ood_auroc"}
COSTS = {"train_seconds", "pass_seconds", "predict_seconds", "peak_memory_mb"}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """MNIST, FashionMNIST and notMNIST folders of 64 training and 32 test images each."""
    generator = torch.Generator().manual_seed(0)
    for name in ("MNIST", "FashionMNIST", "notMNIST"):
        folder = tmp_path / name / "raw"
        folder.mkdir(parents=True)
        for part, size in (("train", 64), ("t10k", 32)):
            pixels = torch.randint(0, 256, (size, 28, 28), generator=generator, dtype=torch.uint8)
            labels = torch.arange(size, dtype=torch.uint8) % 10
            header = struct.pack(">iiii", 2051, size, 28, 28)
            (folder / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.numpy().tobytes())
            (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, size) + labels.numpy().tobytes())
    return tmp_path


def test_mnist_writes_the_agreed_form(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.json"
    arguments = ["mnist", "--data-dir", str(data_dir), "--out", str(out), "--seeds", "3", "--epochs", "2"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments, "--methods", "gbp", "adamw"])
    main()
    content = json.loads(out.read_text())
    rows = content["rows"]
    assert content["benchmark"] == "mnist"
    assert {(row["net"], row["method"]) for row in rows} == {(n, m) for n in TASKS["mnist"].nets for m in ("gbp", "adamw")}
    assert all(set(row) >= CASE | SCORES | COSTS | {"brier", "ood_auroc_notmnist", "train_ratio"} for row in rows)
    assert all(0 <= row["accuracy"] <= 1 and row["seed"] == 3 and row["limit"] == 64 and row["epochs"] == 2 for row in rows)
    assert all(row["peak_memory_mb"] > 0 and row["train_seconds"] > 0 for row in rows)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning")
def test_digits_tell_the_scores_of_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.json"
    arguments = ["digits", "--data-dir", str(tmp_path), "--out", str(out), "--seeds", "5", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    main()
    rows = json.loads(out.read_text())["rows"]
    assert [row["method"] for row in rows] == ["gbp", "adamw"]
    assert all(set(row) >= CASE | SCORES and row["seed"] == 5 and row["epochs"] == 1 and row["limit"] == 1297 for row in rows)


def test_peak_memory_counts_storages_once_and_frees_them() -> None:
    kept = torch.zeros(1000)
    with PeakMemory([kept]) as memory:
        view = kept.view(10, 100)  # shares the storage
        for _ in range(5):
            temporary = view + 1  # freed before the next one, but for the moment of replacement
        del temporary
    assert memory.peak == 3 * 4000
    assert memory.bytes == 4000
