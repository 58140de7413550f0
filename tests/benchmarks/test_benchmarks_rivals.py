"""MC dropout, SWAG, VBLL and the two Laplace fits: what they draw, and how a search hands settings on."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from benchmarks import choice, contest
from benchmarks.contest import image_contest
from benchmarks.methods import METHODS, OF_FEW, installed
from benchmarks.methods.base import Training
from benchmarks.methods.last_layer import VBLL, Laplace, last_linear
from benchmarks.methods.sampled import RANK, SNAPSHOTS, SWAG, Dropout, add_dropout
from benchmarks.results import Row
from examples.networks import lenet5, mlp


def training(steps: int = 40, network: nn.Module | None = None) -> Training:
    """Two clouds of 20 points in two dimensions, and a perceptron for them."""
    torch.manual_seed(3)
    y = torch.arange(40) % 2
    x = torch.randn(40, 2) + 3 * y[:, None]
    return Training(network or nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)), x, y, 1, steps)


def test_dropout_stands_before_every_linear_layer_but_the_first() -> None:
    perceptron, convolutions = mlp(64, (32, 16)), lenet5()
    add_dropout(perceptron, 0.2)
    add_dropout(convolutions, 0.2)
    for network, masks in ((perceptron, 2), (convolutions, 3)):
        modules = [module for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d, nn.Dropout))]
        assert sum(isinstance(module, nn.Dropout) for module in modules) == masks
        for before, module in pairwise(modules[1:]):
            assert isinstance(before, nn.Dropout) == isinstance(module, nn.Linear)
        assert not isinstance(modules[0], nn.Dropout)
    assert {module.p for module in perceptron.modules() if isinstance(module, nn.Dropout)} == {0.2}


def test_dropout_stays_on_to_predict_and_is_averaged() -> None:
    method = Dropout(training(), rate=0.5, lr=1e-2, weight_decay=0.0)
    own = training()
    for _ in range(40):
        method.step(own.x, own.y)
    method.network.eval()
    first, second = (method.log_probabilities(own.x) for _ in range(2))
    assert not torch.equal(first, second)
    torch.testing.assert_close(first.exp().sum(1), torch.ones(40))
    method.network.eval()
    assert (first.exp() - torch.softmax(method.network(own.x), 1)).abs().max() < 0.5  # about the network of all units


def test_means_sweeps_on_the_network_of_mc_dropout_have_its_rate_and_drop_nothing_to_predict() -> None:
    searched = [row("dropout", nll, lr=lr, weight_decay=0.1, rate=rate) for lr, rate, nll in ((1.0, 0.1, 0.3), (2.0, 0.4, 0.1))]
    settings = image_contest("lowdata").choose(searched, "mlp", "gbp_dropout", 8).settings
    assert settings["rate"] == 0.4
    own = training()._replace(epochs=40)
    method = METHODS["gbp_dropout"].make(own, **settings)
    assert [module.p for module in method.network.modules() if isinstance(module, nn.Dropout)] == [0.4]
    first, second = (method.network.train()(own.x) for _ in range(2))
    assert not torch.equal(first, second)
    for _ in range(40):
        method.step(own.x, own.y)
    method.network.eval()
    assert torch.equal(method.log_probabilities(own.x), method.log_probabilities(own.x))


def test_with_a_tail_average_nothing_is_dropped_to_predict() -> None:
    own = training()
    method = METHODS["dropout_tail"].make(own, lr=1e-2, weight_decay=0.0, rate=0.5, tail=0.5)
    for _ in range(40):
        method.step(own.x, own.y)
    method.finish()
    method.network.eval()
    assert torch.equal(method.log_probabilities(own.x), method.log_probabilities(own.x))
    assert any(isinstance(module, nn.Dropout) for module in method.network.modules())


def test_swag_keeps_the_moments_and_deviations_of_the_last_quarter() -> None:
    own = training(steps=200)
    method = SWAG(own, lr=0.1, weight_decay=1e-3)
    history = []
    for step in range(200):
        method.step(own.x, own.y)
        if step + 1 in method.taken_at:
            history.append(torch.nn.utils.parameters_to_vector(method.network.parameters()).detach().double())
    weights = torch.stack(history)
    assert len(weights) == SNAPSHOTS and min(method.taken_at) > 150 and max(method.taken_at) == 200
    torch.testing.assert_close(method.mean.double(), weights.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(method.square.double(), weights.square().mean(0), atol=1e-4, rtol=1e-4)
    running = weights.cumsum(0) / torch.arange(1, SNAPSHOTS + 1)[:, None]
    expected = (weights - running)[-RANK:]
    torch.testing.assert_close(method.deviations.roll(-1 - SNAPSHOTS % RANK, 0).double(), expected, atol=1e-5, rtol=1e-3)


def test_draws_of_swag_have_its_covariance() -> None:
    method = SWAG(training(), lr=0.1, weight_decay=0.0)
    steps = 0.3 * torch.randn(SNAPSHOTS, len(method.mean)) + torch.linspace(0, 2, SNAPSHOTS)[:, None]
    for weights in steps:
        method.take(weights)
    variances, deviations = method.square - method.mean.square(), method.deviations.double()
    expected = 0.5 * (torch.diag(variances.double()) + deviations.T @ deviations / (RANK - 1))
    draws = torch.stack([method.draw() for _ in range(20_000)]).double()
    assert (draws.mean(0) - method.mean).abs().max() < 0.05
    assert (draws.T.cov() - expected).abs().max() < 0.05 * expected.max()


def test_swag_predicts_by_the_same_draws_every_time() -> None:
    own = training()
    method = SWAG(own, lr=0.1, weight_decay=0.0)
    for _ in range(40):
        method.step(own.x, own.y)
    method.finish()
    assert torch.equal(method.log_probabilities(own.x), method.log_probabilities(own.x))
    assert len({float(state["0.weight"][0, 0]) for state in method.drawn}) == len(method.drawn)


@pytest.mark.skipif(not installed(["laplace"]), reason="laplace is not installed")
def test_a_given_prior_precision_takes_the_place_of_the_marginal_likelihood() -> None:
    own = training()
    given, fitted = (Laplace(training(), lr=1e-2, weight_decay=0.0, prior_precision=value) for value in (7.0, None))
    for method in (given, fitted):
        method.step(own.x, own.y)
        method.finish()
    assert float(given._posterior.prior_precision) == 7.0 != float(fitted._posterior.prior_precision)
    wide = Laplace(training(), lr=1e-2, weight_decay=0.0, prior_precision=1e-3)
    wide.step(own.x, own.y)
    wide.finish()
    assert (wide.log_probabilities(own.x).max(1).values < given.log_probabilities(own.x).max(1).values).all()


@pytest.mark.skipif(not installed(["vbll"]), reason="vbll is not installed")
def test_the_variational_layer_takes_the_place_of_the_last_and_is_not_decayed() -> None:
    own = training()
    old = last_linear(own.network)
    method = VBLL(own, lr=0.1, weight_decay=0.5, prior_scale=2.0)
    layer = list(method.network.children())[-1]
    assert type(layer).__name__ == "DiscClassification" and old not in list(method.network.modules())
    assert layer.regularization_weight == 1 / 40 and layer.prior_scale == pytest.approx(2.0 * 2 / 8)
    decays = {id(p): group["weight_decay"] for group in method.optimizer.param_groups for p in group["params"]}
    assert [decays[id(p)] for p in method.network[0].parameters()] == [0.5, 0.5]
    assert {decays[id(p)] for p in layer.parameters() if p.requires_grad} == {0.0}
    assert len(decays) == len([p for p in method.network.parameters() if p.requires_grad])


def test_a_network_without_a_linear_layer_is_refused() -> None:
    with pytest.raises(SystemExit, match="a Conv2d has no linear layer"):
        last_linear(nn.Conv2d(1, 1, 1))


def row(method: str, nll: float, **settings: float) -> Row:
    return {"method": method, "net": "mlp", "limit": 9, "seed": 0, "epochs": 8, "nll": nll, "settings": settings}


def test_a_method_that_searches_beside_what_it_borrows_tries_its_grid_with_the_lent_settings() -> None:
    own = image_contest("mnist")
    searched = [row("adamw", nll, lr=lr, weight_decay=0.1) for lr, nll in ((1.0, 0.3), (2.0, 0.1))]
    lent = own._lent(searched, "mlp", METHODS["laplace_held_out"], 8)
    assert lent == {"lr": 2.0, "weight_decay": 0.1}
    assert own._lent(searched, "mlp", METHODS["laplace"], 8) == own._lent(searched, "mlp", METHODS["adamw"], 8) == {}
    assert own.choose(searched, "mlp", "laplace_held_out", 8).settings == {**lent, "prior_precision": 1.0}
    assert own.choose(searched, "mlp", "laplace_held_out", 8).source == choice.BUILT_IN
    found = [row("laplace_held_out", nll, **lent, prior_precision=p) for p, nll in ((3.0, 0.09), (10.0, 0.08), (30.0, 0.2))]
    chosen = own.choose([*searched, *found], "mlp", "laplace_held_out", 8)
    assert (chosen.settings, chosen.source, chosen.tried) == ({**lent, "prior_precision": 10.0}, choice.SEARCHED, 3)
    assert own.choose([*searched, *found], "mlp", "laplace", 8).settings == lent


@pytest.mark.parametrize("methods", [METHODS, OF_FEW], ids=["METHODS", "OF_FEW"])
def test_every_search_has_eight_settings_that_differ(methods: dict[str, contest.Entrant]) -> None:
    for name, entrant in methods.items():
        assert len({tuple(sorted(settings.items())) for settings in entrant.grid}) == len(entrant.grid) in (0, 8), name
        assert not name.startswith("gbp") or not entrant.grid
    assert math.isclose(max(own["weight_decay"] for own in OF_FEW["adamw"].grid), 1.0)
