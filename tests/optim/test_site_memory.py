"""Where the sites of fixed batches are kept, and what they need there."""

import pytest
import torch
from helpers import changed, marginals, sweep, three_classes
from store_helpers import natural, parameter, visit, word
from torch.testing import assert_close

from torch_gbp import BatchSites, GBPLinear, MessagePassing, Softmax, memory
from torch_gbp.errors import OutOfMemory

pytestmark = pytest.mark.usefixtures("float64")


def test_sites_live_on_their_own_device():
    """A device without values stands for the other one: sites and prior go there, the marginal does not."""
    store, marginal, state = BatchSites(device="meta"), parameter(), {}
    visit(store, marginal, state, 0, word())
    kept = [*state["prior"], *state["sites"][0]]
    assert {part.device.type for part in kept} == {"meta"} and marginal.mean.device.type == "cpu"


def test_sites_that_a_checkpoint_moved_go_home():
    here, moved, state, twin = BatchSites(), BatchSites(device="meta"), {}, parameter()
    visit(here, twin, state, 0, word())
    with torch.no_grad():
        moved.open(twin, state, 1)
    assert {part.device.type for part in (*state["prior"], *state["sites"][0])} == {"meta"}


def test_a_named_device_changes_no_number():
    marginals = [parameter() for _ in range(2)]
    marginals[1].load_state_dict(marginals[0].state_dict())
    messages = [word() for _ in range(4)]
    for store, marginal in zip((BatchSites(), BatchSites("cpu")), marginals, strict=True):
        state = {}
        for batch, message in zip((0, 1, 0, 1), messages, strict=True):
            visit(store, marginal, state, batch, message, rate=0.5)
    assert_close(natural(marginals[0]), natural(marginals[1]), rtol=0, atol=0)


def test_sites_that_do_not_fit_are_refused_before_the_first_is_made(monkeypatch, caplog):
    model, (x, y) = GBPLinear(3, 3, covariance="diagonal"), three_classes()
    needed = 2 * 12 * 8 * (3 + 1)  # information and precision of 12 weights in float64, for 3 batches and the prior
    before = marginals(model)

    def first_step(free):
        monkeypatch.setattr(memory, "available_memory", lambda device: free)
        propagate = MessagePassing(model.parameters(), 60, store=BatchSites())
        with propagate.visit(0, x[:20], y[:20]):
            sweep(propagate, model, Softmax(), x[:20], y[:20])
        return propagate

    match = "3 batches do not fit into memory.*larger batches, BatchSites.device='cpu'., or AveragedSites"
    with pytest.raises(OutOfMemory, match=match):
        first_step(needed - 1)
    assert changed(before, model) == []
    with caplog.at_level("INFO", logger="torch_gbp"):
        propagate = first_step(needed)
    assert propagate.store.needed == needed and "sites of 3 batches" in caplog.text


def test_free_memory_is_told_for_what_there_is():
    free = memory.available_memory(torch.device("cpu"))
    assert free is None or 0 < free < 2**50
    assert memory.available_memory(torch.device("meta")) is None
