"""Engines that compute the same thing: the same prior, power, noise and missing labels, whoever iterates the messages."""

import math

import pytest
import torch
from helpers import changed, marginals
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import (
    AllAtOnce,
    AveragedSites,
    BatchSites,
    ExampleByExample,
    Filtering,
    Inference,
    LayerSweeps,
    MessagePassing,
    RandomLayers,
)
from torch_gbp.errors import InvalidInput

pytestmark = pytest.mark.usefixtures("float64")
NOISE, PRIOR = 0.1, 0.8  # variances
ITERATED = {
    "all at once": Inference(800, damping=0.5, check=800),
    "example by example": Inference(40, schedule=ExampleByExample()),
    "layer sweeps": Inference(800, damping=0.5, schedule=LayerSweeps(), check=800),
    "random layers": Inference(800, damping=0.5, schedule=RandomLayers(), check=800),
}
STORES = {  # the whole step of `AveragedSites`: no momentum, no trust region
    "averaged": lambda: AveragedSites(momentum=0.0, trust_radius=math.inf, tail=0.0),
    "batch": BatchSites,
    "filtering": Filtering,
}
CENTRES = {"random start": None, "random prior mean": "start", "known prior mean": "known"}
each_order = pytest.mark.parametrize("order", ITERATED)
each_store = pytest.mark.parametrize("store", STORES)


def layer(centre=None, covariance="diagonal"):
    """Three inputs and two outputs, and the prior mean of the weights."""
    made = gbp.GBPLinear(
        3,
        2,
        bias=False,
        prior=gbp.Prior(variance=PRIOR, mean="start" if centre == "start" else 0.0),
        covariance=covariance,
    )
    if centre == "known":
        made.weight.set_prior_mean(torch.randn(2, 3))
    if centre != "start":
        with torch.no_grad():
            made.weight.mean.normal_()
    mean = made.weight.prior_mean
    return made, torch.zeros(2, 3) if mean is None else mean.clone()


def data(examples=6):
    """Inputs with orthogonal columns: the posterior of the weights factorises."""
    return torch.linalg.qr(torch.randn(examples, 3))[0], torch.randn(examples, 2)


def posterior(centre, x, y, power=1.0):
    """Means and variances of Bayesian linear regression."""
    system = torch.eye(3) / PRIOR + power * x.T @ x / NOISE
    mean = torch.linalg.solve(system, centre.T / PRIOR + power * x.T @ y / NOISE).T
    return mean, torch.linalg.inv(system).diagonal().expand(2, 3)


def learn(model, likelihood, inference, store, x, y, **options):
    propagate = MessagePassing(model.parameters(), len(x), store=store, epochs=None, **options)
    with propagate.visit(0, x, y):
        inference(model, likelihood, propagate, x, y)
    return propagate


@each_order
@each_store
@pytest.mark.parametrize("start", CENTRES)
def test_every_order_and_store_starts_from_the_same_prior(order, store, start):
    """One linear layer, one batch: the exact posterior mean of N(prior mean or 0, prior variance), wherever the means start."""
    (model, centre), (x, y) = layer(CENTRES[start]), data()
    assert float((model.weight.mean.detach() - centre).abs().max()) > 0.1 or start == "random prior mean"
    learn(model, gbp.Regression(NOISE), ITERATED[order], STORES[store](), x, y, lr=1.0)
    assert_close(model.weight.mean.detach(), posterior(centre, x, y)[0], rtol=1e-10, atol=1e-11)


@each_store
@pytest.mark.parametrize("start", CENTRES)
def test_joint_factors_give_the_exact_variances_in_every_store(store, start):
    (model, centre), (x, y) = layer(CENTRES[start], covariance="full"), data()
    inference = Inference(60, damping=0.5, schedule=LayerSweeps(), check=60)
    learn(model, gbp.Regression(NOISE), inference, STORES[store](), x, y, lr=1.0)
    mean, variance = posterior(centre, x, y)
    assert_close(model.weight.belief().mean, mean, rtol=1e-10, atol=1e-11)
    assert_close(model.weight.belief().variance, variance, rtol=1e-10, atol=0)


@each_store
def test_a_second_batch_meets_the_posterior_of_the_first(store):
    """Two batches with two sites, visited until they agree, or filtered: the posterior of both."""
    if store == "averaged":
        pytest.skip("keeps one average site, which two batches share")
    (model, centre), (x, y) = layer("known", covariance="full"), data(12)
    inference = Inference(60, damping=0.5, schedule=LayerSweeps(), check=60)
    x = torch.cat([torch.linalg.qr(part)[0] for part in x.split(6)])
    propagate = MessagePassing(model.parameters(), 12, store=STORES[store](), epochs=None)
    for batch, part in enumerate(torch.arange(12).split(6)):
        with propagate.visit(batch, x[part], y[part]):
            inference(model, gbp.Regression(NOISE), propagate, x[part], y[part])
    assert_close(tuple(model.weight.belief()), posterior(centre, x, y), rtol=1e-10, atol=1e-11)


def test_parallel_sweeps_and_layer_sweeps_end_in_the_same_marginals():
    """Aggregated messages on a linear-Gaussian factor: one fixed point, variances included, whoever iterates them."""
    found = []
    for order in ("all at once", "layer sweeps", "random layers"):
        torch.manual_seed(3)
        (model, _), (x, y) = layer(), data()
        learn(model, gbp.Regression(NOISE), ITERATED[order], Filtering(), x, y)
        found.append(tuple(model.weight.belief()))
    assert_close(found[1], found[0], rtol=1e-10, atol=1e-12)
    assert_close(found[2], found[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("iterations", [1, 30])
@pytest.mark.parametrize("schedule", [AllAtOnce(), LayerSweeps(), RandomLayers()], ids=lambda schedule: type(schedule).__name__)
def test_an_automatic_power_is_raised_alike_in_every_order(schedule, iterations):
    """150 weights and 4 examples: the power of Softmax is 128, with one sweep and with many."""
    found, (x, y) = [], (torch.randn(4, 14), torch.arange(4) % 3)
    for likelihood in (gbp.Softmax(), gbp.Softmax(power=128)):
        torch.manual_seed(5)
        model = nn.Sequential(gbp.GBPLinear(14, 6), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(6, 6), gbp.GBPLinear(6, 3))
        propagate = MessagePassing(model.parameters(), 4, store=Filtering(), epochs=None)
        assert sum(own.mean.numel() for own in propagate.marginals) == 153
        loss = Inference(iterations, damping=gbp.Damping(0.9), schedule=schedule)(model, likelihood, propagate, x, y)
        found.append((loss, marginals(model)))
    for ours, explicit in zip(found[0][1].values(), found[1][1].values(), strict=True):
        assert_close(ours, explicit, rtol=1e-9, atol=1e-12)


def test_a_visit_leaves_the_power_of_the_likelihood_as_it_was():
    likelihood, model, (x, y) = gbp.Softmax(), gbp.GBPLinear(14, 3), (torch.randn(4, 14), torch.arange(4) % 3)
    for schedule in (AllAtOnce(), LayerSweeps()):
        learn(model, likelihood, Inference(3, damping=0.9, schedule=schedule), Filtering(), x, y)
        assert likelihood.power == 64 and likelihood.automatic


@pytest.mark.parametrize("power", [0.5, 1.2, 2.0])
@pytest.mark.parametrize("name", ["all at once", "layer sweeps", "random layers"])
def test_every_schedule_tempers_the_factor(name, power):
    """The likelihood to a power, N(y; z, noise / power): the exact posterior mean."""
    (model, centre), (x, y) = layer("known"), data()
    learn(model, gbp.Regression(NOISE, power=power), ITERATED[name], Filtering(), x, y)
    assert_close(model.weight.mean.detach(), posterior(centre, x, y, power)[0], rtol=1e-10, atol=1e-11)


def test_the_noise_is_learned_alike_in_every_order_of_summed_messages():
    found = []
    for order in ("all at once", "layer sweeps", "random layers"):
        torch.manual_seed(3)
        (model, _), (x, y) = layer("known"), data()
        likelihood = gbp.Regression(NOISE, learn_noise=True)
        learn(model, likelihood, ITERATED[order], Filtering(), x, y)
        mean, variance = model.weight.belief()
        want = ((y - x @ mean.T).square() + x.square() @ variance.T).mean()  # E[(y - z)^2], the M step with share 1
        assert_close(likelihood.noise_variance, want, rtol=1e-9, atol=0)
        found.append(likelihood.noise_variance)
    assert abs(float(found[0]) - NOISE) > 0.1
    assert_close(found[1:], [found[0]] * 2, rtol=1e-9, atol=0)


def test_a_factor_graph_by_hand_learns_the_noise_from_its_output_beliefs():
    (model, _), (x, y) = layer("known", covariance="full"), data()
    likelihood = gbp.Regression(NOISE, learn_noise=True)
    propagate = MessagePassing(model.parameters(), len(x), store=Filtering(), epochs=None)
    graph = gbp.FactorGraph(model, x, likelihood, y)
    graph.infer(60, 0.5)
    mean, variance = graph.output_belief()
    graph.send(propagate)
    propagate.step()
    assert_close(likelihood.noise_variance, ((y - mean).square() + variance).mean(), rtol=1e-12, atol=0)


def test_a_factor_graph_by_hand_leaves_the_rest_of_an_automatic_power_to_the_step():
    """Four examples and 42 weights: the step takes twice the messages that the graph found."""
    model, x, y = gbp.GBPLinear(14, 3, bias=False, covariance="diagonal"), torch.randn(4, 14), torch.arange(4) % 3
    propagate = MessagePassing(model.parameters(), 4, store=Filtering(), epochs=None)
    graph = gbp.FactorGraph(model, x, gbp.Softmax(), y)
    graph.infer(20, 0.9)
    graph.send(propagate)
    said = model.weight.message().precision.clone()
    propagate.step()
    assert_close(model.weight.precision.detach(), model.weight.prior_precision + 2 * said, rtol=1e-12, atol=0)


@pytest.mark.parametrize("schedule", [LayerSweeps(), RandomLayers()], ids=lambda schedule: type(schedule).__name__)
@each_store
def test_missing_labels_say_nothing_in_a_single_iteration(schedule, store, monkeypatch):
    """The messages are those of the labelled examples alone; all examples count for the step."""
    x, y, found = torch.randn(12, 4), torch.arange(12) % 3, []
    for labels in (torch.where(torch.arange(12) < 7, y, -100), y[:7]):
        torch.manual_seed(1)
        model = nn.Sequential(gbp.GBPLinear(4, 5), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(5, 3))
        propagate = MessagePassing(model.parameters(), 12, store=STORES[store](), epochs=None)
        with propagate.visit(0, x[: len(labels)], labels):
            step = propagate.step
            monkeypatch.setattr(propagate, "step", lambda: None)
            loss = Inference(schedule=schedule)(model, gbp.Softmax(1.0), propagate, x[: len(labels)], labels)
            found.append((loss, [gbp.Message(*map(torch.clone, message)) for _, message in propagate.messages()]))
            step()
        assert propagate.param_groups[0]["examples_seen"] == len(labels)
    (loss, ours), (alone, want) = found
    assert_close(loss, alone, rtol=1e-12, atol=0)
    assert float(ours[0].precision.max()) > 0.01
    assert_close(ours, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("iterations", [1, 5])
def test_a_batch_without_any_label_leaves_what_is_known(iterations):
    model, x = gbp.GBPLinear(4, 3, prior=gbp.Prior(mean="start")), torch.randn(6, 4)
    before = marginals(model)
    learn(model, gbp.Softmax(1.0), Inference(iterations, schedule=LayerSweeps()), Filtering(), x, torch.full((6,), -100))
    for name, value in model.state_dict().items():
        assert_close(value, before[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [gbp.Softmax, gbp.Argmax, gbp.OneHotRegression])
@pytest.mark.parametrize(
    "inference", [Inference(), Inference(3), Inference(schedule=ExampleByExample())], ids=["1", "3", "exact"]
)
def test_missing_labels_elsewhere_are_refused_with_the_way_out(kind, inference):
    likelihood, model, x, y = kind(power=1.0), gbp.GBPLinear(4, 3), torch.randn(6, 4), torch.tensor([0, 1, -100, 2, -100, 0])
    propagate = MessagePassing(model.parameters(), 6, epochs=None)
    before = marginals(model)
    with pytest.raises(InvalidInput, match=r"examples have no label.*-100.*Way out.*LayerSweeps\(\)"):
        inference(model, likelihood, propagate, x, y)
    with pytest.raises(InvalidInput, match=r"2 of 6 examples have no label"):
        likelihood(model(x), y)
    assert changed(before, model) == []
