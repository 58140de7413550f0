"""The benchmark `anynet`: its networks, its text, what is shared by all methods, rows that survive a kill, and the table."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_helpers import write_image_sets
from torch import nn
from torch.testing import assert_close

from benchmarks import anynet, choice, contest, text
from benchmarks.__main__ import main
from benchmarks.anynet import CASES, ENTRANTS, HalfPrecision
from benchmarks.methods.base import Method, Training
from benchmarks.methods.gbp import MeansSweep
from benchmarks.methods.gradient import cross_entropy, warm_cosine
from benchmarks.race import Run, race
from benchmarks.results import FORMAT, Request, committed
from benchmarks.tasks import Net, Plan, Split, Trial
from examples.networks import CharacterModel, FilterResponseNorm, ViT
from torch_gbp.weights.attached import marginals, plain_parameters

CASE = {"method", "net", "limit", "seed", "epochs", "chosen", "chosen_by", "tried"}
FOUND = {"accuracy", "nll", "ece", "vector_ece", "brier", "relative_auc", "train_seconds", "step_seconds", "step_ratio"}
TEMPERED = {"temperature", "nll_tempered", "ece_tempered"}


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Calls the command line on a few made-up images; the rows of NAME.json. No committed search is read."""
    write_image_sets(tmp_path)
    anynet.images.cache_clear()
    monkeypatch.setattr(text, "SCORED", 8)
    monkeypatch.setattr(contest, "committed", lambda name, folder=tmp_path: committed(name, folder))

    def run(name: str, *arguments: str) -> list[dict[str, Any]]:
        out = tmp_path / f"{name}.json"
        command = ["benchmarks", name, "--data-dir", str(tmp_path), "--out", str(out), "--quick", "--accept-altered"]
        monkeypatch.setattr(sys, "argv", [*command, *arguments])
        main()
        return json.loads(out.read_text())["rows"]

    return run


def test_every_network_has_its_rows(call: Callable[..., list[dict[str, Any]]]) -> None:
    rows = call("anynet", "--methods", "gbp", "adamw")
    expected = [(net, method) for net in CASES for method in ("gbp", "gbp_samples", "adamw")]
    assert [(row["net"], row["method"]) for row in rows] == expected
    assert all(set(row) == CASE | FOUND for row in rows)
    assert all(0 <= row["accuracy"] <= 1 and math.isfinite(row["nll"]) and row["step_ratio"] > 0 for row in rows)
    assert {row["chosen_by"] for row in rows} == {choice.SHIPPED, choice.BUILT_IN}


def test_rows_that_are_there_are_not_made_again(
    call: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = call("anynet", "--net", "mlp", "--methods", "gbp", "adamw")
    trained = list[str]()
    monkeypatch.setattr(contest, "race", lambda runs, trial: trained.append(runs[0].name) or race(runs, trial))
    assert call("anynet", "--net", "mlp", "--methods", "gbp", "adamw", "sgd_cosine")[:3] == first
    assert trained == ["sgd_cosine"]
    call("anynet", "--net", "mlp", "--methods", "gbp", "--again")
    assert trained == ["sgd_cosine", "gbp"]
    call("anynet", "--net", "mlp", "--methods", "adamw", "--passes", "2")
    assert trained == ["sgd_cosine", "gbp", "adamw"]


def test_a_killed_run_goes_on_where_it_was(call: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    trained = list[str]()

    def killed(runs: list[Run], trial: Trial) -> Any:
        if runs[0].name == "sgd_cosine" and len(trained) < 2:
            raise KeyboardInterrupt
        trained.append(runs[0].name)
        return race(runs, trial)

    monkeypatch.setattr(contest, "race", killed)
    with pytest.raises(KeyboardInterrupt):
        call("anynet", "--net", "mlp", "--methods", "gbp", "sgd_cosine")
    trained.append("-")
    rows = call("anynet", "--net", "mlp", "--methods", "gbp", "sgd_cosine")
    assert trained == ["gbp", "-", "sgd_cosine"]
    assert [row["method"] for row in rows] == ["gbp", "gbp_samples", "sgd_cosine"]


def test_a_run_takes_settings_and_temperatures_of_the_search_beside_it(
    call: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(contest, "QUICK_SETTINGS", 3)
    searched = call("anynet_search", "--net", "mlp", "--methods", "gbp", "adamw_tail")
    assert [row["method"] for row in searched] == ["gbp", "gbp_samples", *["adamw_tail"] * 3]
    assert all(row["nll_tempered"] <= row["nll"] + 1e-9 for row in searched)
    best = min(searched[2:], key=lambda row: row["nll_tempered"])
    rows = call("anynet", "--net", "mlp", "--methods", "gbp", "adamw_tail")
    assert rows[2]["chosen"] == best["settings"] and rows[2]["chosen_by"] == choice.SEARCHED
    assert [row["temperature"] for row in rows] == [row["temperature"] for row in (*searched[:2], best)]
    assert all(set(row) == CASE | FOUND | TEMPERED for row in rows)
    other = best | {"settings": ENTRANTS["adamw_tail"].grid[5]}
    (tmp_path / "anynet_search.json").write_text(json.dumps({"format": FORMAT, "rows": [other]}))
    again = call("anynet", "--net", "mlp", "--methods", "adamw_tail")
    assert again[2]["chosen"] == ENTRANTS["adamw_tail"].grid[5]


def test_the_character_model_sees_no_character_ahead() -> None:
    model = CharacterModel(symbols=7, context=6, width=8, depth=2, heads=2).double()
    x = torch.randint(7, (3, 6))
    changed = x.clone()
    changed[:, 4] = (x[:, 4] + 1) % 7
    before, after = model(x), model(changed)
    assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().amax(2).min() > 1e-6
    with torch.no_grad():
        assert_close(model.eval()(x), before)


def test_the_text_is_divided_in_order_and_each_target_is_the_next_character(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (torch.arange(65 * 1000) % 128).to(torch.uint8)
    monkeypatch.setattr(text, "characters", lambda: whole)
    request = Request(Path(), [0])
    for held_out, (start, middle, end) in ((False, (0, 900, 1000)), (True, (0, 800, 900))):
        split = text.load(request, held_out)
        assert_close(split.x, whole.long().view(-1, 65)[start:middle, :-1])
        assert_close(split.scored_x, whole.long().view(-1, 65)[middle:end, :-1])
        assert_close((split.x + 1) % 128, split.y)
        assert_close((split.scored_x + 1) % 128, split.scored_y)


def test_the_text_is_that_of_the_standard_library() -> None:
    told, characters = text.described(), text.characters()
    assert characters.dtype == torch.uint8 and int(characters.max()) < 128
    assert told["characters"] == len(characters) > 1_000_000
    assert bytes(characters[:22].tolist()) == b'"""Record of phased-in'  # __future__.py


def test_filter_response_normalisation_forgets_the_scale_of_every_channel(float64: torch.dtype) -> None:
    norm, x = FilterResponseNorm(3, epsilon=0.0), torch.randn(2, 3, 4, 5)
    nn.init.normal_(norm.gain)
    nn.init.normal_(norm.shift)
    scale = torch.rand(2, 3, 1, 1) + 0.5
    assert_close(norm(scale * x), norm(x))
    plain = (norm(x) - norm.shift) / norm.gain
    assert_close(plain.square().mean((2, 3)), torch.ones(2, 3))


@pytest.mark.parametrize("make", [ViT, CharacterModel, CASES["resnet8"].net.make, CASES["resnet20_frn"].net.make])
def test_weights_are_gaussian_and_all_else_is_plain(make: Callable[[], nn.Module]) -> None:
    trained = MeansSweep(Training(make(), torch.zeros(4), torch.zeros(4).long(), 1, 1))
    gaussian, plain = set(marginals(trained.network)), {name for name, _ in plain_parameters(trained.network)}
    shapes = {name: parameter.squeeze() for name, parameter in trained.network.named_parameters()}
    assert gaussian | plain == set(shapes)
    assert all(shapes[name].ndim >= 2 for name in gaussian)
    assert {name for name in plain if shapes[name].ndim > 1} <= {"0.positions"}


def test_a_step_of_the_character_model_counts_every_character() -> None:
    model, x = CharacterModel(symbols=7, context=6, width=8, depth=1, heads=2), torch.randint(7, (4, 6))
    trained = MeansSweep(Training(model, x, (x + 1) % 7, 2, 4))
    for part in x.split(2) * 2:
        trained.step(part, (part + 1) % 7)
    assert trained.optimizer.param_groups[0]["examples_seen"] == 2 * x.numel()
    expected = trained.network[0](x).log_softmax(2).flatten(0, 1)
    assert_close(trained.log_probabilities(x), expected)


def test_sampled_predictions_spread_with_the_marginals() -> None:
    model, x = CharacterModel(symbols=7, context=6, width=8, depth=1, heads=2), torch.randint(7, (4, 6))
    trained = MeansSweep(Training(model, x, x, 1, 1))
    means, distances = trained.log_probabilities(x).detach(), []
    for precision in (1e8, 1e-2):
        for marginal in marginals(trained.network).values():
            marginal.precision.fill_(precision)
        logs = trained.predictives()["gbp_samples"](x)
        assert_close(logs.exp().sum(1), torch.ones(24))
        distances.append((logs - means).abs().max().item())
    assert distances[0] < 2e-3 and distances[1] > 0.5


@pytest.mark.parametrize("kind", ["gbp", "adamw_tail"])
def test_statistics_of_batch_norm_are_those_of_the_averaged_weights(kind: str) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    x, y = torch.randn(100, 3), torch.randint(2, (100,))
    entrant = ENTRANTS[kind]
    method = entrant.make(Training(network, x, y, 3, 15), **entrant.defaults)
    for _ in range(15):
        method.step(x[:20], y[:20])
    method.finish()
    inner = method.network[0] if kind == "gbp" else method.network
    with torch.no_grad():
        inside = inner[0](x)
    assert_close(inner[1].running_mean, inside.mean(0))
    assert_close(inner[1].running_var, inside.var(0))


def test_the_warm_up_is_a_line_and_the_rest_a_cosine() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule, rates = warm_cosine(optimizer, 100, 0.1, 0.4), []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert_close(rates[:10], [0.2 * (i + 1) for i in range(10)])
    falling = [0.8 + 1.2 * 0.5 * (1 + math.cos(math.pi * i / 90)) for i in range(90)]
    assert_close(rates[10:], falling)


class Recorder(Method):
    """Learns nothing; keeps the batches."""

    def __init__(self, training: Training) -> None:
        self.network, self.batches = training.network, list[torch.Tensor]()

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.batches.append(x)


def test_augmented_batches_reach_the_method() -> None:
    images = torch.arange(6.0).view(6, 1, 1, 1)
    split, run = Split(images, torch.zeros(6).long(), images, images, {}), Run("recorder", {}, Recorder)
    plain = Net("none", lambda: nn.Linear(1, 1), [])
    for net, expected in ((plain, images), (plain._replace(augment=lambda x: x + 100), images + 100)):
        (racer,) = race([run], Trial("none", net, Plan(1, None, 2, 2), split, 0))
        assert_close(torch.cat(racer.method.batches).sort(0).values, expected)  # type: ignore[attr-defined]
    assert CASES["resnet20_frn"].net.augment is None
    pixels = torch.randn(64, 3, 32, 32)
    for name in ("resnet8", "resnet20"):
        augment = CASES[name].net.augment
        assert augment is not None and augment(pixels).shape == pixels.shape and not torch.equal(augment(pixels), pixels)


def test_the_cross_entropy_is_of_all_labels(float64: torch.dtype) -> None:
    outputs, y = torch.randn(2, 3, 5), torch.randint(5, (2, 3))
    expected = -outputs.log_softmax(2).gather(2, y[..., None]).mean()
    assert_close(cross_entropy(outputs, y), expected)


def test_moment_sweeps_are_run_where_they_have_rules(call: Callable[..., list[dict[str, Any]]]) -> None:
    assert not CASES["vit"].moments
    rows = [
        (row["net"], row["method"]) for net in ("mlp", "vit") for row in call("anynet", "--net", net, "--methods", "gbp_moments")
    ]
    assert rows == [("mlp", "gbp_moments")] * 2  # the file after each call


def test_a_search_tries_what_suits_the_network(
    call: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "QUICK_SETTINGS", None)
    wanted = {net: [own for own in ENTRANTS["adamw"].grid if anynet.wanted(net, own)] for net in ("mlp_small", "vit", "resnet20")}
    ranges = {net: (own[0]["lr"], own[-1]["lr"], max(one["weight_decay"] for one in own)) for net, own in wanted.items()}
    assert ranges == {"mlp_small": (1e-3, 8e-3, 1.0), "vit": (5e-4, 4e-3, 0.1), "resnet20": (1e-3, 8e-3, 0.1)}
    tried = [row["settings"] for row in call("anynet_search", "--net", "vit", "--methods", "adamw", "sgd_cosine")]
    assert [own for own in tried if own["lr"] < anynet.SMALLEST_MOMENTUM] == wanted["vit"]
    assert {own["weight_decay"] for own in tried if own["lr"] >= anynet.SMALLEST_MOMENTUM} == {1e-4, 1e-3}


def test_large_networks_run_in_half_precision_with_weights_and_outputs_in_single() -> None:
    torch.manual_seed(0)
    network, x = CASES["resnet20_frn"].net.make().eval(), torch.randn(2, 3, 32, 32)
    assert isinstance(network, HalfPrecision)
    seen = list[torch.dtype]()
    next(own for own in network.modules() if isinstance(own, nn.Conv2d)).register_forward_hook(
        lambda *call: seen.append(call[2].dtype)
    )
    outputs, exact = network(x), network.network(x)
    outputs.sum().backward()
    assert seen[0] == torch.bfloat16
    assert outputs.dtype == torch.float32 and {p.grad.dtype for p in network.parameters() if p.grad is not None} == {
        torch.float32
    }
    assert 0 < (outputs - exact).abs().max() < 0.05 * exact.abs().max()


def test_unknown_networks_are_named() -> None:
    with pytest.raises(SystemExit, match="resnet20_frn"):
        next(iter(anynet.CONTEST.run(Request(Path(), [0], net="nothing")).rows))
