"""The continual benchmark: its tasks are what they say, its penalties are those of the books, its command line runs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from benchmarks import continual, other_tables
from benchmarks.continual_methods import ENTRANTS, OF_ONE
from benchmarks.continual_rivals import EWC, OnlineLaplace, Replay, fishers, joined
from benchmarks.continual_tasks import PIXELS, SCENARIOS, Data, Part, Scenario, held_out, permuted


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(120, PIXELS, generator=generator), torch.arange(120) % 10
    return Data(x[:80], y[:80], x[80:], y[80:])


def test_tasks_have_their_own_pixels_classes_and_angles(data):
    first, second, *rest = permuted(data, 0)
    assert len(rest) == 8 and torch.equal(first.train.x, data.x)
    assert not torch.equal(second.train.x, data.x) and torch.equal(second.train.x.sort(1)[0], data.x.sort(1)[0])
    pairs = list(SCENARIOS["split_single"].tasks(data, 0))
    assert [sorted(set(task.train.y.tolist())) for task in pairs] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    headed = list(SCENARIOS["split_multi"].tasks(data, 0))
    assert [task.test.head for task in headed] == [0, 1, 2, 3, 4] and set(headed[3].test.y.tolist()) == {0, 1}
    turning = list(SCENARIOS["rotation"].tasks(data, 0))
    assert_close(turning[0].train.x, data.x[:2], atol=1e-5, rtol=0)
    half = turning[20].train.x.view(-1, 28, 28)  # by 90 degrees
    assert_close(half, torch.rot90(data.x[40:42].view(-1, 28, 28), 1, (1, 2)), atol=1e-4, rtol=0)


def test_a_search_sees_no_test_image(data):
    own = held_out(data)
    known = {tuple(row[:3].tolist()) for row in data.x}
    assert {tuple(row[:3].tolist()) for row in (*own.x, *own.test_x)} == known and len(own.x) + len(own.test_x) == len(data.x)


def test_penalties_pull_as_their_quadratic_forms_say(data, monkeypatch):
    """The Fisher information of every layer from gradients example by example, in float64."""
    part = Part(data.x.double(), data.y)
    for make in (EWC, OnlineLaplace):
        torch.manual_seed(0)
        learner = make(Scenario("", "", permuted), strength=3.0)
        learner.network.double()
        learner.centres = [joined(layer).detach() for layer in learner.layers]
        if make is EWC:
            learner.information = [held.double() for held in learner.information]
        torch.manual_seed(1)
        factors = fishers(learner, part)
        torch.manual_seed(1)
        learner.remember(part)
        with torch.no_grad():
            for layer in learner.layers:
                layer.weight.add_(0.01 * torch.randn_like(layer.weight))
        learner.network.zero_grad()
        total = 0.0
        for layer, centre, factor in zip(learner.layers, learner.centres, factors, strict=True):
            each = torch.einsum("no,ni->noi", factor.scores, factor.inputs)
            if make is EWC:
                form = (each.square().sum(0) * (joined(layer) - centre).square()).sum()
            else:
                n, moved = len(part.x), joined(layer) - centre
                a, g = factor.inputs.T @ factor.inputs / n, factor.scores.T @ factor.scores
                form = (moved * (g @ moved @ a.T)).sum()
            total = total + 1.5 * form
        wanted = torch.autograd.grad(total, learner.layers[0].weight)[0]
        learner.pull().backward()
        assert_close(learner.layers[0].weight.grad, wanted, rtol=1e-9, atol=1e-12)


def test_scores_of_a_layer_are_those_of_drawn_labels(data):
    learner = ENTRANTS["ewc"].make(Scenario("", "", permuted))
    torch.manual_seed(0)
    *_, last = fishers(learner, Part(data.x, data.y))
    assert_close(last.scores.sum(1), torch.zeros(80), atol=1e-5, rtol=0)
    torch.manual_seed(0)
    index = torch.randperm(80)
    outputs = learner.network(data.x[index], 0)
    labels = torch.distributions.Categorical(logits=outputs).sample()
    assert_close(last.scores, outputs.softmax(1) - F.one_hot(labels, 10), atol=1e-5, rtol=0)
    assert isinstance(learner.layers[0], nn.Linear) and all(layer.weight.grad is None for layer in learner.layers)


def test_replay_keeps_as_much_as_its_title_says(data):
    learner = Replay(Scenario("", "", permuted))
    learner.learn(Part(data.x, data.y), 1, 20)
    learner.learn(Part(data.x, data.y), 1, 20)
    assert [len(part.x) for part in learner.kept] == [80, 80] and "200" in ENTRANTS["replay"].title


@pytest.mark.parametrize("name", ["split_single", "split_multi", "rotation"])
def test_every_method_is_scored_and_tabled(data, name):
    scenario = SCENARIOS[name]._replace(batch=40)
    if scenario.drifting:
        scenario = scenario._replace(tasks=lambda data, seed: iter(list(SCENARIOS[name].tasks(data, seed))[:3]))
    rows = []
    for method in ENTRANTS:
        if method not in OF_ONE or scenario.joins:
            found = continual.score(scenario, method, {}, data, 0)
            rows.append({"method": method, "net": name, "seed": 0, "limit": 80, "epochs": 1, "settings": {}, **found})
            assert 0 <= found["accuracy"] <= 1 and found["train_seconds"] > 0
    assert other_tables.continual_tasks(rows).count("\n") == len(rows) + 2


def test_a_stream_has_one_optimizer_that_is_told_how_much_will_come(data, monkeypatch):
    told, learnt, make = [], [], gbp.MessagePassing

    def noted(*args, **options):
        told.append(options["num_data"])
        return make(*args, **options)

    monkeypatch.setattr(gbp, "MessagePassing", noted)
    monkeypatch.setattr(gbp, "advance", lambda *args, **options: learnt.append(args))
    scenario = SCENARIOS["split_single"]
    for method, wanted in (("gbp_stream", [80]), ("gbp_stream_4", [320]), ("gbp", [16] * 5)):
        told.clear(), learnt.clear()
        continual.score(scenario, method, {}, data, 0)
        assert told == wanted and len(learnt) == (0 if method in OF_ONE else 5)


def test_a_search_tries_every_setting_and_the_best_is_taken(data, monkeypatch):
    monkeypatch.setattr(continual, "committed", lambda name: [
        {"net": "permuted", "method": "ewc", "accuracy": 0.7, "settings": {"strength": 1.0}},
        {"net": "permuted", "method": "ewc", "accuracy": 0.8, "settings": {"strength": 30.0}},
    ])  # fmt: skip
    assert continual.choose("permuted", "ewc") == {"strength": 30.0}
    assert continual.choose("permuted", "gbp") == {"strength": 15.0} and continual.choose("stream", "ewc") == {}
    assert [dict(one) for one in continual.tried(SCENARIOS["rotation"], "gbp")] == [
        {"drift": 0.0},
        {"drift": 0.03},
        {"drift": 0.3},
    ]
