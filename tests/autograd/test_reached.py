"""What counts is what reaches a marginal: gradients of inputs say nothing, and one hook serves all optimizers there ever were."""

import gc

import pytest
import torch
import torch.nn.functional as F
from helpers import three_classes
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.autograd.sweep import _LISTENERS
from torch_gbp.errors import InvalidInput

pytestmark = pytest.mark.usefixtures("float64")


def network():
    torch.manual_seed(0)
    return gbp.from_torch(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)))


def curvatures(between):
    """What probes gave after a backward pass, with something in between it and zero_grad, and the generators as before."""
    model, (x, y) = network(), three_classes()
    optimizer = gbp.configure_optimizers(model, 60)
    optimizer.zero_grad()
    between(model, x, y)
    optimizer._prober._generators.clear()
    gbp.Softmax()(model(x), y).backward()
    return [own.curvature for own in gbp.marginals(model).values()], optimizer._listener.examples


def by_inputs(model, x, y):
    inputs = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(gbp.Softmax()(model(inputs), y), inputs)
    assert found.abs().sum() > 0


def test_gradients_of_inputs_leave_no_probe_behind():
    alone, examples = curvatures(lambda *_: None)
    found, as_many = curvatures(by_inputs)
    assert_close(found, alone, rtol=0, atol=0)
    assert examples == as_many == 60


def test_a_plain_loss_after_gradients_of_inputs_brings_no_probe():
    model, (x, y) = network(), three_classes()
    optimizer = gbp.configure_optimizers(model, 60)
    by_inputs(model, x, y)
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    assert all(own.curvature is None for own in gbp.marginals(model).values())


def test_two_sweeps_of_a_step_add_their_probes():
    model, (x, y) = network(), three_classes()
    optimizer = gbp.configure_optimizers(model, 60)
    optimizer.zero_grad()
    for part in (slice(0, 30), slice(30, 60)):
        before = [own.rho for own in gbp.marginals(model).values()]
        gbp.Softmax()(model(x[part]), y[part]).backward()
    assert all(
        one is not None and not torch.equal(one, own.rho) for one, own in zip(before, gbp.marginals(model).values(), strict=True)
    )
    assert all(own.sent is None for own in gbp.marginals(model).values())


def test_a_second_derivative_is_refused():
    model, (x, y) = nn.Linear(3, 3), three_classes()
    inputs = x.clone().requires_grad_()
    with pytest.raises(InvalidInput, match="first derivatives alone"):
        torch.autograd.grad(gbp.Softmax()(model(inputs), y), inputs, create_graph=True)


def test_the_tenth_optimizer_of_a_network_still_finds_a_forgotten_zero_grad_by_one_hook():
    model, (x, y) = network(), three_classes()
    for _ in range(10):
        optimizer = gbp.configure_optimizers(model, 60)
    weight = model[0].weight
    assert len(weight._post_accumulate_grad_hooks) == 1
    optimizer.zero_grad()
    gbp.Softmax()(model(x), y).backward()
    optimizer.step()
    gbp.Softmax()(model(x), y).backward()
    with pytest.raises(InvalidInput, match="no zero_grad"):
        optimizer.step()
    del optimizer
    gc.collect()
    assert not _LISTENERS[weight]


def test_a_probe_counts_with_its_own_sweep_alone():
    own, one, other = next(iter(gbp.marginals(network()).values())), object(), object()
    for sweep, found in ((other, False), (one, True)):
        own.forget()
        own.probe(torch.ones_like(own.mean), torch.ones(()), one)
        own.hear(own.mean, sweep)
        assert (own.rho is not None) == found
