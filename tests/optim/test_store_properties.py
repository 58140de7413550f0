"""Invariants of the stores over any order of batches and any rates."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from store_helpers import natural, parameter, visit, word
from torch.testing import assert_close

from torch_gbp import AveragedSites, BatchSites, Filtering, Message
from torch_gbp.optim.stores import Step

BATCHES = 4
VISITS = st.lists(st.tuples(st.integers(0, BATCHES - 1), st.floats(0.0625, 1.0)), min_size=1, max_size=12)


def prior_of(marginal):
    """The prior as a message; its mean is 0 in these tests."""
    precision = marginal.prior_precision.double().expand(marginal.mean.shape)
    return Message(torch.zeros_like(precision), precision)


def double():
    """A marginal at its prior, in float64, and the generator's next messages too."""
    marginal = parameter().double()
    with torch.no_grad():
        marginal.mean.zero_()
        marginal.precision.copy_(marginal.prior_precision.expand_as(marginal.precision))
    return marginal


def said():
    return Message(*(part.double() for part in word()))


@given(VISITS)
def test_the_marginal_is_the_prior_times_all_sites_after_every_visit(visits):
    store, marginal, state = BatchSites(), double(), {}
    for batch, rate in visits:
        visit(store, marginal, state, batch, said(), rate)
        product = prior_of(marginal)
        for site in state["sites"].values():
            product = product * Message(*site)
        assert_close(natural(marginal), product, rtol=1e-10, atol=1e-10)


@given(VISITS, st.integers(0, BATCHES - 1))
def test_a_batch_meets_the_product_of_the_others(visits, batch):
    """The cavity: prior x all sites but its own."""
    store, marginal, state = BatchSites(), double(), {}
    for other, rate in visits:
        visit(store, marginal, state, other, said(), rate)
    cavity, _ = visit(store, marginal, state, batch, said())
    product = prior_of(marginal)
    for known, site in state["sites"].items():
        product = product if known == batch else product * Message(*site)
    assert_close(cavity, product, rtol=1e-10, atol=1e-10)


@given(VISITS)
def test_rebuilding_changes_nothing(visits):
    store, marginal, state = BatchSites(), double(), {}
    for batch, rate in visits:
        visit(store, marginal, state, batch, said(), rate)
    before = natural(marginal)
    with torch.no_grad():
        store.rebuild(marginal, state)
    assert_close(natural(marginal), before, rtol=1e-10, atol=1e-10)


@given(st.permutations(range(BATCHES)))
def test_whole_sites_do_not_depend_on_the_order_of_the_batches(order):
    """Messages of fixed information and precision, each let in whole."""
    torch.manual_seed(0)
    sites = [said() for _ in range(BATCHES)]
    product = prior_of(double())
    for site in sites:
        product = product * site
    for store in (BatchSites(), Filtering()):
        marginal, state = double(), {}
        for batch in order:
            store.open(marginal, state, batch)
            centred = Message(sites[batch].information - sites[batch].precision * marginal.mean.detach(), sites[batch].precision)
            with torch.no_grad():
                store.commit(marginal, state, centred, Step(1.0, float(BATCHES), batch))
        assert_close(natural(marginal), product, rtol=1e-10, atol=1e-10)


@given(VISITS)
def test_precisions_never_fall_below_the_prior(visits):
    for store in (BatchSites(), AveragedSites(), AveragedSites(0.0), Filtering(), Filtering(forget=0.25)):
        marginal, state = double(), {}
        for batch, rate in visits:
            visit(store, marginal, state, batch, said(), rate)
            assert bool((marginal.precision >= marginal.prior_precision * (1 - 1e-12)).all())
            assert bool(marginal.mean.isfinite().all())
