"""The benchmark's command line on made-up images: every path runs, the result file has the agreed form."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import choice, contest, graph_images, graph_recipes, graph_tables
from benchmarks.__main__ import main
from benchmarks.choice import FARTHEST, beyond
from benchmarks.measure import COLDEST, WARMEST, PeakMemory
from benchmarks.methods import METHODS
from benchmarks.tasks import TASKS

CASE = {"method", "net", "limit", "seed", "epochs"}
SCORES = {"accuracy", "nll", "ece", "vector_ece", "brier", "relative_auc", "ood_auroc", "ood_auroc_notmnist"}
CHOSEN = {"chosen", "chosen_by", "tried"}
COSTS = {"train_seconds", "train_ratio", "pass_seconds", "predict_seconds", "peak_memory_mb"}


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


@pytest.fixture
def run(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Calls the command line with further arguments; the content of the result file."""

    def call(name: str, *arguments: str) -> dict[str, Any]:
        out = tmp_path / "out.json"
        monkeypatch.setattr(sys, "argv", ["benchmarks", name, "--data-dir", str(data_dir), "--out", str(out), *arguments])
        main()
        return json.loads(out.read_text())

    return call


def test_mnist_writes_the_agreed_form(run: Callable[..., dict[str, Any]]) -> None:
    content = run("mnist", "--seeds", "3", "--epochs", "2", "--methods", "gbp", "adamw")
    rows = content["rows"]
    assert content["benchmark"] == "mnist"
    assert {(row["net"], row["method"]) for row in rows} == {(n, m) for n in TASKS["mnist"].nets for m in ("gbp", "adamw")}
    own = {"temperature", "nll_tempered", "ece_tempered"}  # of methods whose search has fitted one
    assert all(set(row) - own == CASE | SCORES | COSTS | CHOSEN for row in rows)
    assert all(0 <= row["accuracy"] <= 1 and row["seed"] == 3 and row["limit"] == 64 and row["epochs"] == 2 for row in rows)
    assert all(row["peak_memory_mb"] > 0 and row["train_seconds"] > 0 for row in rows)
    assert [row["train_ratio"] for row in rows if row["method"] == "adamw"] == [1.0] * 3
    assert all(row["chosen"] == {} for row in rows if row["method"] == "gbp")


def test_a_second_run_replaces_its_rows_and_keeps_the_others(run: Callable[..., dict[str, Any]]) -> None:
    first = run("mnist", "--net", "mlp", "--quick", "--methods", "adamw", "gbp")["rows"]
    second = run("mnist", "--net", "mlp", "--quick", "--methods", "sgd", "adamw")["rows"]
    assert [row["method"] for row in second] == ["adamw", "gbp", "sgd"]
    assert second[1] == first[1]
    assert second[0]["nll"] == first[0]["nll"]
    assert second[0]["train_seconds"] != first[0]["train_seconds"]


def test_a_search_scores_every_setting_of_the_grids_and_once_each_method_without_a_grid(
    run: Callable[..., dict[str, Any]],
) -> None:
    content = run("mnist_search", "--net", "mlp", "--epochs", "1", "--methods", "gbp", "adamw", "sgd_momentum", "ensemble")
    rows = content["rows"]
    assert list(content["settings"]["grids"]) == ["adamw", "sgd_momentum"]
    by = {name: [row for row in rows if row["method"] == name] for name in ("adamw", "sgd_momentum")}
    assert all([row["settings"] for row in by[name]][:8] == METHODS[name].grid for name in by)
    best = min(by["adamw"], key=lambda row: row["nll"])
    assert [(row["method"], row["settings"]) for row in rows[-2:]] == [("gbp", {}), ("ensemble", best["settings"])]
    assert len(rows) == sum(map(len, by.values())) + 2
    assert all(row["limit"] == 32 and row["seed"] == 0 and row["nll"] > 0 for row in rows)


def test_a_search_goes_on_beyond_its_grid_until_the_best_rate_is_inside_and_keeps_what_it_has(
    run: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ("mnist_search", "--net", "mlp", "--epochs", "1", "--methods", "adamw")
    rows = run(*call)["rows"]
    adamw = METHODS["adamw"]
    beside = range(len(adamw.grid), len(rows))
    assert [rows[i]["settings"] for i in beside] == [beyond(rows[:i], adamw, 1) for i in beside]
    assert len(beside) == FARTHEST or (beside and beyond(rows, adamw, 1) is None)
    monkeypatch.setattr(contest, "FARTHEST", 0)
    monkeypatch.setattr(contest, "race", lambda *_: pytest.fail("trains again"))
    assert run(*call)["rows"] == rows


def test_a_quick_search_stays_on_its_grid(run: Callable[..., dict[str, Any]]) -> None:
    rows = run("mnist_search", "--net", "mlp", "--quick", "--methods", "adamw")["rows"]
    assert [row["settings"] for row in rows] == METHODS["adamw"].grid[:1]


def test_a_search_row_carries_a_temperature_that_no_other_beats(run: Callable[..., dict[str, Any]]) -> None:
    rows = run("mnist_search", "--net", "mlp", "--epochs", "2", "--methods", "gbp", "adamw_tail")["rows"]
    assert {row["method"] for row in rows} == {"gbp", "adamw_tail"}
    assert all(COLDEST <= row["temperature"] <= WARMEST and 0 <= row["ece_tempered"] <= 1 for row in rows)
    assert all(row["nll_tempered"] <= row["nll"] + 1e-9 for row in rows)
    assert any(row["nll_tempered"] < row["nll"] - 0.01 for row in rows)  # random labels: every confidence is too large


def test_the_searched_temperature_stands_beside_the_plain_scores(
    run: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = {"net": "mlp", "limit": 32, "seed": 0, "epochs": 2, "accuracy": 0.1, "nll": 1.0, "ece": 0.1}
    settings = {"lr": 0.002, "weight_decay": 0.1}
    searched = [
        {"method": "adamw", **case, "settings": settings, "temperature": 3.0, "nll_tempered": 0.9},
        {"method": "sgd", **case, "settings": {"lr": 0.1}},  # of a file from before temperatures
    ]
    monkeypatch.setattr(contest, "committed", lambda *_: searched)
    plain = run("mnist", "--net", "mlp", "--epochs", "2", "--seeds", "0", "--methods", "adamw", "sgd", "gbp")["rows"]
    assert [row.get("temperature") for row in plain] == [3.0, None, None]
    assert [row["chosen"] for row in plain] == [settings, {"lr": 0.1}, {}]
    assert [row["chosen_by"] for row in plain] == [choice.SEARCHED, choice.SEARCHED, choice.SHIPPED]
    assert [set(row) for row in plain[1:]] == [CASE | SCORES | COSTS | CHOSEN] * 2
    adamw, tempered = plain[0], {"nll_tempered", "ece_tempered"}
    assert set(adamw) == CASE | SCORES | COSTS | CHOSEN | tempered | {"temperature"}
    assert adamw["nll_tempered"] < adamw["nll"] and adamw["ece_tempered"] != adamw["ece"]  # random labels again


def test_widening_scores_every_power_with_every_widening(run: Callable[..., dict[str, Any]]) -> None:
    rows = run("widening", "--quick", "--seeds", "0", "--net", "mlp", "--limit", "640")["rows"]
    assert len({row["method"] for row in rows}) == len(rows) == 12
    told = {row["method"]: row for row in rows}
    assert told["power 64, widening 1"]["nll"] != told["power 64, widening 16"]["nll"]
    assert 0.25 <= told["power 128, calibrated"]["widening"] <= 512


def test_graph_mnist_passes_once_over_the_images(run: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, recipe in graph_recipes.RECIPES.items():
        short = recipe._replace(first=recipe.first._replace(iterations=2))
        monkeypatch.setitem(graph_recipes.RECIPES, name, short)
    rows = run("graph_mnist", "--quick", "--seeds", "4")["rows"]
    methods = "graph", "graph_random", "graph_pixels", "graph_joint", "linear_adam", "cnn_adam", "cnn_adam_replay"
    assert tuple(row["method"] for row in rows) == methods
    assert all(row["limit"] == 50 and row["seed"] == 4 and 0 < row["nll"] < 100 for row in rows)


def test_graph_mnist_takes_the_pool_of_its_case(run: Callable[..., dict[str, Any]]) -> None:
    arguments = "graph_mnist", "--quick", "--methods", "graph", "cnn_adam", "--net"
    narrow = run(*arguments, "mnist")["rows"]
    rows = run(*arguments, "mnist_wide")["rows"]  # the file keeps the rows of the first run
    assert rows[:2] == narrow and [row["net"] for row in rows[2:]] == ["mnist_wide"] * 2
    assert all(one["nll"] != other["nll"] for one, other in zip(narrow, rows[2:], strict=True))


@pytest.mark.parametrize("window", [2, 3, 8])
def test_the_dense_layer_fits_behind_every_pool(window: int) -> None:
    model = graph_recipes.network(torch.Size((1, 13, 13)), graph_recipes.RECIPES["graph"], graph_recipes.Net(window))
    assert model(torch.rand(2, 1, 13, 13)).shape == (2, 10)


def test_a_network_may_have_a_first_pace_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, told = graph_recipes.RECIPES["graph"], list[graph_recipes.Pacing]()
    monkeypatch.setattr(graph_recipes, "_inference", lambda _, pacing, start: told.append(pacing) or (lambda *_: None))
    for name in ("mnist", "mnist_wide"):
        graph_recipes.learned(recipe, name, torch.rand(4, 1, 28, 28), torch.arange(4))
    assert told == [recipe.first, recipe.later, graph_recipes.NETS["mnist_wide"].first, recipe.later]


@pytest.mark.filterwarnings("ignore:the messages of a batch make the network worse")  # a variant overshoots on so few images
def test_graph_ablation_tells_its_variants_apart(run: Callable[..., dict[str, Any]]) -> None:
    content = run("graph_ablation", "--quick", "--net", "mnist")
    rows = content["rows"]
    assert [row["settings"]["variant"] for row in rows] == list(graph_images.VARIANTS) == list(content["settings"]["variants"])
    assert len({row["nll"] for row in rows}) == len(rows) - 1  # so few images are one batch, whatever its size
    lines = graph_tables.ablation(rows).splitlines()
    assert lines[0] == "|  | MNIST, 6,000: accuracy | MNIST, 6,000: NLL |" and len(lines) == 2 + len(rows)


def test_graph_mnist_search_trains_on_what_is_not_held_out(run: Callable[..., dict[str, Any]]) -> None:
    rows = run("graph_mnist_search", "--quick", "--methods", "cnn_adam")["rows"]
    assert [row["limit"] for row in rows] == [32] * 8  # a row for each setting


def test_a_network_of_another_benchmark_is_refused(run: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(SystemExit, match="use mlp, lenet"):
        run("fashion", "--net", "onepass", "--methods", "sgd")


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning")
def test_digits_tell_the_scores_of_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.json"
    arguments = ["digits", "--data-dir", str(tmp_path), "--out", str(out), "--seeds", "5", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    main()
    rows = json.loads(out.read_text())["rows"]
    assert [row["method"] for row in rows] == ["gbp", "adamw", "adamw_tuned"]
    assert all(
        set(row) >= CASE | {"accuracy", "nll", "ece", "auroc letters", "answered_noisy digits", "wrong_digits"} for row in rows
    )
    assert all((row["seed"], row["epochs"]) == (5, 1) and 0 < row["limit"] <= 250 for row in rows)
    assert rows[0]["answered_letters"] != rows[1]["answered_letters"]


def test_peak_memory_counts_storages_once_and_frees_them() -> None:
    kept = torch.zeros(1000)
    with PeakMemory([kept]) as memory:
        view = kept.view(10, 100)  # shares the storage
        for _ in range(5):
            temporary = view + 1  # freed before the next one, but for the moment of replacement
        del temporary
    assert memory.peak == 3 * 4000
    assert memory.bytes == 4000


@pytest.mark.parametrize(("name", "method"), [("mnist", "gbp_argmax_plain"), ("thesis", "ivon"), ("posterior", "heads_only")])
def test_methods_of_other_benchmarks_are_refused(
    run: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str], name: str, method: str
) -> None:
    with pytest.raises(SystemExit):
        run(name, "--methods", method)
    assert f"{name} has no method {method}: use gbp" in capsys.readouterr().err
