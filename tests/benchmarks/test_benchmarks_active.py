"""Active learning: what is read off a curve, and that every way of choosing runs and chooses unlabelled images."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from lightning_helpers import write_idx

from benchmarks import active
from benchmarks.__main__ import main
from benchmarks.other_tables import active_learning


def curve(*accuracies):
    return active.Curve([20 * (place + 1) for place in range(len(accuracies))], list(accuracies), [0.0] * len(accuracies))


@pytest.mark.parametrize(
    ("accuracies", "labels"),
    [
        ((0.5, 0.93, 0.97, 0.96), 50.0),  # half of the way from 40 to 60
        ((0.93, 0.97, 0.94, 0.96, 0.97), 70.0),  # a single round above 95 % does not count
        ((0.96, 0.97), 20.0),
        ((0.5, 0.97), None),
        ((0.5, 0.94), None),
    ],
)
def test_labels_at_the_goal(accuracies, labels):
    assert curve(*accuracies).reached() == (None if labels is None else pytest.approx(labels))


def test_the_table_bounds_what_was_not_reached_and_interpolates_between_rounds():
    rows = [
        {"method": "gbp_bald", "seed": 0, "labels": [20, 300], "accuracy": [0.5, 0.96], "labels_to_goal": 290.0},
        {"method": "gbp_random", "seed": 0, "labels": [20, 620], "accuracy": [0.5, 0.9]},
    ]
    lines = active_learning(rows).splitlines()
    assert "> 620 | 55.3 |" in lines[2] and "290 | 63.1 |" in lines[3]


@pytest.fixture
def mnist(tmp_path):
    """Ninety images, each class a pattern of its own."""
    folder, generator = tmp_path / "MNIST" / "raw", torch.Generator().manual_seed(0)
    folder.mkdir(parents=True)
    labels = torch.arange(90) % 10
    images = (255 * torch.rand(10, 28, 28, generator=generator))[labels].byte()
    for part in ("train", "t10k"):
        write_idx(folder / f"{part}-images-idx3-ubyte", images.numpy())
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels.byte().numpy())
    return tmp_path


def test_every_way_chooses_images_that_were_not_labelled(monkeypatch, mnist):
    chosen = []
    own = active._chosen

    def noted(method, how, x, labelled, k, seed):
        new = own(method, how, x, labelled, k, seed)
        chosen.append((labelled, new))
        return new

    monkeypatch.setattr(active, "_chosen", noted)
    monkeypatch.setattr(active, "SAMPLES", 4)
    monkeypatch.setattr(active, "LIKELY", 30)
    out = mnist / "active.json"
    monkeypatch.setattr(sys, "argv", ["benchmarks", "active", "--data-dir", str(mnist), "--out", str(out), "--quick"])
    main()
    rows = json.loads(out.read_text())["rows"]
    assert {row["method"] for row in rows} == set(active.WAYS) == set(active.ORDER)
    assert all(row["labels"][0] == 20 and row["labels"][-1] == 60 for row in rows if "labels_to_goal" not in row)
    assert all(not set(old.tolist()) & set(new.tolist()) and len(set(new.tolist())) == len(new) for old, new in chosen)
    assert sum(len(new) in (20, 40) for _, new in chosen) == len(chosen)
