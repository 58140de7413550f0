"""GBPActivation: any elementwise function in the moment sweep, linearised, and in iterated inference."""

import copy
import io

import oracle
import pytest
import torch
from helpers import messages, sweep
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.factors.activations import SHAPES, factor_of
from torch_gbp.factors.elementwise import Elementwise
from torch_gbp.factors.leaky_relu import LEAKY_RELU, LeakyReLUOptions
from torch_gbp.gaussian import Gaussian, Message

pytestmark = pytest.mark.usefixtures("float64")
NAMES = sorted(kind.__name__ for kind in SHAPES)


def beliefs(count=50, dtype=torch.float64):
    return Gaussian(2 * torch.randn(count, dtype=dtype), 0.1 + torch.rand(count, dtype=dtype))


@pytest.mark.parametrize("name", NAMES)
def test_moments_are_those_of_the_torch_layer(name):
    layer, x = getattr(nn, name)(), beliefs()
    assert_close(tuple(gbp.GBPActivation(layer)(x)), tuple(layer(x)), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Hardswish"])  # whose kinks the oracle does not know
def test_exact_marginals_are_those_of_quadrature(name):
    """Of z and of f(z), given a message to f(z) that is up to ten times as sharp as the belief."""
    layer, (mean, variance) = getattr(nn, name)(), beliefs()
    own, options = factor_of(layer)
    precision = 10 * torch.rand_like(mean) / variance
    above = Message(precision * (layer(mean) + variance.sqrt() * torch.randn_like(mean)), precision)
    found = own.tilted(options, mean, variance, above)

    def log_factor(z):
        a = layer(z)
        return above.information[:, None] * a - 0.5 * above.precision[:, None] * a.square()

    reach, one = 14 * variance.sqrt(), torch.ones_like(mean)
    low, high = torch.minimum(mean - reach, -one), torch.maximum(mean + reach, one)
    for marginal, of in zip(found, (lambda z: z, layer), strict=True):
        expected = oracle.tilted_moments(mean, variance, log_factor, low, high, of)
        assert_close(tuple(marginal), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("strength", [1.0, 1e3, 1e6])
def test_closed_marginals_of_a_rectifier_are_the_derived_ones(slope, strength):
    """Within 2e-8 of the marginal's standard deviation, as factors/tilted.py says."""
    (mean, variance), options = beliefs(200), LeakyReLUOptions(slope)
    precision = strength * torch.rand_like(mean) / variance
    above = Message(precision * (mean + 3 * variance.sqrt() * torch.randn_like(mean)), precision)
    derived = Elementwise(nn.functional.leaky_relu, kinks=(0.0,)).tilted(options, mean, variance, above)
    for own, closed in zip(derived[: 2 if slope else 1], LEAKY_RELU.tilted(options, mean, variance, above), strict=False):
        deviation = closed.standard_deviation
        assert float(((own.mean - closed.mean) / deviation).abs().max()) < 2e-8
        assert float((own.standard_deviation / deviation - 1).abs().max()) < 2e-8


@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("form", ["score", "gradient", "linearised"])
def test_closed_forms_of_a_rectifier_are_the_derived_ones(slope, form):
    """1e-9 of the larger of |m| and s: what the panels of the quadrature leave."""
    (mean, variance), options = beliefs(200), LeakyReLUOptions(slope)
    derived = Elementwise(nn.functional.leaky_relu, kinks=(0.0,))
    found = []
    above = torch.randn_like(mean), torch.rand_like(mean)
    for own in (derived, LEAKY_RELU):
        own = own.linearised() if form == "linearised" else own
        moments, saved = own.forward(options, mean, variance)
        back = own.gradient(options, (mean, variance), *above) if form == "gradient" else own.backward(options, saved, *above)
        found.append((*moments, *back))
    assert_close(*found, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("schedule", [gbp.LayerSweeps(), gbp.AllAtOnce(), gbp.ExampleByExample()])
@pytest.mark.parametrize("approximation", ["moments", "linearised"])
def test_a_rectifier_by_quadrature_is_the_closed_one_by_every_schedule(schedule, approximation):
    if schedule == gbp.ExampleByExample() and approximation == "linearised":
        pytest.skip("exact messages have no other approximation")
    x, y = torch.randn(5, 3), torch.randn(5, 1)
    derived = gbp.GBPActivation(Elementwise(nn.LeakyReLU(0.2), kinks=(0.0,)))
    first, second = gbp.GBPLinear(3, 2), gbp.GBPLinear(2, 1)
    found = []
    for between in (derived, gbp.GBPLeakyReLU(0.2)):
        model = copy.deepcopy(nn.Sequential(first, between, gbp.GBPNoise(0.1), second, gbp.GBPNoise(0.1)))
        propagate = gbp.MessagePassing(model.parameters(), 5, store=gbp.Filtering(), epochs=None)
        torch.manual_seed(0)  # of the order of the examples
        inference = gbp.Inference(4, schedule=schedule, approximation=approximation)
        with propagate.visit(0, x, y):
            inference(model, gbp.Regression(0.5), propagate, x, y)
        found.append([part.detach() for part in model.parameters()])
    assert_close(*found, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [nn.GELU, nn.Mish, nn.CELU])
def test_in_a_factor_graph_it_goes_to_a_stationary_point_of_the_energy(kind):
    """The gradient of the energy is 0 at the means, f inside the factor and linearised."""
    prior, noise = gbp.Prior(variance=1.0), lambda: gbp.GBPNoise(0.3, prior_sigma=1.0)
    enter = gbp.GBPLinear(3, 4, prior=prior, covariance="diagonal")
    leave = gbp.GBPLinear(4, 2, prior=prior, covariance="full")
    model = nn.Sequential(enter, gbp.GBPActivation(kind()), noise(), leave, noise())
    x, y = torch.randn(3, 3), 2 * torch.randn(3, 2)
    graph = gbp.FactorGraph(model, x, gbp.Regression(0.2), y, approximation="linearised")
    trace = graph.infer(3000, gbp.Damping(0.5, weights=0.6), tolerance=1e-7, check=50)
    assert trace.changes[-1] < 1e-7
    z, out = (belief.mean for belief in graph.beliefs().values())
    weights = [weight for node in graph.nodes for weight in node.weights]
    leaves = [part.clone().requires_grad_() for part in (z, out, *(weight.mean for weight in weights))]
    z, out, enter, shift, leave, offset = leaves
    residuals = [
        (kind()(x @ enter.T + shift) - z) / 0.3,
        (z @ leave.T + offset - out) / 0.3,
        (y - out) / 0.2**0.5,
        *(z, out),  # unary priors of deviation 1
        *(weight.before.precision.sqrt() * part for weight, part in zip(weights, leaves[2:], strict=True)),
    ]
    sum(0.5 * residual.square().sum() for residual in residuals).backward()
    assert float(enter.detach().abs().max()) > 0.01
    assert max(float(leaf.grad.abs().max()) for leaf in leaves) < 1e-4  # the largest single term is above 1


@pytest.mark.parametrize("schedule", [None, gbp.AllAtOnce()], ids=["plain", "iterated"])
@pytest.mark.parametrize("kind", [nn.GELU, nn.CELU, nn.Mish])
def test_a_network_of_it_learns_a_curve(kind, schedule):
    x = torch.linspace(-2, 2, 64)[:, None]
    y, prior = x.abs() - 1, gbp.Prior(scale=1.0)
    model = nn.Sequential(gbp.GBPLinear(1, 16, prior=prior), gbp.GBPActivation(kind()), gbp.GBPLinear(16, 1, prior=prior))
    likelihood, propagate = gbp.Regression(0.01), gbp.MessagePassing(model.parameters(), 64, epochs=40)
    damping = gbp.Damping(0.5, undamped_first=True)
    for _ in range(40):
        for part in torch.randperm(64).split(8):
            if schedule is None:
                sweep(propagate, model, likelihood, x[part], y[part])
            else:
                gbp.Inference(2, damping=damping, schedule=schedule)(model, likelihood, propagate, x[part], y[part])
    output = model.eval()(x).detach()
    assert float((output.mean - y).square().mean().sqrt()) < 0.15  # the curve's own deviation is 0.6


def test_it_is_saved_and_copied_with_the_network():
    model = nn.Sequential(gbp.GBPLinear(3, 2), gbp.GBPActivation(nn.CELU(2.0)))
    x, buffer = torch.randn(4, 3), io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=False)
    for other in (copy.deepcopy(model), again):
        assert_close(tuple(other(x)), tuple(model(x)), rtol=0, atol=0)
    back = []
    for network in (model, again):
        gbp.Regression(0.5)(network(x), torch.ones(4, 2)).backward()
        back.append(messages(network[0].weight.mean.grad, network[0].weight.precision.grad))
    assert_close(*back, rtol=0, atol=0)


def test_torch_activations_become_it_and_come_back():
    made = gbp.from_torch(nn.Sequential(nn.Linear(3, 3), nn.GELU("tanh")), moments=True)
    assert type(made[1]) is gbp.GBPActivation
    back = gbp.to_torch(made)[1]
    assert type(back) is nn.GELU and back.approximate == "tanh"


def test_what_is_not_elementwise_is_named():
    with pytest.raises(MissingRule, match=r"no elementwise factor.*GBPActivation.*Softmax.*use Sigmoid"):
        gbp.GBPActivation(nn.Softmax(1))
    with pytest.raises(InvalidInput, match="approximation"):
        gbp.GBPActivation(nn.GELU(), linearise=True)
