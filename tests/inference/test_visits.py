"""Visits to fixed batches: what is put back, what is remembered of a batch, what is refused."""

from __future__ import annotations

import pytest
import torch
from helpers import changed, marginals, mlp, sweep, three_classes

from torch_gbp import BatchSites, MessagePassing, Softmax
from torch_gbp.errors import InvalidInput, Repartitioned
from torch_gbp.optim.fixed_batches import check_members, fingerprint

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


REORDERED = {
    "labels_reversed": lambda x, y: (x, y.flip(0)),
    "examples_reversed": lambda x, y: (x.flip(0), y.flip(0)),
    "two_inputs_exchanged": lambda x, y: (x[[1, 0, *range(2, len(x))]], y),
    "columns_exchanged": lambda x, y: (x.flip(1), y),
    "a_sign": lambda x, y: (x * (1 - 2 * (x == x.max())), y),
}


@pytest.mark.parametrize("change", REORDERED.values(), ids=REORDERED)
def test_a_batch_in_another_order_is_another_batch(change):
    """All but the last leave every sum as it is."""
    model, (x, y) = mlp(), three_classes(30)
    x = (8 * x).round() / 8  # sums without rounding
    propagate = MessagePassing(model.parameters(), 60, store=BatchSites())
    with propagate.visit(0, x, y):
        sweep(propagate, model, Softmax(), x, y)
    visit = propagate.visit(0, *change(x, y))
    with pytest.raises(Repartitioned, match="re-partitioned or reordered"), visit:
        pytest.fail("the visit began")


def test_a_fingerprint_does_not_depend_on_type_and_layout():
    x, y = torch.randn(500, 3, dtype=torch.float32), torch.arange(500)
    expected = fingerprint((x, y))
    for alike in ((x.double(), y.int()), (x.t().contiguous().t(), y)):
        check_members(0, fingerprint(alike), expected)
    bits = x.flatten().view(torch.int32).tolist()
    weights = [(0x9E3779B97F4A7C15 * i) | 1 for i in range(1500)]
    checksum = sum(b * w for b, w in zip(bits, weights, strict=True)) % 2**64
    assert expected[0] == [500, 3, float(x.double().sum()), checksum - 2**64 * (checksum >= 2**63)]


@pytest.mark.parametrize("same", [True, False])
def test_a_state_with_older_fingerprints_goes_on(same):
    """Those had shape and sum only."""
    model, (x, y) = mlp(), three_classes(40)
    propagate = MessagePassing(model.parameters(), 40, store=BatchSites())
    with propagate.visit(0, x, y):
        sweep(propagate, model, Softmax(), x, y)
    state = propagate.state_dict()
    found = state["param_groups"][0]["fingerprints"]
    found[0] = [[*part.shape, float(part.double().sum())] for part in (x if same else x + 1, y)]
    resumed = MessagePassing(model.parameters(), 40, store=BatchSites())
    resumed.load_state_dict(state)
    if same:
        with resumed.visit(0, x, y):
            sweep(resumed, model, Softmax(), x, y)
        assert len(resumed.param_groups[0]["fingerprints"][0][0]) == 4  # from now on with a checksum
    else:
        with pytest.raises(Repartitioned):
            resumed.open(0, x, y)
