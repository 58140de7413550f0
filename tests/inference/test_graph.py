"""Iterated inference on a network's factors: fixed points, joint factors, what is observed, filtering, errors."""

import contextlib
from itertools import pairwise

import pytest
import torch
from helpers import messages
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import AllAtOnce, Damping, FactorGraph, GBPNoise, Latent, LayerSweeps, RandomLayers
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.inference.damping import Iteration
from torch_gbp.layers.base import FactorLayer

pytestmark = pytest.mark.usefixtures("float64")
LINEARISED = {"approximation": "linearised"}


def noisy(made, noise=0.1, prior=None):
    """A layer with noise and a prior of its output behind it."""
    return nn.Sequential(made, GBPNoise(noise, prior))


def line(*sizes, noise=0.3):
    """Linear layers with noise and a unary prior of every output."""
    pairs = ((gbp.GBPLinear(*pair, covariance="diagonal"), GBPNoise(noise, 2.0)) for pair in pairwise(sizes))
    return nn.Sequential(*(layer for pair in pairs for layer in pair))


def posterior(model, prior, target, known):
    """Dense posterior of inputs and activations of known linear layers, in order: means and variances."""
    layers, noises = model[::2], model[1::2]
    sizes = [layers[0].in_features, *(layer.out_features for layer in layers)]
    starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
    total = starts[-1]
    system, right = torch.zeros(total, total), torch.zeros(total)
    system[: sizes[0], : sizes[0]] += torch.diag(prior[1].square().reciprocal())
    right[: sizes[0]] += prior[0] / prior[1].square()
    for layer, noise, low, mid, high in zip(layers, noises, starts, starts[1:], starts[2:], strict=False):
        rows = torch.zeros(high - mid, total)
        rows[:, low:mid], rows[:, mid:high] = layer.weight.mean.detach(), -torch.eye(high - mid)
        system += rows.T @ rows / noise.sigma**2
        right -= rows.T @ layer.bias.mean.detach() / noise.sigma**2
        system[mid:high, mid:high] += torch.eye(high - mid) / noise.prior_sigma**2
    free = torch.ones(total, dtype=torch.bool)
    free[starts[-2] :] = ~known
    fixed = torch.zeros(total)
    fixed[starts[-2] :] = torch.where(known, target, 0)
    covariance = torch.linalg.inv(system[free][:, free])
    mean = fixed.clone()
    mean[free] = covariance @ (right[free] - system[free][:, ~free] @ fixed[~free])
    return mean, covariance.diagonal(), free


@pytest.mark.parametrize("schedule", [LayerSweeps(), RandomLayers(), AllAtOnce()])
def test_means_of_a_loopy_linear_graph_are_the_dense_posteriors(schedule):
    model = line(3, 4, 2)
    for layer in model[::2]:
        layer.bias.mean.data.normal_()
    prior, target, known = (torch.randn(3), torch.rand(3) + 0.5), torch.randn(2), torch.tensor([True, False])
    graph = FactorGraph(
        model, Latent(prior[0][None], prior[1]), target=target[None], observed=known[None], learn=False, **LINEARISED
    )
    trace = graph.infer(6000, 0.7, schedule, tolerance=1e-13, check=10)
    mean, _, _ = posterior(model, prior, target, known)
    parts = [graph.input_belief().mean[0], *(belief.mean[0] for belief in graph.beliefs().values())]
    assert_close(torch.cat(parts), mean, rtol=1e-8, atol=1e-8)
    assert trace.changes[-1] <= 1e-13 and trace.iterations < 6000
    assert trace.energies[-1] <= trace.energies[0]
    assert_close(torch.tensor(graph.energy()), torch.tensor(trace.energies[-1]))


@pytest.mark.parametrize("noise", [0.01, 1.0])
def test_one_sweep_of_a_noisy_tree_has_the_dense_marginals(noise):
    """Weights of a star, its noise and the prior of its output: exact by one sweep of the layer."""
    layer = gbp.GBPLinear(4, 1, covariance="diagonal")
    layer.weight.mean.data.normal_()
    x, y = torch.randn(1, 4), torch.randn(1, 1)
    gbp.Regression(0.3)(noisy(layer, noise, 2.0)(x), y).backward()
    weight = layer.weight.belief().posterior(*messages(layer.weight.mean.grad, layer.weight.precision.grad))
    prior, features = torch.diag(torch.cat([layer.weight.precision.detach()[0], layer.bias.precision.detach()])), torch.ones(5)
    features[:4] = x[0]
    # (w, b, z): z = w x + b + noise, z ~ N(0, 4), y = z + e
    system, right = torch.zeros(6, 6), torch.zeros(6)
    system[:5, :5] = prior
    right[:5] = prior @ torch.cat([layer.weight.mean.detach()[0], layer.bias.mean.detach()])
    row = torch.cat([features, -torch.ones(1)])
    system += torch.outer(row, row) / noise**2
    system[5, 5] += 1 / 4 + 1 / 0.3
    right[5] += y[0, 0] / 0.3
    covariance = torch.linalg.inv(system)
    assert_close(weight.mean[0], (covariance @ right)[:4], rtol=1e-9, atol=1e-9)
    assert_close(weight.variance[0], covariance.diagonal()[:4], rtol=1e-9, atol=0)


@pytest.mark.parametrize("schedule", [LayerSweeps(), RandomLayers(), AllAtOnce()])
def test_one_iteration_is_the_plain_sweep_bit_for_bit(schedule, monkeypatch):
    model = nn.Sequential(gbp.GBPLinear(3, 5), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(5, 3))
    propagate = gbp.MessagePassing(model.parameters(), num_data=8)
    likelihood, x, y = gbp.Softmax(), torch.randn(8, 3), torch.arange(8) % 3
    likelihood(model(x), y).backward()
    plain = [parameter.grad.clone() for parameter in model.parameters()]
    monkeypatch.setattr(propagate, "step", lambda: None)
    gbp.Inference(schedule=schedule)(model, likelihood, propagate, x, y)
    assert all(torch.equal(parameter.grad, known) for parameter, known in zip(model.parameters(), plain, strict=True))


@pytest.mark.parametrize("approximation", ["moments", "linearised"])
def test_a_graph_in_which_nothing_is_observed_is_a_forward_pass(approximation):
    """Of moments, or linearised: the same rules both ways, with noise and without."""
    bend, inner = gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(8, 4, covariance="diagonal")
    model = nn.Sequential(gbp.GBPConv2d(1, 2, 3), bend, GBPNoise(0.3, 2.0), nn.Flatten(), inner, bend, gbp.GBPLinear(4, 2))
    x = torch.randn(3, 1, 4, 4)
    graph = FactorGraph(model, x, approximation=approximation)
    graph.infer(1, schedule=AllAtOnce())
    with gbp.linearised_sweep() if approximation == "linearised" else contextlib.nullcontext(), torch.no_grad():
        found = model(x)
    assert_close(tuple(graph.output_belief()), tuple(found), rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        assert approximation == "moments" or float((model(x).variance / found.variance - 1).abs().max()) > 0.01


@pytest.mark.parametrize("layer", ["linear", "shared", "conv"])
def test_the_nodes_first_sweep_is_that_of_autograd(layer):
    """Without noise, damping and memory a layer's node sends what the layer sends through autograd."""
    if layer == "conv":
        model, x = gbp.GBPConv2d(2, 3, 3, padding=1, covariance="diagonal"), torch.randn(4, 2, 5, 5)
    else:
        model, x = gbp.GBPLinear(6, 3, covariance="shared" if layer == "shared" else "diagonal"), torch.randn(4, 6)
    y = torch.randn_like(model(x).mean)
    likelihood = gbp.Regression(0.5)
    likelihood(model(x), y).backward()
    plain = messages(*(parameter.grad.clone() for parameter in model.parameters()))
    for own in (model.weight, model.bias):
        own.set_prior_mean(own.mean)  # else the mean of a fresh marginal is its prior's, and not the random start
    graph = FactorGraph(model, x, likelihood, y)
    with torch.no_grad():
        for visit in (graph.nodes[0].up, graph.nodes[1].down, graph.nodes[0].down):
            visit(Iteration(Damping()))
    model.zero_grad()
    for belief, (mean, precision) in zip(graph.nodes[0].weights, zip(plain[::2], plain[1::2], strict=True), strict=True):
        information, told = belief.message_so_far.parts
        share = precision.numel() / mean.numel()
        assert_close(told, precision * share, rtol=1e-9, atol=1e-12)
        assert_close(information - told * belief.marginal.mean, mean, rtol=1e-9, atol=1e-9)


def test_the_joint_factor_is_bayesian_linear_regression():
    """Weights of all examples at once: exact mean and variance, whatever the number of examples."""
    layer = noisy(gbp.GBPLinear(4, 2, prior=gbp.Prior(variance=1.0), covariance="full"))
    x, y = torch.randn(30, 4), torch.randn(30, 2)
    graph = FactorGraph(layer, x, gbp.Regression(0.05), y)
    graph.infer(300, 0.5, tolerance=1e-13)
    features = torch.cat([x, torch.ones(30, 1)], 1)
    system = torch.diag(torch.tensor([1.0] * 4 + [2.0])) + features.T @ features / 0.06
    covariance = torch.linalg.inv(system)
    weight, bias = graph.nodes[0].weights
    found = torch.cat([weight.mean, bias.mean[:, None]], 1)
    assert_close(found.T, covariance @ (features.T @ y) / 0.06, rtol=1e-8, atol=1e-8)
    assert_close(weight.variance[0], covariance.diagonal()[:4], rtol=1e-6, atol=0)


@pytest.mark.parametrize("covariance", ["full", "shared_full"])
@pytest.mark.parametrize("known", [0, 9, 12], ids=["nothing known", "some known", "all known"])
def test_outputs_of_the_joint_factor_have_the_predictive_of_regression(known, covariance):
    """Posterior of every noisy output, whether its target is known or not, from the Gaussian process of the layer."""
    layer = noisy(gbp.GBPLinear(4, 2, prior=gbp.Prior(variance=1.0), covariance=covariance))
    x, y, mask = torch.randn(12, 4), torch.randn(12, 2), torch.arange(12) < known
    graph = FactorGraph(layer, x, gbp.Regression(0.05), y, observed=mask)
    graph.infer(60, 0.3)
    prior = x @ x.t() + 0.5 + 0.01 * torch.eye(12)
    gain = torch.linalg.solve(prior[mask][:, mask] + 0.05 * torch.eye(known), prior[mask]).t()
    found = graph.output_belief()
    assert_close(found.mean, gain @ y[mask], rtol=1e-7, atol=1e-7)
    assert_close(found.variance, (prior - gain @ prior[mask]).diagonal()[:, None].expand(-1, 2), rtol=1e-7, atol=0)


def test_aggregated_messages_reach_the_mean_of_bayesian_linear_regression():
    """Without the joint factor: the same means at convergence, damped, since all examples answer at once."""
    layer = noisy(gbp.GBPLinear(3, 1, prior=gbp.Prior(variance=1.0), covariance="diagonal"), 0.5)
    x, y = torch.randn(6, 3), torch.randn(6, 1)
    graph = FactorGraph(layer, x, gbp.Regression(0.25), y, **LINEARISED)
    trace = graph.infer(20000, Damping(0.8, 0.95), tolerance=1e-12, check=50)
    features = torch.cat([x, torch.ones(6, 1)], 1)
    system = torch.diag(torch.tensor([1.0] * 3 + [2.0])) + features.T @ features / 0.5
    weight, bias = graph.nodes[0].weights
    assert trace.changes[-1] <= 1e-12
    answer = torch.linalg.solve(system, features.T @ y / 0.5)[:, 0]
    assert_close(torch.cat([weight.mean[0], bias.mean]), answer, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("covariance", ["diagonal", "full"], ids=["summed", "joint filters"])
def test_a_converged_network_is_a_stationary_point_of_the_energy(covariance):
    """Weights, activations and outputs all unknown, so products of two: the gradient of the energy is 0 at the means."""
    prior = gbp.Prior(variance=1.0)
    filters, dense = (
        gbp.GBPConv2d(1, 2, 3, covariance=covariance, prior=prior),
        gbp.GBPLinear(8, 2, covariance="full", prior=prior),
    )
    model = nn.Sequential(filters, GBPNoise(0.3, 1.0), nn.Flatten(), dense, GBPNoise(0.3, 1.0))
    x, y = torch.randn(3, 1, 4, 4), 2 * torch.randn(3, 2)
    graph = FactorGraph(model, x, gbp.Regression(0.2), y, **LINEARISED)
    trace = graph.infer(1500, Damping(0.5, 0.6), tolerance=1e-6, check=50)
    assert trace.changes[-1] < 1e-6
    z, _, out = (belief.mean for belief in graph.beliefs().values())
    weights = [weight for node in graph.nodes for weight in node.weights]
    leaves = [part.clone().requires_grad_() for part in (z, out, *(weight.mean for weight in weights))]
    z, out, kernel, shift, matrix, offset = leaves
    residuals = [
        (nn.functional.conv2d(x, kernel, shift) - z) / 0.3,
        (z.flatten(1) @ matrix.T + offset - out) / 0.3,
        (y - out) / 0.2**0.5,
        *(z, out),  # unary priors of deviation 1
        *(weight.before.precision.sqrt() * part for weight, part in zip(weights, leaves[2:], strict=True)),
    ]
    energy = sum(0.5 * residual.square().sum() for residual in residuals)
    energy.backward()
    assert float(kernel.detach().abs().max()) > 0.01
    assert max(float(leaf.grad.abs().max()) for leaf in leaves) < 1e-3  # the largest single term is above 1


def test_missing_labels_say_nothing():
    """A batch with unlabelled examples leaves the weights of a linear classifier as the labelled ones alone do."""
    likelihood, x = gbp.SquaredSoftmax(0.1), torch.randn(12, 4)
    y = torch.arange(12) % 3
    found = []
    for inputs, labels in ((x, torch.where(torch.arange(12) < 7, y, -100)), (x[:7], y[:7])):
        torch.manual_seed(1)
        model = noisy(gbp.GBPLinear(4, 3, prior=gbp.Prior(variance=1.0), covariance="full"))
        propagate = gbp.MessagePassing(model.parameters(), num_data=12, store=gbp.Filtering(), epochs=None)
        gbp.Inference(300, damping=0.5, schedule=LayerSweeps(), check=300)(model, likelihood, propagate, inputs, labels)
        found.append(model[0].weight.belief())
    assert float(found[0].mean.abs().max()) > 0.1
    assert_close(found[0].mean, found[1].mean, rtol=1e-8, atol=1e-8)
    assert_close(found[0].variance, found[1].variance, rtol=1e-8, atol=0)


def test_missing_pixels_get_what_the_network_says():
    model = line(3, 2, noise=0.05)
    x, target = torch.randn(1, 3), torch.randn(1, 2)
    known = torch.tensor([[True, False, True]])
    graph = FactorGraph(model, Latent(x, 1.0, known), target=target, learn=False, **LINEARISED)
    graph.infer(3000, 0.7, tolerance=1e-13, check=10)
    weight, bias = model[0].weight.mean.detach(), model[0].bias.mean.detach()
    column, rest = weight[:, 1], (target - x * known @ weight.T - bias)[0]
    mean = (column @ rest / 0.0025 + x[0, 1]) / (column @ column / 0.0025 + 1)
    assert_close(graph.input_belief().mean[0], torch.stack([x[0, 0], mean, x[0, 2]]), rtol=1e-8, atol=1e-8)
    assert graph.input_belief().variance[0, 0] == 0 < graph.input_belief().variance[0, 1]


@pytest.mark.parametrize(
    ("schedule", "covariance", "damping", "iterations"),
    [
        (LayerSweeps(), "full", Damping(0.65, 0.9), 60),
        (RandomLayers(), "full", Damping(0.65, 0.9), 90),
        (LayerSweeps(), "diagonal", Damping(0.8, 0.9, dropout=0.5), 200),
    ],
)
def test_one_pass_learns_three_classes(schedule, covariance, damping, iterations):
    y = torch.arange(120) % 3
    x = 2 * nn.functional.one_hot(y, 3) - 0.5 + 0.5 * torch.randn(120, 3)
    prior = gbp.Prior(variance=1.0)
    first, last = gbp.GBPLinear(3, 8, covariance="diagonal", prior=prior), gbp.GBPLinear(8, 3, covariance=covariance, prior=prior)
    model = nn.Sequential(first, gbp.GBPLeakyReLU(0.2), GBPNoise(0.05, 3.0), last, GBPNoise(0.05, 3.0))
    propagate = gbp.MessagePassing(model.parameters(), num_data=90, store=gbp.Filtering(), epochs=None)
    inference = gbp.Inference(iterations, damping=damping, schedule=schedule, check=iterations, **LINEARISED)
    for batch in torch.arange(90).split(30):
        inference(model, gbp.SquaredSoftmax(0.05), propagate, x[batch], y[batch])
    assert (model(x[90:]).mean.argmax(1) == y[90:]).double().mean() > 0.8
    assert all(
        bool((own.precision >= own.prior_precision).all()) for layer in (first, last) for own in (layer.weight, layer.bias)
    )


class Spectrum(nn.Module):
    """A function without moment map."""

    def forward(self, z):
        return torch.fft.fft(z)


BAD = {
    "unanchored": (lambda: FactorGraph(line(2, 1), Latent(torch.zeros(1, 2), None)), InvalidInput, "neither a prior nor"),
    "nan": (lambda: FactorGraph(line(2, 1), torch.full((1, 2), torch.nan)), InvalidInput, "inputs must be finite"),
    "latent_nan": (lambda: Latent(torch.full((1, 2), torch.nan)), InvalidInput, "must be finite"),
    "latent_mask": (lambda: Latent(torch.zeros(1, 2), 1.0, torch.ones(2)), InvalidInput, "`known` must be a mask"),
    "latent_sigma": (lambda: Latent(torch.zeros(1, 2), 0.0).variable(), InvalidInput, "must be positive"),
    "module": (lambda: FactorGraph(nn.Sequential(line(2, 1), Spectrum()), torch.zeros(1, 2)), MissingRule, "fft_fft' has no"),
    "layer": (lambda: FactorGraph(FactorLayer(), torch.zeros(1, 2)), MissingRule, "FactorLayer has no factor"),
    "noise": (lambda: GBPNoise(-1.0), InvalidInput, "sigma must be 0, or positive"),
    "sigma": (lambda: GBPNoise(prior_sigma=0.0), InvalidInput, "prior_sigma must be positive"),
    "likelihood": (lambda: gbp.SquaredSoftmax(0.0), InvalidInput, "sigma must be positive"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    make, error, text = BAD[name]
    with pytest.raises(error, match=text):
        make()
