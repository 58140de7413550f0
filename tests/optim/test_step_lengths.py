"""How long the steps of a means sweep may be, by the number of batches in a pass, of steps in all, of weights and of layers."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from torch_gbp.gaussian import Message
from torch_gbp.optim.stores import AveragedSites
from torch_gbp.optim.stores.base import Run, Step
from torch_gbp.optim.stores.bounded import NOISE, _longer
from torch_gbp.weights.attached import attach
from torch_gbp.weights.held_prior import Start
from torch_gbp.weights.priors import Prior
from torch_gbp.weights.sharing import Sharing

pytestmark = pytest.mark.usefixtures("float64")


def at_the_bound(step, inputs=100):
    """The means after a step from 0, where nothing is pulled, with scores of 1e9 and no trust region."""
    layer = nn.Linear(inputs, 2)
    marginal, store = attach(layer, "weight", Prior(0.05, 0.0), Sharing()), AveragedSites(trust_radius=math.inf)
    layer.weight.detach().zero_()
    with torch.no_grad():
        store.commit(marginal, {}, Message(torch.full((2, inputs), 1e9), torch.zeros(2, inputs)), step)
    return layer.weight.detach()


@pytest.mark.parametrize(
    ("in_all", "inputs", "depth", "longer"),
    [
        (4000, 8, 1.0, 1),
        (4000, 8, 0.25, 2),
        (500, 64, 1.0, 4),
        (5, 64, 1.0, 4),
        (500, 128, 1.0, 2),
        (1000, 784, 1.0, 1),
        (1000, 8, 4.0, 0.5),
        (500, 8, 2.0, math.sqrt(2)),
        (500, 8, 0.0, 20),
    ],
)
def test_the_bound_is_longer_in_short_runs_of_narrow_and_shallow_networks(in_all, inputs, depth, longer):
    moved = at_the_bound(Step(0.1, 1e6, run=Run(depth, steps=in_all), probed=True, scheduled=0.4), inputs)
    assert_close(moved, torch.full((2, inputs), NOISE * longer), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("batches", "crowding", "weights", "factor"),
    [
        (8, 1, 0, 1),
        (32, 1, 0, 1),
        (320, 1, 8, 10),
        (320, 1, 12, 10**0.5),
        (320, 1, 100, 1),
        (320, 1.5, 1, 10**0.5),
        (320, 2, 1, 1),
        (80, 2, 100, 2),
        (80, 1.5, 100, 2**0.5),
        (5, 2, 100, 4),
        (5, 1, 100, 1),
    ],
)
def test_newton_steps_are_longer_with_many_batches_and_examples_or_few_of_both(batches, crowding, weights, factor):
    assert math.isclose(_longer(Step(0.4, batches, run=Run(crowding=crowding, weights=weights)), Start.NEW), factor)


@pytest.mark.parametrize("start", [Start.KNOWN, Start.PRIOR])
def test_from_known_weights_few_batches_make_no_longer_newton_steps(start):
    assert _longer(Step(0.4, 5, run=Run(crowding=2.0, weights=100)), start) == 1


@pytest.mark.parametrize(
    ("batches", "crowding", "longer"), [(40, 2.0, 1), (10, 2.0, 2), (10, 1.5, 2**0.5), (10, 1.0, 1), (1, 2.0, 4)]
)
def test_the_bound_is_longer_in_passes_of_few_batches_where_weights_outnumber_examples(batches, crowding, longer):
    step = Step(0.1, batches, run=Run(crowding=crowding), probed=True, scheduled=0.4)
    moved = at_the_bound(step)
    assert_close(moved, torch.full((2, 100), NOISE * longer), rtol=1e-6, atol=0)


def test_the_bound_of_a_short_run_is_no_longer_for_few_batches_as_well():
    run = Run(crowding=2.0, steps=500 * 64 / 100)
    moved = at_the_bound(Step(0.1, 10, run=run, probed=True, scheduled=0.4))
    assert_close(moved, torch.full((2, 100), NOISE * 4 * 64 / 100), rtol=1e-6, atol=0)
