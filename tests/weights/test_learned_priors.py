"""Prior variances learned by empirical Bayes: the closed form, the stores, and the maximum of the evidence."""

import copy
import math

import oracle
import pytest
import torch
from helpers import marginals, mlp, sweep, three_classes
from scipy.optimize import minimize_scalar
from torch.testing import assert_close

from torch_gbp import (
    AveragedSites,
    BatchSites,
    Filtering,
    GBPLinear,
    Message,
    MessagePassing,
    Regression,
    Softmax,
)
from torch_gbp.errors import InvalidInput
from torch_gbp.optim.stores import Step
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.priors import Prior, empirical_variance


def test_empirical_variance_maximises_the_expected_log_prior(float64):
    mean, variance, centre = 3 * torch.randn(50), torch.rand(50), torch.randn(50)
    best = empirical_variance((mean - centre).square() + variance)

    def expected_log_prior(width):
        squares = oracle.expectation(lambda w: (w - centre.unsqueeze(-1)) ** 2, mean, variance)
        return -0.5 * (squares / width + torch.log(2 * math.pi * width)).sum()

    assert all(expected_log_prior(best) > expected_log_prior(best * factor) for factor in (0.99, 1.01, 0.1, 10.0))


STORES = {"averaged": AveragedSites, "batch": BatchSites, "filtering": Filtering}
each_store = pytest.mark.parametrize("make", STORES.values(), ids=STORES)


def _told(make, parameter, words):
    """The store's state after these messages, one batch each."""
    store, state = make(), {}
    with torch.no_grad():
        for batch, word in enumerate(words):
            store.open(parameter, state, batch)
            centred = Message(word.information - word.precision * parameter.mean, word.precision.clone())
            store.commit(parameter, state, centred, Step(1.0, len(words), batch))
    return store, state


@each_store
@pytest.mark.parametrize("random_mean", [False, True], ids=["zero", "random"])
def test_another_prior_replaces_the_old_one_in_the_product(make, random_mean, float64):
    """marginal = prior x sites before and after, where the sites are what is left without the prior."""
    parameter = GaussianParameter((4, 3), Prior(0.5, 0.3, mean="start" if random_mean else 0.0))
    store, state = _told(make, parameter, [Message(torch.randn(4, 3), torch.rand(4, 3)) for _ in range(3)])
    prior = store.prior(parameter, state)
    sites = [
        (parameter.precision * parameter.mean - prior.information).detach(),
        (parameter.precision - prior.precision).detach(),
    ]
    centre = prior.information / prior.precision
    for variance in (2.0, 0.01, 0.5):
        with torch.no_grad():
            store.set_prior(parameter, state, torch.tensor(1 / variance))
        expected = Message(*sites) * Message(centre / variance, torch.full_like(centre, 1 / variance))
        assert_close(parameter.precision.detach(), expected.precision, rtol=1e-12, atol=0)
        assert_close(parameter.mean.detach(), expected.information / expected.precision, rtol=1e-11, atol=1e-12)
        assert_close(parameter.prior_precision.item(), 1 / variance)
    running = marginals(parameter)
    with torch.no_grad():
        store.rebuild(parameter, state)
    assert_close(marginals(parameter), running, rtol=1e-11, atol=1e-12)


@each_store
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_precisions_stay_at_least_the_new_priors(make, factor):
    """In float32, where a prior a million times wider leaves of the old one what rounding leaves."""
    parameter = GaussianParameter((4, 3), Prior(0.5, 0.3), shared=True)
    store, state = _told(make, parameter, [Message(torch.randn(4, 3), 1e-4 * torch.rand(1, 3)) for _ in range(3)])
    with torch.no_grad():
        store.set_prior(parameter, state, parameter.prior_precision * factor)
    assert (parameter.precision >= parameter.prior_precision).all()
    parameter.mark_written()
    parameter.check_writes()


def _best_variance(x, y, noise):
    """The prior variance of most evidence, by golden-section search of the dense log evidence."""
    zero = torch.zeros(x.shape[1])
    result = minimize_scalar(
        lambda log: -oracle.condition(zero, zero + math.exp(log), x, noise, y)[2].item(), (-1.0, 1.0), tol=1e-12
    )
    return math.exp(result.x)


def test_em_of_the_dense_posterior_ends_at_the_maximum_of_the_evidence(float64):
    """The marginals of the dense posterior are enough: E[w^2] needs no covariance."""
    x, noise, variance = torch.randn(30, 6), 0.3, torch.tensor(0.5)
    y = x @ torch.randn(6) + 0.5 * torch.randn(30)
    for _ in range(80):
        mean, spread, _ = oracle.condition(torch.zeros(6), variance.expand(6), x, noise, y)
        variance = empirical_variance(mean.square() + spread)
    assert_close(variance.item(), _best_variance(x, y, noise), rtol=1e-7, atol=0)


def test_learned_priors_of_a_linear_layer_reach_the_maximum_of_the_evidence(float64):
    """Orthogonal inputs, where factorised marginals lose nothing: the least squares weights are N(0, v0 + noise / n)."""
    x = torch.linalg.qr(torch.randn(1000, 8))[0] * math.sqrt(1000)
    y = x @ torch.randn(8, 1) * 0.05 + torch.randn(1000, 1)
    best = (x.T @ y / 1000).square().mean().item() - 1 / 1000
    model = GBPLinear(8, 1, bias=False, prior=Prior(variance=0.2), covariance="diagonal")
    propagate = MessagePassing(model.parameters(), 1000, lr=1.0, epochs=None, store=AveragedSites(0.0, math.inf))
    for _ in range(40):
        sweep(propagate, model, Regression(1.0), x, y)
        propagate.learn_priors()
    assert_close(1 / model.weight.prior_precision.item(), best, rtol=1e-2, atol=0)


def test_a_precision_that_rounded_below_the_priors_is_the_new_priors():
    parameter = GaussianParameter((4, 3), Prior(0.5, 0.3))
    with torch.no_grad():
        parameter.precision.mul_(1 - 1e-6)
        AveragedSites().set_prior(parameter, {}, parameter.prior_precision * 1e-8)
    assert torch.equal(parameter.precision, parameter.prior_precision.expand(4, 3))


def test_what_was_known_before_the_first_batch_stays_known(float64):
    """A marginal that was already trained when `BatchSites` first met it: only the prior's part of it changes."""
    parameter = GaussianParameter((4, 3), Prior(0.5, 0.3))
    with torch.no_grad():
        parameter.precision.add_(torch.rand(4, 3))
    known = parameter.precision.detach() - parameter.prior_precision
    store, state = _told(BatchSites, parameter, [Message(torch.randn(4, 3), torch.rand(4, 3))])
    with torch.no_grad():
        store.set_prior(parameter, state, torch.tensor(7.0))
    assert_close(store.prior(parameter, state).precision, known + 7)
    before = marginals(parameter)
    with torch.no_grad():
        store.rebuild(parameter, state)
    assert_close(marginals(parameter), before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_learned_priors_of_a_network_train_on(shared):
    """Every tensor gets the variance its marginals favour, and the next step passes all checks."""
    x, y = three_classes()
    model = mlp(covariance="shared" if shared else "diagonal")
    propagate = MessagePassing(model.parameters(), 60, epochs=4, store=AveragedSites(anneal=False))
    for _ in range(4):
        for part in range(0, 60, 20):
            sweep(propagate, model, Softmax(), x[part : part + 20], y[part : part + 20])
        expected = {name: _favoured(p) for name, p in _tensors(model)}
        propagate.learn_priors()
        assert_close({name: p.prior_precision.reciprocal() for name, p in _tensors(model)}, expected)
        assert all((p.precision >= p.prior_precision).all() for _, p in _tensors(model))
    assert model(x).mean.isfinite().all()


def _tensors(model):
    return [(name, p) for name, p in model.named_modules() if isinstance(p, GaussianParameter)]


def _favoured(parameter):
    mean, variance = parameter.belief()
    return (mean.square() + variance).mean()


def test_frozen_layers_keep_their_prior():
    x, y = three_classes()
    model = mlp()
    model[0].requires_grad_(False)
    propagate = MessagePassing(model.parameters(), 60)
    sweep(propagate, model, Softmax(), x, y)
    before = copy.deepcopy(model[0].state_dict())
    propagate.learn_priors()
    assert_close(model[0].state_dict(), before, rtol=0, atol=0)
    assert model[2].weight.prior_precision != mlp()[2].weight.prior_precision


def test_priors_cannot_change_during_a_visit():
    x, y = three_classes()
    model = mlp()
    propagate = MessagePassing(model.parameters(), 60, store=BatchSites())
    with propagate.visit(0, x, y), pytest.raises(InvalidInput, match="during a visit"):
        propagate.learn_priors()


def test_priors_follow_nothing_before_the_first_step():
    model, (x, y) = mlp(), three_classes()
    propagate, before = MessagePassing(model.parameters(), 60), marginals(model)
    with pytest.raises(InvalidInput, match=r"nothing has been learnt.*learn_priors.*before the first step"):
        propagate.learn_priors()
    assert [name for name in before if not torch.equal(before[name], model.state_dict()[name])] == []
    sweep(propagate, model, Softmax(), x, y)
    MessagePassing(model.parameters(), 60).learn_priors()  # another optimizer on a network that has learnt
    assert not torch.equal(before["0.weight.prior_precision"], model[0].weight.prior_precision)
