"""Deep factor graphs on images beside their rivals: the batches, the search and its choice, and networks of every depth."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks import graph_rivals, graph_tables
from benchmarks.choice import BUILT_IN, SEARCHED
from benchmarks.graph_images import LIMITS, METHODS
from benchmarks.graph_recipes import NETS, RECIPES, Pacing, network
from benchmarks.graph_rivals import RIVALS, choose, cnn, learned_by, order
from torch_gbp import GBPConv2d, GBPLinear


def test_every_rival_has_eight_settings_at_every_size() -> None:
    for limit in LIMITS:
        for rival in RIVALS.values():
            assert len(rival.grid(limit)) == 8 == len({tuple(settings.items()) for settings in rival.grid(limit)})


def test_a_new_batch_is_repeated_then_stored_images_are_replayed() -> None:
    batches = list(order(120, repeats=2, replays=3, stored=0.5))
    assert len(batches) == 3 * 5
    new = [torch.cat(batches[5 * k : 5 * k + 2]) for k in range(3)]
    assert [sorted(set(own.tolist())) for own in new] == [list(range(50)), list(range(50, 100)), list(range(100, 120))]
    for k, seen in enumerate((50, 100, 120)):
        replayed = torch.cat(batches[5 * k + 2 : 5 * k + 5])
        assert seen - 60 <= int(replayed.min()) and int(replayed.max()) < seen and len(replayed) == 150


def test_steps_are_whole_shuffled_passes() -> None:
    batches = list(order(120, steps=7))
    assert len(batches) == 9  # three passes of three batches
    assert all(sorted(torch.cat(batches[k : k + 3]).tolist()) == list(range(120)) for k in (0, 3, 6))
    assert not torch.equal(batches[0], batches[3])


def test_the_pixels_of_a_rival_are_standardised_by_its_own_images(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = 0.2 + 0.1 * torch.rand(60, 1, 28, 28), torch.arange(60) % 10
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(graph_rivals, "train", lambda method, images, *_: seen.append(images))
    torch.manual_seed(0)
    logs = learned_by("linear_adam", {"lr": 0.01, "steps": 10})("mnist", x, y)(x)
    assert abs(float(seen[0].mean())) < 1e-4 and abs(float(seen[0].std()) - 1) < 1e-3
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(60))


def test_settings_are_those_of_the_same_or_the_nearest_size_and_network() -> None:
    def row(net: str, limit: int, lr: float, accuracy: float) -> dict[str, Any]:
        return {"net": net, "method": "cnn_adam", "limit": limit, "settings": {"lr": lr}, "accuracy": accuracy}

    rows = [row("mnist", 100, 1, 0.5), row("mnist", 100, 2, 0.7), row("mnist", 6000, 3, 0.9), row("fashion", 100, 4, 0.1)]
    assert choose(rows, "mnist", "cnn_adam", 100) == ({"lr": 2}, SEARCHED, None, 2)
    assert choose(rows, "mnist", "cnn_adam", 60_000)[:2] == ({"lr": 3}, "search with 6,000 images")
    assert choose(rows, "fashion", "cnn_adam", 100)[:2] == ({"lr": 4}, SEARCHED)
    assert choose(rows, "mnist_wide", "cnn_adam", 5000)[:2] == (
        {"lr": 3},
        "search on MNIST, pool 2 x 2, search with 6,000 images",
    )
    assert choose([], "mnist", "cnn_adam", 100) == (RIVALS["cnn_adam"].defaults, BUILT_IN, None, 0)


def test_a_table_tells_the_range_and_the_best_of_a_search() -> None:
    case = {"net": "mnist", "limit": 100, "method": "cnn_adam"}
    rows = [{**case, "settings": {"lr": lr}, "accuracy": accuracy} for lr, accuracy in ((0.1, 0.5), (0.01, 0.75))]
    assert graph_tables.search(rows).splitlines()[2] == "| MNIST | 100 | - | 50.00 to 75.00 (2): lr 0.01 | - |"


@pytest.mark.filterwarnings("ignore:the inputs are far:torch_gbp.errors.FarFromStandard")  # sums of pixels
@pytest.mark.parametrize(("name", "convolutions"), [("mnist_depth1", 0), ("mnist", 1), ("mnist_depth3", 2), ("mnist_depth4", 3)])
def test_graph_and_rival_have_the_same_layers(name: str, convolutions: int) -> None:
    images, net = torch.rand(2, 1, 28, 28), NETS[name]
    model = network(images.shape[1:], RECIPES["graph"], net)
    own = [module for module in model.modules() if isinstance(module, (GBPConv2d, GBPLinear))]
    twin = [module for module in cnn(images.shape[1:], net).modules() if hasattr(module, "weight")]
    assert len(own) == len(twin) == convolutions + 1
    assert [module.weight.mean.shape for module in own] == [module.weight.shape for module in twin]  # type: ignore[union-attr]
    assert model(images).shape == (2, 10)


def test_two_convolutions_learn_from_their_start_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    y = torch.arange(40) % 2
    x = 0.1 * torch.rand(40, 1, 28, 28)
    x[y == 1, :, 8:20, 12:16] += 0.8  # a bar, up or across
    x[y == 0, :, 12:16, 8:20] += 0.8
    monkeypatch.setitem(NETS, "mnist_depth3", NETS["mnist_depth3"]._replace(first=Pacing(120, 0.9, 0.97)))
    predicted = METHODS["graph"]("mnist_depth3", x, y)(x)
    assert (predicted[:, :2].argmax(1) == y).double().mean() > 0.9
