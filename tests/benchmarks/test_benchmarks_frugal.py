"""Few images, few passes, few seconds, no search for a rate: what is trained, what the tables count, what the figures draw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_helpers import write_image_sets
from torch import nn

from benchmarks import choice, contest, corruptions, figures, frugal_figures, frugal_tables, passes, tables, untuned
from benchmarks.methods import METHODS
from benchmarks.methods.base import Training
from benchmarks.methods.gbp import GBP, MeansSweep
from benchmarks.portions import of_task
from benchmarks.results import FORMAT, Request, Row, committed

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def call(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line with --quick on made-up images. No committed search is read, that of the folder is."""
    write_image_sets(tmp_path)
    monkeypatch.setattr(contest, "committed", lambda name, folder=tmp_path: committed(name, folder))
    return lambda name, *arguments: run(name, "--quick", *arguments)


def training() -> Training:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    return Training(network, torch.randn(40, 3), torch.arange(40) % 2, 2, 20)


def store(folder: Path, name: str, rows: list[Row]) -> None:
    (folder / f"{name}.json").write_text(json.dumps({"format": FORMAT, "benchmark": name, "settings": {}, "rows": rows}))


@pytest.mark.filterwarnings("ignore::torch_gbp.errors.NotLearning")  # a few steps on noise
def test_every_method_takes_one_pass_by_the_settings_of_its_search(call: Run) -> None:
    searched = call("onepass_search", "--net", "fashion_mlp")
    assert {row["method"] for row in searched} == set(passes.ONEPASS.entrants)
    rows = call("onepass", "--net", "fashion_mlp")
    assert [row["method"] for row in rows] == list(passes.ONEPASS.entrants)
    assert {(row["net"], row["epochs"]) for row in rows} == {("fashion_mlp", 1)}
    assert [row["chosen_by"] for row in rows] == [choice.SHIPPED] * 2 + [choice.SEARCHED] * 2
    assert all("nll_tempered" in row and not any("ood" in key for key in row) for row in rows)
    assert rows[2]["chosen"] == passes.ONEPASS.entrants["adamw"].grid[0]


@pytest.mark.filterwarnings("ignore::torch_gbp.errors.NotLearning")
def test_costs_are_told_for_every_number_of_passes(call: Run, tmp_path: Path) -> None:
    rows = call("cost", "--net", "mnist_mlp", "--methods", "gbp_means", "adamw")
    assert [(row["method"], row["epochs"]) for row in rows] == [(m, e) for e in (1, 2) for m in ("gbp_means", "adamw")]
    assert all(row["processor_seconds"] > 0 and row["train_seconds"] > 0 for row in rows)
    assert "not run" not in tables.table("cost", folder=tmp_path)


def test_rivals_have_as_many_settings_each_and_both_ends_of_the_schedule() -> None:
    for benchmark, settings in ((passes.ONEPASS, 8), (passes.COST, 10)):
        assert {len(benchmark.entrants[name].grid) for name in ("adamw", "sgd_momentum")} == {settings}
    ends = [(own["final"], own["tail"]) for own in passes.ONEPASS.entrants["adamw"].grid]
    assert sorted(ends) == [(0.0, 0.0)] * 4 + [(0.4, 0.125)] * 4


def test_a_portion_has_its_own_number_of_images_in_a_search(tmp_path: Path) -> None:
    write_image_sets(tmp_path)
    portion = of_task("mnist", "mlp", 5, (1, 3), search=4)
    for held_out, limit in ((False, 5), (True, 4)):
        trials = list(portion.trials("own", Request(tmp_path, [0]), held_out))
        assert [(trial.told["net"], trial.told["limit"], trial.plan.epochs) for trial in trials] == [
            ("own", limit, epochs) for epochs in (1, 3)
        ]
        assert trials[0].split.ood == {}
    assert [t.plan.epochs for t in portion.trials("own", Request(tmp_path, [0], epochs=7), False)] == [7]


@pytest.mark.parametrize("make", [GBP, MeansSweep])
def test_a_multiple_of_the_library_rate_ends_at_one(make: Any) -> None:
    usual, *others = (make(training(), rate=own).optimizer.param_groups[0]["lr"] for own in (1.0, 0.3, 10.0))
    assert 0.1 < usual < 1 and others == pytest.approx([0.3 * usual, 1.0])


def test_a_multiple_is_of_the_rate_of_plain_parameters_too() -> None:
    moved = []
    for rate in (0.1, 10.0):
        torch.manual_seed(1)
        method, own = MeansSweep(training(), rate=rate), training()
        bias = next(p for name, p in method.network.named_parameters() if name.endswith("bias"))
        before = bias.detach().clone()
        method.step(own.x, own.y)
        moved.append(float((bias.detach() - before).abs().max()))
    assert moved[1] == pytest.approx(100 * moved[0], rel=0.01)  # the first step of AdamW has the length of its rate


def test_the_rate_alone_is_multiplied() -> None:
    assert untuned.at(METHODS["adamw"], 3.0) == {"lr": 0.003, "weight_decay": 0.01}
    assert untuned.at(untuned.ENTRANTS["gbp"], 3.0) == {"rate": 3.0}


@pytest.mark.filterwarnings("ignore::torch_gbp.errors.NotLearning")
def test_untuned_tells_every_multiple_of_every_method(call: Run, tmp_path: Path) -> None:
    rows = call("untuned", "--net", "cancer", "--methods", "gbp", "adamw", "--seeds", "0")
    assert [(row["method"], row["settings"]["multiple"]) for row in rows] == [
        (method, own) for method in ("gbp", "adamw") for own in untuned.MULTIPLES
    ]
    assert len({row["nll"] for row in rows[5:]}) == 5
    assert all(row["nll_tempered"] <= row["nll"] + 1e-9 for row in rows)
    assert "breast cancer" in tables.table("untuned", folder=tmp_path)
    again = call("untuned", "--net", "cancer", "--methods", "gbp", "adamw", "sgd_momentum", "--seeds", "0")
    assert again[:10] == rows and [row["method"] for row in again[10:]] == ["sgd_momentum"] * 5  # rows are not made twice


def spreads(method: str, net: str, values: tuple[float, ...]) -> list[Row]:
    """Rows of a method at all multiples; those with the best temperature are half as large."""
    told = {"method": method, "net": net, "limit": 100, "seed": 0, "epochs": 1}
    pairs = zip(untuned.MULTIPLES, values, strict=True)
    return [{**told, "settings": {"multiple": own}, "nll": value, "nll_tempered": value / 2} for own, value in pairs]


RATES = [
    *spreads("gbp", "cancer", (0.5, 0.2, 0.1, 0.3, 0.4)),
    *spreads("adamw", "cancer", (90.0, 0.2, 0.6, 0.1, 0.8)),
    *spreads("gbp", "digits", (0.5, 0.2, 0.1, 0.3, 0.4)),
    *spreads("adamw", "digits", (0.9, 0.2, 0.4, 0.1, 0.8)),
    *spreads("gbp", "lenet", (0.5, 0.2, 0.1, 0.3, 0.4)),
    *spreads("adamw", "lenet", (0.9, 0.7, 0.4, 0.6, 0.8)),
]


def test_the_worst_rate_is_held_against_the_median_of_a_rival() -> None:
    lines = frugal_tables.untuned_rates(RATES).splitlines()
    assert [line.split(",")[0] for line in lines[2:8]] == ["| MNIST"] * 2 + ["| digits"] * 2 + ["| breast cancer"] * 2
    assert lines[6].endswith("| **torch_gbp** | 0.500 | 0.200 | 0.100 | 0.300 | 0.400 | 0.300 | 0.500 | 0.150 | 0.250 |")
    assert lines[7].endswith("| AdamW | > 10 | 0.200 | 0.600 | 0.100 | 0.800 | 0.600 | > 10 | 0.300 | > 10 |")
    assert lines[-2:] == [
        "| **torch_gbp** | NLL | 2 of 3 |",
        "| **torch_gbp** | NLL, best temperature of each rate | 2 of 3 |",
    ]


def images(method: str, limit: int, nll: float, **others: float) -> Row:
    return {
        "method": method,
        "net": "mlp",
        "limit": limit,
        "seed": 0,
        "epochs": 8,
        "accuracy": 0.9,
        "nll_tempered": nll,
        **others,
    }


def test_the_best_single_network_of_every_number_of_images_is_marked() -> None:
    rows = [images("gbp", 80, 0.3), images("adamw", 80, 0.4), images("ensemble", 80, 0.2)]
    untempered = {"method": "gbp", "net": "mlp", "limit": 160, "seed": 0, "epochs": 8, "chosen_by": choice.SHIPPED, "nll": 0.3}
    rows += [untempered, images("adamw", 160, 0.25)]
    borrowing = {
        **untempered,
        "method": "gbp_dropout",
        "limit": 80,
        "chosen_by": choice.SEARCHED,
    }  # there is no temperature of it
    rows.append(borrowing | {"nll": 0.28})
    told = tables.OF_ROWS["lowdata"](rows).splitlines()
    assert told[0] == "| net | method | 80 | 160 |"
    assert [line.split(" | ", 1)[1] for line in told[2:]] == [
        "torch_gbp | 0.300 | 0.300 |",
        "torch_gbp, means, dropout | **0.280** | - |",
        "AdamW | 0.400 | **0.250** |",
        "ensemble of 5 | 0.200 | - |",
    ]


def test_seconds_are_read_off_between_the_passes() -> None:
    def row(method: str, epochs: int, nll: float, clock: float) -> Row:
        return {"net": "mnist_mlp", "limit": 10_000, "method": method, "seed": 0, "epochs": epochs} | {
            "nll_tempered": nll,
            "processor_seconds": clock,
        }

    rows = [row("gbp", 1, 0.3, 2.0), row("gbp", 2, 0.1, 8.0), row("adamw", 1, 0.4, 1.0), row("adamw", 2, 0.2, 2.0)]
    rows += [row("gbp_means", 1, 0.15, 1.5), row("sgd_momentum", 1, 0.5, 0.5)]
    ends = {line.split(" | ")[1]: line.split(" | ")[-1] for line in frugal_tables.seconds(rows).splitlines()[2:]}
    assert ends == {
        "**torch_gbp**": "4.0 s |",
        "**torch_gbp, means**": "at most 1.5 s |",
        "AdamW": "2.0 s |",
        "SGD with momentum": "not reached |",
    }


def test_figures_of_rates_seconds_and_corruptions_are_drawn_from_what_is_there(tmp_path: Path) -> None:
    assert figures.draw(tmp_path, tmp_path / "figures") == []
    store(tmp_path, "untuned", RATES)
    store(tmp_path, "cost", [images("adamw", 10_000, 0.3, processor_seconds=2.0) | {"net": "mnist_mlp"}])
    kinds = [(corruptions.CLEAN, 0), *((kind, 5) for kind in corruptions.KINDS)]
    told = {"net": "lenet", "limit": 60, "seed": 0, "epochs": 1, "nll_tempered": 0.5, "ece_tempered": 0.1}
    store(
        tmp_path,
        "corruptions",
        [{"method": own, **told, "corruption": kind, "severity": at} for own in ("gbp", "adamw") for kind, at in kinds],
    )
    drawn = [path.name for path in figures.draw(tmp_path, tmp_path / "figures")]
    assert drawn == ["cost.png", "untuned.png", "corruptions.png"]
    rates = frugal_figures.untuned_rates(tmp_path)
    assert rates is not None
    assert {len(axes.lines) for axes in rates.axes} == {13} and len(rates.axes) == 3  # 2 x (5 dots, a median), torch_gbp's worst
    shifted = frugal_figures.corrupted(tmp_path)
    assert shifted is not None
    assert [[*np.asarray(line.get_xdata())] for line in shifted.axes[0].lines] == [[0, 5], [0, 5]]


def test_few_images_are_drawn_with_a_temperature_and_without_ensembles(tmp_path: Path) -> None:
    rows = [images(method, limit, 0.1, ece_tempered=0.01) for method in ("gbp", "swag", "ensemble") for limit in (80, 160)]
    store(tmp_path, "lowdata", rows)
    few = figures.low_data(tmp_path)
    assert few is not None
    assert [text.get_text() for text in few.legends[0].get_texts()] == ["torch_gbp", "SWAG"]
    assert [axes.get_ylabel() for axes in few.axes[:3]] == list(figures.SCORES)
