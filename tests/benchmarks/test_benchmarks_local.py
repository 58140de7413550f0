"""The benchmark of block-local learning: feedback alignment's gradients, the rows and the tables, on made-up images."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_helpers import write_cifar100, write_image_sets
from torch import nn
from torch.testing import assert_close

from benchmarks import local_tables, study
from benchmarks.__main__ import main
from benchmarks.feedback_alignment import AlignedConv2d, feedback_aligned
from benchmarks.local_learning import CASES, CONTEST, ENTRANTS, NAMED, RATES
from benchmarks.results import committed, matching
from benchmarks.tasks import Net, Plan
from examples.networks import CIFAR_SHAPE, ResNet


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Calls the command line on a few made-up images, with a net of 8 layers and 4 channels; the content of the result file."""
    write_image_sets(tmp_path)
    for cases in (CASES, NAMED):
        for name, (data, _) in cases.items():
            shape, classes = (1, 28, 28) if data == "fashion" else CIFAR_SHAPE, 100 if data == "cifar100" else 10
            small = Net("small", partial(ResNet, shape, classes, depth=2, width=4), [Plan(2, None, 4, 4)])
            monkeypatch.setitem(cases, name, (data, small))

    def call(name: str, *arguments: str) -> dict[str, Any]:
        command = ["benchmarks", name, "--data-dir", str(tmp_path), "--out", str(tmp_path / "out.json"), "--accept-altered"]
        monkeypatch.setattr(sys, "argv", [*command, *arguments])
        main()
        return json.loads((tmp_path / "out.json").read_text())

    return call


def small_network() -> nn.Sequential:
    """Convolutions with stride, padding and groups, then linear layers, in float64."""
    convolutions = (nn.Conv2d(2, 4, 3, 2, 1), nn.Tanh(), nn.Conv2d(4, 6, 2, groups=2, bias=False), nn.Tanh(), nn.Flatten())
    return nn.Sequential(*convolutions, nn.Linear(54, 5), nn.Tanh(), nn.Linear(5, 3, bias=False)).double()


def gradients(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(network(x).square().sum(), [x, *network.parameters()]))


def test_with_its_own_weights_as_feedback_alignment_is_backpropagation() -> None:
    network, x = small_network(), torch.randn(3, 2, 8, 8).double().requires_grad_()
    aligned = feedback_aligned(network)
    assert_close(aligned(x), network(x))
    assert not torch.equal(gradients(aligned, x)[0], gradients(network, x)[0])
    for module in aligned.modules():
        if hasattr(module, "fixed"):
            assert module.fixed.shape == module.weight.shape and not torch.equal(module.fixed, module.weight)  # type: ignore
            module.fixed.copy_(module.weight.detach())  # type: ignore
    assert_close(gradients(aligned, x), gradients(network, x))


def test_the_feedback_stays_and_all_layers_have_one() -> None:
    aligned = feedback_aligned(ResNet(depth=1, width=4))
    fixed = {name: value.clone() for name, value in aligned.named_buffers() if name.endswith("fixed")}
    assert len(fixed) == 8  # stem, two convolutions in each of three residual blocks, the linear layer
    assert isinstance(aligned.get_submodule("stem.0"), AlignedConv2d)
    optimizer = torch.optim.SGD(aligned.parameters(), 0.1)
    aligned(torch.randn(4, 3, 32, 32)).sum().backward()
    optimizer.step()
    assert all(torch.equal(aligned.get_buffer(name), value) for name, value in fixed.items())


def test_every_method_has_a_row_with_data_blocks_and_memory(run: Callable[..., dict[str, Any]]) -> None:
    content = run("local", "--quick", "--seeds", "3")
    rows = content["rows"]
    assert [(row["net"], row["method"]) for row in rows] == [(net, method) for net in CASES for method in ENTRANTS]
    assert {row["data"] for row in rows} == {"fashion", "cifar10"}
    assert all(row["blocks"] == (1 if row["method"] in ("backprop", "feedback_alignment") else 4) for row in rows)
    assert all(row["epochs"] == 2 and row["seed"] == 3 and row["nll"] > 0 and row["train_seconds"] > 0 for row in rows)
    memory = {row["method"]: row["activation_mb"] for row in rows if row["data"] == "cifar10"}
    assert 0 < memory["block_local"] < memory["backprop"]
    best = {
        method: max(matching(committed("local_search"), method=method), key=lambda row: row["accuracy"]) for method in ENTRANTS
    }
    assert all(row["chosen"] == best[row["method"]]["settings"] for row in rows)
    assert CONTEST.choose([], "", "backprop", 5).settings == {"lr": 0.005}


def test_the_search_scores_every_rate_on_held_out_images(run: Callable[..., dict[str, Any]]) -> None:
    rows = run("local_search", "--quick", "--methods", "backprop", "similarity_matching")["rows"]
    tried = [(row["method"], row["settings"]["lr"]) for row in rows]
    assert tried == [(method, rate) for method in ("backprop", "similarity_matching") for rate in RATES]
    assert all(row["limit"] == 5 and row["net"] == "resnet20_cifar10" for row in rows)  # the other 5 of 10 are scored
    assert len({row["nll"] for row in rows if row["method"] == "backprop"}) == len(RATES)  # the rates take effect


def test_cifar_100_is_run_when_it_is_named(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    write_cifar100(tmp_path)
    rows = run("local", "--quick", "--seeds", "0", "--net", "resnet20_cifar100", "--methods", "block_local", "backprop")["rows"]
    assert [(row["data"], row["method"]) for row in rows] == [("cifar100", "block_local"), ("cifar100", "backprop")]
    assert all(row["nll"] > 3.5 for row in rows)  # near log 100, that of all classes alike
    told = local_tables.compared(rows).splitlines()[2:]
    assert [line.split(" | ")[5] for line in told] == ["77.9", "77.8"]


def test_feedback_is_left_out_and_finished_rows_stay(run: Callable[..., dict[str, Any]]) -> None:
    quick = "local_feedback", "--quick", "--seeds", "0", "--net", "resnet20_fashion", "--methods"
    first = run(*quick, "no_heads", "linear_heads")["rows"]
    rows = run(*quick, "no_heads", "no_heads_feedback", "linear_heads", "linear_heads_feedback")["rows"]
    assert rows[:2] == first  # not trained again
    assert [row["method"] for row in rows[2:]] == ["no_heads_feedback", "linear_heads_feedback"]
    nll = {row["method"]: row["nll"] for row in rows}
    assert nll["no_heads"] != nll["no_heads_feedback"] and nll["linear_heads"] != nll["linear_heads_feedback"]
    assert len({row["blocks"] for row in rows}) == 1


def test_a_table_tells_what_the_feedback_adds_to_each_seed() -> None:
    found = {"linear_heads": (0.4, 0.5), "linear_heads_feedback": (0.5, 0.7), "no_heads": (0.3,), "wide_heads_feedback": (0.6,)}
    rows = [
        {"method": method, "seed": seed, "accuracy": accuracy, "nll": 2 - accuracy}
        for method, own in found.items()
        for seed, accuracy in enumerate(own)
    ]
    lines = local_tables.feedback(rows).splitlines()[2:]
    told = "45.00 ± 5.00 % | 60.00 ± 10.00 % | 15.00 ± 5.00 % | 1.5500 ± 0.0500 | 1.4000 ± 0.1000 | -0.1500 ± 0.0500"
    assert lines == [f"| linear heads | 2 | {told} |"]


def test_a_table_of_the_search_marks_the_best_rate_of_each_method() -> None:
    found = [("backprop", 0.01, 0.5), ("backprop", 0.1, 0.25), ("block_local", 0.1, 0.75)]
    rows = [{"method": method, "settings": {"lr": rate}, "accuracy": accuracy} for method, rate, accuracy in found]
    assert local_tables.search(rows).splitlines() == [
        "| method | rate 0.01 | rate 0.1 |",
        "|---|---|---|",
        "| backpropagation | **50.00 %** | 25.00 % |",
        "| **block-local** | - | **75.00 %** |",
    ]


def test_the_ablation_scores_held_out_images(run: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["base: narrow heads, 4 blocks", "1 block (backpropagation)", "no prediction", "8 blocks"]
    monkeypatch.setattr(study, "LOCAL", {name: study.LOCAL[name] for name in names})
    rows = run("local_ablation", "--quick", "--net", "resnet20_fashion")["rows"]
    assert [(row["method"], row["blocks"]) for row in rows] == list(zip(names, (4, 1, 4, 8), strict=True))
    assert all(row["limit"] == 6 for row in rows)  # the other 6 of 12 are scored


def test_a_table_tells_mean_and_error_of_each_case() -> None:
    told = {
        "data": "cifar10",
        "limit": 1000,
        "epochs": 3,
        "nll": 0.5,
        "activation_mb": 2.0,
        "peak_memory_mb": 3.0,
        "train_seconds": 9.0,
    }
    rows = [{"method": "block_local", "blocks": 4, "accuracy": accuracy, **told} for accuracy in (0.6, 0.8)]
    lines = local_tables.compared([*rows, {"method": "backprop", "blocks": 1, "accuracy": 0.75, **told}]).splitlines()
    case = "| CIFAR-10, 1,000 images, 3 passes"
    own = "70.00 ± 10.00 % | 0.5000 ± 0.0000 | 94.6 | 2.0 MB | 3.0 MB | 9 s |"
    assert lines[2] == f"{case} | **block-local** | 4 | {own}"
    assert lines[3].startswith(f"{case} | backpropagation | 1 | 75.00 % | 0.5000 | 94.8 |")


def test_an_unknown_network_is_refused(run: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(SystemExit, match="use resnet20_fashion, resnet20_cifar10"):
        run("local", "--net", "mlp")


@pytest.mark.parametrize(("name", "method"), [("local", "adamw"), ("local_ablation", "gbp"), ("mnist", "block_local")])
def test_a_method_of_another_benchmark_is_refused(run: Callable[..., dict[str, Any]], name: str, method: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(name, "--methods", method)
