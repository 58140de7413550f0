"""LaplacePrior: its message against quadrature, posteriors against quadrature, and training with every store."""

import copy
import math

import pytest
import torch
from helpers import mlp, sweep, three_classes
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import AveragedSites, BatchSites, Filtering, GBPLinear, LaplacePrior, MessagePassing, Regression, Softmax
from torch_gbp.errors import InvalidInput
from torch_gbp.weights.parameter import GaussianParameter

VARIANCE, NOISE = 0.5, 0.5
SCALE = math.sqrt(VARIANCE / 2)  # b
pytestmark = pytest.mark.filterwarnings("ignore::torch_gbp.errors.NotLearning")  # weights of 0 say nothing about targets
ONE_BY_ONE = gbp.Inference(2, schedule=gbp.ExampleByExample())  # exact for one weight an output


def layer(inputs=1, mean=0.0, **options):
    prior = LaplacePrior(VARIANCE, start_deviation=0.0, mean=mean)
    return GBPLinear(inputs, 1, bias=False, prior=prior, covariance="diagonal", **options)


def message(moment):
    """E[1 / s] by quadrature over log s, where q(s) ~ exp(E_q(w)[log N(w; 0, s)] + log Exp(s; mean 2 b^2)), moment E_q[w^2]."""
    s = torch.linspace(-30, 12, 8001).exp()
    log = -0.5 * s.log() - 0.5 * moment / s - 0.5 * s / SCALE**2 + s.log()  # + log s: of the measure
    weight = (log - log.max()).exp()
    return float((weight / s).sum() / weight.sum())


def posterior(information, precision, mean=0.0):
    """Mean and variance of p(w) ~ exp(information w - precision w^2 / 2 - |w - mean| / b), by quadrature."""
    w = torch.linspace(-8, 8, 100001)
    log = information * w - 0.5 * precision * w.square() - (w - mean).abs() / SCALE
    weight = (log - log.max()).exp()
    first = float((weight * w).sum() / weight.sum())
    return first, float((weight * (w - first).square()).sum() / weight.sum())


def variational(information, precision, mean=0.0):
    """The fixed point of the factorised bound, its messages by quadrature."""
    told = 1 / VARIANCE
    for _ in range(100):
        total = precision + told
        centre = (information + told * mean) / total
        told = message((centre - mean) ** 2 + 1 / total)
    return centre, 1 / total


def data(weight, size=10):
    x = torch.randn(size, 1)
    return x, weight * x + math.sqrt(NOISE) * torch.randn(size, 1)


def evidence(x, y):
    return float((x * y).sum() / NOISE), float(x.square().sum() / NOISE)


def visit(model, propagate, x, y):
    with propagate.visit(0, x, y):
        ONE_BY_ONE(model, Regression(NOISE, power=1), propagate, x, y)


@pytest.mark.parametrize("moment", [1e-4, 0.03, 1.0, 50.0])
def test_the_message_is_that_of_the_mixture(moment, float64):
    found = LaplacePrior(VARIANCE, start_deviation=0.0).precision(torch.tensor(moment))
    assert_close(found.item(), message(moment), rtol=1e-9, atol=0)


def test_the_density_is_that_mixture_of_gaussians(float64):
    s = torch.linspace(-40, 12, 60001).exp()
    mixing = torch.exp(-0.5 * s / SCALE**2) / (2 * SCALE**2) * s  # per log s
    for w in (0.2, 1.0, 3.0):
        gaussian = torch.exp(-0.5 * w**2 / s) / (2 * math.pi * s).sqrt()
        found = float(torch.trapezoid(mixing * gaussian, s.log()))
        assert_close(found, math.exp(-w / SCALE) / (2 * SCALE), rtol=1e-6, atol=0)


@pytest.mark.parametrize("centre", [0.0, 0.4])
@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_one_weight_with_sites_reaches_the_best_factorised_posterior(weight, centre, float64):
    (x, y), model = data(weight), layer(mean=centre)
    propagate = MessagePassing(model.parameters(), len(x), store=BatchSites(), lr=1.0, epochs=None)
    for _ in range(30):
        visit(model, propagate, x, y)
    mean, variance = variational(*evidence(x, y), centre)
    assert_close([model.weight.mean.item(), model.weight.belief().variance.item()], [mean, variance], rtol=1e-8, atol=1e-9)
    exact, spread = posterior(*evidence(x, y), centre)
    assert abs(mean - exact) < 0.15 * math.sqrt(spread) and 0.85 < math.sqrt(variance / spread) <= 1.01


@pytest.mark.parametrize("store", [AveragedSites, Filtering])
@pytest.mark.parametrize("weight", [0.1, 0.3, 2.0])
def test_one_weight_of_many_examples_gets_the_posterior(store, weight, float64):
    """Averaged sites take every message at the marginal, a filter its messages once: near the posterior where data abound."""
    (x, y), model = data(weight, 200), layer()
    propagate = MessagePassing(model.parameters(), len(x), store=store(), epochs=None)
    for _ in range(100 if store is AveragedSites else 1):
        for part in range(0, 200, 50):
            inference = gbp.Inference() if store is AveragedSites else ONE_BY_ONE
            propagate.zero_grad()
            inference(model, Regression(NOISE, power=1), propagate, x[part : part + 50], y[part : part + 50])
    propagate.use_averaged_means()
    exact, spread = posterior(*evidence(x, y))
    assert abs(model.weight.mean.item() - exact) < 0.1 * math.sqrt(spread)
    assert 0.95 < math.sqrt(model.weight.belief().variance.item() / spread) < 1.05


def test_a_linear_regression_gets_its_posterior(float64):
    """Orthogonal inputs, so that the posterior factorises, and every weight's is an integral over one variable."""
    weights = torch.tensor([0.0, 0.02, -0.3, 1.5, 0.0])
    x = torch.linalg.qr(torch.randn(300, 5))[0] * math.sqrt(300)
    y = x @ weights[:, None] + math.sqrt(NOISE) * torch.randn(300, 1)
    model = layer(5)
    propagate = MessagePassing(model.parameters(), 300, lr=1.0, epochs=None, store=AveragedSites(0.0, math.inf, anneal=False))
    for _ in range(60):
        sweep(propagate, model, Regression(NOISE, power=1), x, y)
    weight = model.weight
    assert_close(weight.prior_precision, (weight.mean.square() + weight.belief().variance).rsqrt() / SCALE)
    exact = [posterior(float(x[:, i] @ y[:, 0] / NOISE), 300 / NOISE) for i in range(5)]
    mean, spread = (torch.tensor(part) for part in zip(*exact, strict=True))
    assert ((weight.mean[0] - mean).abs() < 0.15 * spread.sqrt()).all()
    ratio = (weight.belief().variance[0] / spread).sqrt()
    assert ((ratio > 0.85) & (ratio < 1.05)).all()


@pytest.mark.parametrize("covariance", ["shared", "diagonal"])
@pytest.mark.parametrize("store", [AveragedSites, BatchSites, Filtering])
def test_networks_train_and_stay_proper(store, covariance):
    x, y = three_classes()
    model = mlp(covariance=covariance, prior=LaplacePrior(mean="start"))
    propagate = MessagePassing(model.parameters(), 60, epochs=6, store=store(), lr=0.5)
    for _ in range(6):
        for part in range(0, 60, 20):
            with propagate.visit(part, x[part : part + 20], y[part : part + 20]):
                sweep(propagate, model, Softmax(), x[part : part + 20], y[part : part + 20])
            for own in gbp.marginals(model).values():
                assert (own.precision >= own.floor * (1 - 1e-5)).all()
    assert model[0].weight.prior_precision.shape == (6, 3)
    assert model[0].bias.prior_precision.shape == ()  # a Gaussian's stays what it is
    assert all(part.isfinite().all() for part in model(x))


def test_small_weights_are_drawn_to_zero_and_large_ones_are_not():
    """One input in ten says something; the largest of the other weights is smaller than under the Gaussian prior."""
    x = torch.randn(40, 10)
    y = 2 * x[:, :1] + 0.7 * torch.randn(40, 1)
    found = {}
    for kind in (gbp.Prior, LaplacePrior):
        model = GBPLinear(10, 1, bias=False, prior=kind(0.05, start_deviation=0.0), covariance="diagonal")
        propagate = MessagePassing(model.parameters(), 40, epochs=100)
        for _ in range(100):
            sweep(propagate, model, Regression(NOISE, power=1), x, y)
        found[kind] = model.weight.mean[0].abs()
    assert found[LaplacePrior][0] > found[gbp.Prior][0]
    assert found[LaplacePrior][1:].mean() < 0.7 * found[gbp.Prior][1:].mean()


@pytest.mark.parametrize("store", [AveragedSites, BatchSites, Filtering])
def test_a_run_goes_on_from_its_checkpoint(store):
    x, y = three_classes()

    def started():
        torch.manual_seed(0)
        model = mlp(prior=LaplacePrior())
        return model, MessagePassing(model.parameters(), 60, epochs=6, store=store(), lr=0.5)

    def passes(model, propagate, count):
        for _ in range(count):
            with propagate.visit(0, x, y):
                sweep(propagate, model, Softmax(), x, y)

    model, propagate = started()
    passes(model, propagate, 2)
    saved = copy.deepcopy((model.state_dict(), propagate.state_dict()))
    passes(model, propagate, 2)
    again, optimizer = started()
    again.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    passes(again, optimizer, 2)
    assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    again[0].reset_parameters()
    assert again[0].weight.prior_precision.shape == ()


def test_weights_of_a_torch_network_follow_it_too():
    network = gbp.from_torch(nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3)), fresh=True, prior=LaplacePrior())
    x, y = three_classes()
    trainer = gbp.Trainer(network, Softmax(), epochs=3, progress=False)
    trainer.fit([(x[:30], y[:30]), (x[30:], y[30:])])
    own = gbp.marginals(network)["0.weight"]
    assert own.prior_precision.shape == (6, 3) and own.precision.shape == (1, 3)
    assert (own.precision >= own.floor * (1 - 1e-5)).all()


def test_frozen_weights_keep_their_prior():
    x, y = three_classes()
    model = mlp(prior=LaplacePrior())
    model[0].requires_grad_(False)
    sweep(MessagePassing(model.parameters(), 60), model, Softmax(), x, y)
    assert model[0].weight.prior_precision.shape == () and model[2].weight.prior_precision.shape == (3, 6)


def test_its_scale_is_not_learnt():
    x, y = three_classes()
    model = mlp(prior=LaplacePrior())
    propagate = MessagePassing(model.parameters(), 60)
    sweep(propagate, model, Softmax(), x, y)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InvalidInput, match=r"the scale of a LaplacePrior is not learnt.*Got: 2 of 4.*or use Prior"):
        propagate.learn_priors()
    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_averaged_sites_leave_the_means_where_they_are():
    """Nothing keeps apart what the data said: a mean that moved with the prior's precision would grow for ever."""
    own = GaussianParameter((4, 3), LaplacePrior(VARIANCE, start_deviation=0.3))
    with torch.no_grad():
        own.mean.mul_(2)
        before = own.mean.clone()
        AveragedSites().renew_prior(own, {})
    assert torch.equal(own.mean, before) and own.prior_precision.shape == (4, 3)
    assert torch.equal(own.precision, own.prior_precision)
