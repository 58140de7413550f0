"""Filtering, equations 27 to 29 of GBP Learning: linear-Gaussian streams, step by step and as a whole."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from torch_gbp import ExampleByExample, Filtering, GBPLinear, GBPNoise, Inference, LayerSweeps, MessagePassing, Prior, Regression

pytestmark = pytest.mark.usefixtures("float64")
NOISE, FACTOR_NOISE, PRIOR = 0.1, 0.2, 0.8  # variance, deviation, variance
SCHEDULES = {
    "one example after the other": Inference(2, schedule=ExampleByExample()),
    "factor graph": Inference(60, damping=0.5, schedule=LayerSweeps(), check=60),
}


def stream(inputs, batches=5, size=6):
    """Batches whose inputs are orthogonal, so that the posterior of the weights factorises and marginals lose nothing."""
    scales = 0.3 + torch.rand(batches)
    return [(scale * torch.linalg.qr(torch.randn(size, inputs))[0], torch.randn(size, 2)) for scale in scales]


def make(inputs, noisy, centre):
    """A layer without biases, so far at its prior; `centre` is the prior mean, None for 0 with a random start beside it."""
    covariance = "full" if noisy else "diagonal"
    layer = GBPLinear(inputs, 2, bias=False, prior=Prior(variance=PRIOR), covariance=covariance)
    if centre is not None:
        layer.weight.set_prior_mean(centre)
    return nn.Sequential(layer, GBPNoise(FACTOR_NOISE)) if noisy else nn.Sequential(layer)


def learn(layer, inference, forget, batches):
    """The belief of the weights after every batch."""
    propagate = MessagePassing(layer.parameters(), num_data=100, store=Filtering(forget), epochs=None)
    for x, y in batches:
        inference(layer, Regression(NOISE), propagate, x, y)
        yield layer[0].weight.belief()


def posterior(mean, variance, noise, x, y):
    """Bayesian linear regression with orthogonal inputs: means (o, i) and variances."""
    precision = 1 / variance + x.square().sum(0) / noise
    return (mean / variance + y.T @ x / noise) / precision, 1 / precision


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_stream_without_forgetting_ends_in_the_posterior_of_all_its_data(name):
    noisy, inputs = name == "factor graph", 3 if name == "factor graph" else 1  # one weight an output: exact marginals
    centre, batches = torch.randn(2, inputs), stream(inputs)
    *_, found = learn(make(inputs, noisy, centre), SCHEDULES[name], 0.0, batches)
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    system = torch.eye(inputs) / PRIOR + x.T @ x / (NOISE + noisy * FACTOR_NOISE**2)
    mean = torch.linalg.solve(system, centre.T / PRIOR + x.T @ y / (NOISE + noisy * FACTOR_NOISE**2)).T
    assert_close(found.mean, mean, rtol=1e-9, atol=1e-10)
    assert_close(found.variance, torch.linalg.inv(system).diagonal().expand(2, inputs), rtol=1e-9, atol=0)


@pytest.mark.parametrize("known", [False, True], ids=["random start", "known prior mean"])
@pytest.mark.parametrize("forget", [0.0, 0.3, 0.9])
def test_every_step_of_a_factor_graph_is_that_of_the_equations(forget, known):
    """The first batch meets the first prior, wherever its linearisation starts; each later one the prior that was drawn back."""
    centre, batches = torch.randn(2, 3) if known else torch.zeros(2, 3), stream(3)
    layer = make(3, noisy=True, centre=centre if known else None)
    mean, variance = centre, torch.full((2, 3), PRIOR)
    for (x, y), found in zip(batches, learn(layer, SCHEDULES["factor graph"], forget, batches), strict=True):
        deviation = forget * PRIOR**0.5 + (1 - forget) * variance.sqrt()
        mean = forget * centre + (1 - forget) * mean
        mean, variance = posterior(mean, deviation.square(), NOISE + FACTOR_NOISE**2, x, y)
        assert_close(found.mean, mean, rtol=1e-9, atol=1e-10)
        assert_close(found.variance, variance, rtol=1e-9, atol=0)


@pytest.mark.parametrize("forget", [0.1, 0.6])
def test_every_step_of_a_stream_of_examples_is_that_of_the_equations(forget):
    centre, batches = torch.randn(2, 1), stream(1)
    mean, variance = centre, torch.full((2, 1), PRIOR)
    for (x, y), found in zip(
        batches, learn(make(1, False, centre), SCHEDULES["one example after the other"], forget, batches), strict=True
    ):
        deviation = forget * PRIOR**0.5 + (1 - forget) * variance.sqrt()
        mean, variance = posterior(forget * centre + (1 - forget) * mean, deviation.square(), NOISE, x, y)
        assert_close(found.mean, mean, rtol=1e-9, atol=1e-10)
        assert_close(found.variance, variance, rtol=1e-9, atol=0)


def test_forgetting_everything_but_little_stays_near_the_first_prior():
    """With f near 1 each posterior is that of its own batch alone."""
    batches = stream(3)
    *_, found = learn(make(3, True, None), SCHEDULES["factor graph"], 1 - 1e-9, batches)
    alone = posterior(torch.zeros(2, 3), torch.full((2, 3), PRIOR), NOISE + FACTOR_NOISE**2, *batches[-1])
    assert_close((found.mean, found.variance), alone, rtol=1e-7, atol=1e-7)
