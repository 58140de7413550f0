"""Visits to fixed batches: what is put back, what is remembered of a batch, what is refused."""

from __future__ import annotations

import pytest
from helpers import changed, marginals, mlp, sweep, three_classes

from torch_gbp import BatchSites, MessagePassing, Softmax
from torch_gbp.errors import InvalidInput, Repartitioned

pytestmark = pytest.mark.usefixtures("float64")


def test_failed_visit_restores_the_marginals_bit_for_bit():
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, store=BatchSites(), epochs=None, lr=0.5)
    for batch in (0, 1):
        with propagate.visit(batch, x[batch::2], y[batch::2]):
            sweep(propagate, model, Softmax(power=1), x[batch::2], y[batch::2])
    before = marginals(model)

    def interrupted():
        with propagate.visit(0, x[0::2], y[0::2]):
            assert changed(before, model) != []  # inside, the marginals are the cavity
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert changed(before, model) == []
    with propagate.visit(1, x[1::2], y[1::2]):
        pass  # a visit without a step is no visit
    assert changed(before, model) == []


@pytest.mark.parametrize("other", ["size", "content"])
def test_repartitioned_batch_raises(other):
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, store=BatchSites())
    with propagate.visit(0, x[:20], y[:20]):
        sweep(propagate, model, Softmax(), x[:20], y[:20])
    before = marginals(model)
    part = slice(0, 19) if other == "size" else slice(20, 40)
    visit = propagate.visit(0, x[part], y[part])
    with pytest.raises(Repartitioned, match="batch 0 holds other examples than at its first visit"), visit:
        pytest.fail("the visit began")
    assert changed(before, model) == []


def test_batch_sites_need_a_visit():
    model, (x, y) = mlp(), three_classes()
    before, propagate = marginals(model), MessagePassing(model.parameters(), 60, store=BatchSites())
    with pytest.raises(InvalidInput, match="BatchSites needs to know which batch this is"):
        sweep(propagate, model, Softmax(), x, y)
    assert changed(before, model) == []


def test_a_batch_that_failed_at_its_first_visit_may_come_back_mended():
    """Only a batch whose site is stored is held to its first examples."""
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, store=BatchSites())
    broken = x.clone()
    broken[0, 0] = float("nan")
    with pytest.raises(InvalidInput, match="NaN or Inf"), propagate.visit(0, broken, y):
        sweep(propagate, model, Softmax(), broken, y)
    with propagate.visit(0, x, y):
        sweep(propagate, model, Softmax(), x, y)
    with pytest.raises(Repartitioned), propagate.visit(0, x[1:], y[1:]):
        pytest.fail("the visit began")
