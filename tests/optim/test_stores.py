"""The invariants of the three stores: nothing is counted twice, nothing is lost, nothing changes by accident."""

import math

import pytest
import torch
from helpers import changed, marginals, sweep, three_classes
from store_helpers import natural, parameter, visit, word
from torch.testing import assert_close

from torch_gbp import AveragedSites, BatchSites, Filtering, GBPLinear, Message, MessagePassing, Softmax
from torch_gbp.errors import ImproperMarginal
from torch_gbp.optim.stores import Step
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.priors import Prior

pytestmark = pytest.mark.usefixtures("float64")


def test_cavity_times_site_is_the_marginal():
    store, marginal, state = BatchSites(), parameter(), {}
    for batch in (0, 1, 2, 1, 0, 0, 2):
        rate = 0.3 if batch == 1 else 1.0
        visit(store, marginal, state, batch, word(), rate)
        for known in state["sites"]:
            before = natural(marginal)
            with torch.no_grad():
                store.open(marginal, state, known)
                cavity = natural(marginal)
                store.restore(marginal, state)
            assert_close(cavity * Message(*state["sites"][known]), before, rtol=1e-12, atol=1e-12)


def test_the_same_site_twice_changes_nothing():
    store, marginal, state = BatchSites(), parameter(), {}
    for batch in (0, 1, 2):
        visit(store, marginal, state, batch, word())
    _, site = visit(store, marginal, state, 1, word())
    before = natural(marginal)
    with torch.no_grad():
        store.open(marginal, state, 1)
        centred = Message(site.information - site.precision * marginal.mean, site.precision)  # the same site, at the new cavity
        store.commit(marginal, state, centred, Step(1.0, 3.0, 1))
    assert_close(natural(marginal), before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1, 1, 0, 2), (0, 0, 0, 1, 0)])
def test_rebuild_equals_the_running_marginal(order):
    store, marginal, state = BatchSites(), parameter(), {}
    for batch in order:
        visit(store, marginal, state, batch, word(), rate=0.7)
    running = natural(marginal)
    with torch.no_grad():
        store.rebuild(marginal, state)
    assert_close(natural(marginal), running, rtol=1e-10, atol=1e-10)


def test_damping_interpolates_the_sites():
    store, marginal, state = BatchSites(), parameter(), {}
    _, first = visit(store, marginal, state, 5, word(), rate=0.25)
    old = Message(*(0.25 * part for part in first))  # a new batch is damped from silence
    assert_close(Message(*state["sites"][5]), old, rtol=1e-13, atol=1e-13)
    _, second = visit(store, marginal, state, 5, word(), rate=0.4)
    expected = Message(*(0.6 * a + 0.4 * b for a, b in zip(old, second, strict=True)))
    assert_close(Message(*state["sites"][5]), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "prior_mean", [None, torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(4, 3)], ids=["zero", "known"]
)
def test_averaged_sites_without_momentum_move_the_natural_parameters(prior_mean):
    """T <- (1 - a/B) T + (a/B) T0 + a (g + G m, G)."""
    store, marginal, state = AveragedSites(0.0, math.inf), parameter(prior_mean), {}
    prior = marginal.prior_precision.expand(4, 3)
    centre = torch.zeros(4, 3) if prior_mean is None else prior_mean
    for rate in (0.1, 0.8, 0.4):
        message, old, share = word(), natural(marginal), rate / 7.0
        site = Message.centred(*message, marginal.mean.detach().clone())
        with torch.no_grad():
            store.commit(marginal, state, message, Step(rate, 7.0))
        first = Message(prior * centre, prior)
        expected = Message(*((1 - share) * t + share * t0 + rate * s for t, t0, s in zip(old, first, site, strict=True)))
        assert_close(natural(marginal), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_averaged_sites_come_to_rest_at_prior_plus_all_messages(momentum):
    """Three batches that always say the same: R = R0 + sum G, m = sum eta / R."""
    store, marginal, state, site = AveragedSites(momentum), parameter(), {}, word()
    for _ in range(800):
        message = Message(site.information - site.precision * marginal.mean.detach(), site.precision)
        with torch.no_grad():
            store.commit(marginal, state, message, Step(0.3, 3.0))
    precision = marginal.prior_precision + 3 * site.precision
    assert_close(marginal.precision.detach(), precision, rtol=1e-12, atol=0)
    assert_close(marginal.mean.detach(), 3 * site.information / precision, rtol=1e-10, atol=1e-10)


def test_averaged_sites_with_momentum_follow_the_recursion():
    """u <- beta u + (1 - beta) (g - (m - m0) R0 / B), m <- m + a u / ((1 - beta^t) R): the first step is that without beta."""
    centre = torch.ones(4, 3)
    store, marginal, state = AveragedSites(0.8, math.inf), parameter(centre), {}
    mean, precision, average = marginal.mean.detach().clone(), marginal.precision.detach().clone(), 0.0
    for t, rate in enumerate((0.4, 0.1, 0.7), start=1):
        score, said = word()
        with torch.no_grad():
            store.commit(marginal, state, Message(score.clone(), said), Step(rate, 5.0))
        precision = (1 - rate / 5) * precision + rate / 5 * marginal.prior_precision + rate * said
        average = 0.8 * average + 0.2 * (score - (mean - centre) * marginal.prior_precision / 5)
        mean = mean + rate * average / ((1 - 0.8**t) * precision)
        assert_close((marginal.mean.detach(), marginal.precision.detach()), (mean, precision), rtol=1e-12, atol=1e-12)


def test_averaged_sites_settle_at_the_average_of_the_last_means():
    """A <- A + (m - A) min(1, 4 / (t / 2)) at every fourth step: from step 16 on, half a lifetime is remembered."""
    store, marginal, state, average = AveragedSites(0.8, tail=0.5), parameter(), {}, None
    for t in range(1, 31):
        with torch.no_grad():
            store.commit(marginal, state, word(), Step(0.3, 5.0))
        mean = marginal.mean.detach().clone()
        if t % 4 == 0:
            average = mean if average is None else average + (mean - average) * min(1.0, 4 / (0.5 * t))
    precision = marginal.precision.detach().clone()
    with torch.no_grad():
        store.use_averaged_means(marginal, state)
    assert_close((marginal.mean.detach(), marginal.precision.detach()), (average, precision), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tail", [0.0, 0.125])
def test_averaged_sites_without_a_tail_or_a_history_keep_the_mean(tail):
    store, marginal, state = AveragedSites(tail=tail), parameter(), {}
    for _ in range(9 if tail == 0 else 3):
        with torch.no_grad():
            store.commit(marginal, state, word(), Step(0.3, 5.0))
    before = marginal.mean.detach().clone()
    with torch.no_grad():
        store.use_averaged_means(marginal, state)
    assert torch.equal(marginal.mean, before)


def test_averaged_sites_stay_where_the_average_message_is_the_average_site():
    store, marginal, state, site = AveragedSites(0.9), parameter(), {}, word()
    with torch.no_grad():
        marginal.precision.copy_(marginal.prior_precision + 5 * site.precision)
        marginal.mean.copy_(5 * site.information / marginal.precision)
        before = natural(marginal)
        for _ in range(4):
            message = Message(site.information - site.precision * marginal.mean, site.precision)
            store.commit(marginal, state, message, Step(0.4, 5.0))
    assert_close(natural(marginal), before, rtol=1e-12, atol=1e-12)


def test_filtering_is_the_product_in_sequence():
    marginal = parameter()
    total = natural(marginal)
    for _ in range(4):
        message = word()
        total = total * Message.centred(*message, marginal.mean.detach().clone())
        with torch.no_grad():
            Filtering().commit(marginal, {}, message, Step(0.2, 9.0))  # the rate is not used
    assert_close(natural(marginal), total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("prior_mean", [None, torch.ones(4, 3, dtype=torch.float64)], ids=["zero", "known"])
def test_filtering_forgets_towards_the_first_prior(prior_mean):
    """sigma_p = f sigma_0 + (1 - f) sigma, m_p = f m_0 + (1 - f) m; then the product."""
    marginal, message, forget = parameter(prior_mean), word(), 0.3
    deviation = 0.3 * 0.5**0.5 + 0.7 * marginal.precision.detach().rsqrt()
    mean = 0.3 * (0.0 if prior_mean is None else prior_mean) + 0.7 * marginal.mean.detach()
    site = Message.centred(*message, marginal.mean.detach().clone())
    with torch.no_grad():
        Filtering(forget).commit(marginal, {}, message, Step(1.0, 1.0))
    assert_close(natural(marginal), Message(mean / deviation**2, deviation**-2) * site, rtol=1e-12, atol=1e-12)


STORES = {
    "averaged": AveragedSites(),
    "plain": AveragedSites(0.0),
    "batch": BatchSites(),
    "filtering": Filtering(),
    "forgetting": Filtering(0.2),
}


@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
@torch.no_grad()
def test_foreseen_precision_is_what_commit_writes(store):
    marginal, state = parameter(), {}
    for batch in (0, 1, 0):
        store.open(marginal, state, batch)
        message, step = word(), Step(0.3, 4.0, batch)
        expected = store.precision_after(marginal, state, message, step)
        store.commit(marginal, state, message, step)
        assert_close(marginal.precision.detach(), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
def test_precision_below_the_prior_raises_before_anything_changes(store):
    """A message of negative precision, seen by the exact check of every store."""
    model = GBPLinear(3, 2, covariance="diagonal")
    propagate = MessagePassing(list(model.named_parameters()), 60, store=store)
    x, y = three_classes()
    y = y % 2
    with propagate.visit(0, x, y):
        sweep(propagate, model, Softmax(), x, y)
    before = marginals(model)

    def spoiled():
        propagate.zero_grad()
        with propagate.visit(1, x, y):
            Softmax()(model(x), y).backward()
            model.weight.precision.grad.fill_(-1e9)
            model.weight.arrive()  # as if it had come so
            propagate.step()

    with pytest.raises(ImproperMarginal, match=r"of 6 precisions would fall below the prior's \(in layer 'weight', step 2\)"):
        spoiled()
    assert changed(before, model) == []


def test_a_rate_of_zero_moves_nothing():
    store, marginal = AveragedSites(), parameter()
    before = natural(marginal)
    with torch.no_grad():
        store.commit(marginal, {}, word(), Step(0.0, 3.0))
    assert_close(natural(marginal), before, rtol=0, atol=0)


@pytest.mark.parametrize(("trust_radius", "batches", "reach"), [(1.5, 9.0, 0.5), (30.0, 4.0, 2.0)])
@pytest.mark.parametrize(("shape", "shared"), [((4, 3), False), ((4, 3), True), ((4,), False), ((4, 3, 2, 2), True)])
def test_no_output_moves_further_than_the_trust_region(shape, shared, trust_radius, batches, reach):
    """The sum of d^2 R over an output's weights is at most min(2, trust_radius / sqrt(B))^2; shorter steps are what they were."""
    marginals = [GaussianParameter(shape, Prior(0.5, 0.3), shared=shared) for _ in range(3)]
    for marginal in marginals[1:]:
        marginal.load_state_dict(marginals[0].state_dict())
    before, free, bound = marginals
    score = torch.randn(shape) * torch.tensor([1e-4, 1e-2, 10.0, 1e6]).view(-1, *(1 for _ in shape[1:]))
    message = Message(score, torch.rand_like(free.precision))
    with torch.no_grad():
        for marginal, limit in ((free, math.inf), (bound, trust_radius)):
            AveragedSites(0.0, limit).commit(marginal, {}, Message(*map(torch.clone, message)), Step(0.4, batches))
        moved = [((m.mean - before.mean) ** 2 * m.precision).reshape(4, -1).sum(1).sqrt() for m in (free, bound)]
        assert_close(free.precision, bound.precision)
        assert (moved[0][:2] < reach).all() and (moved[0][2:] > reach).all()
        assert_close(moved[1], moved[0].clamp_max(reach))
        assert_close(bound.mean[:2], free.mean[:2])
        direction = (bound.mean - before.mean)[2:] / (free.mean - before.mean)[2:]
        assert_close(direction, (reach / moved[0][2:]).view(-1, *(1 for _ in shape[1:])).expand_as(direction))
