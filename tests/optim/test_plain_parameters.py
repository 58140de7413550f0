"""Gains and shifts of BatchNorm decay where a network trains from its start; nothing else that is plain does."""

import pytest
import torch
from helpers import three_classes
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.optim.plain_parameters import DECAY
from torch_gbp.optim.settings import GAINS, PLAIN
from torch_gbp.optim.stores import Run


def network(**start):
    layers = nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)
    return gbp.from_torch(nn.Sequential(*layers), **start)


def stepped(model, run, before=0.5, **settings):
    """Plain parameters before and after a step without gradients, and its rate."""
    plain = gbp.configure_optimizers(model, 60, epochs=4, **settings)._plain
    named = {name: own for name, own in model.named_parameters() if any(own is other for other in plain._groups[0]["params"])}
    for own in named.values():
        own.data.add_(0.7)
        own.grad = torch.zeros_like(own)
    found = {name: own.detach().clone() for name, own in named.items()}
    plain.step({"lr": 0.4, "initial_lr": 0.4, "epochs": 4, "warmup": 0.2}, before, run)
    return found, named, plain._groups[0]["lr"]


@pytest.mark.parametrize(
    ("crowding", "weights", "share"), [(1.0, 7.0, 1.0), (1.0, 0.25, 0.25), (1.75, 7.0, 0.25), (2.0, 7.0, 0.0)]
)
def test_gains_and_shifts_of_batchnorm_decay_alone(crowding, weights, share):
    before, after, rate = stepped(network(fresh=True), Run(1.0, 0.51, 100, crowding, weights))
    assert len(before) == 7 and rate > 1e-4
    for name, own in before.items():
        factor = 1 - rate * DECAY * share if name.startswith("1.") else 1.0
        assert_close(after[name].detach(), factor * own, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("start", "settings"),
    [
        ({}, {}),
        ({"as_prior": True}, {}),
        ({"fresh": True}, {"plain": lambda own: torch.optim.AdamW(own, 1e-3, weight_decay=0.0)}),
    ],
    ids=["pretrained", "as prior", "an optimizer of the user's own"],
)
def test_what_is_known_or_the_users_does_not_decay(start, settings):
    before, after, _ = stepped(network(**start), Run(1.0, 0.51, 100, 1.0, 7.0), **settings)
    for name, own in before.items():
        assert torch.equal(after[name], own)


def test_a_gain_that_heard_nothing_stays():
    model = network(fresh=True)
    plain = gbp.configure_optimizers(model, 60)._plain
    assert model[1].weight.grad is None
    before = model[1].weight.detach().clone()
    plain.step({"lr": 0.4, "epochs": 8, "warmup": 0.2}, 0.5, Run(1.0, 0.51, 100, 1.0, 7.0))
    assert torch.equal(model[1].weight, before)


def test_a_state_from_before_the_decay_loads():
    model, (x, y) = network(fresh=True), three_classes()
    optimizer = gbp.configure_optimizers(model, 60, epochs=4)
    gbp.Softmax()(model(x), y).backward()
    optimizer.step()
    state = optimizer.state_dict()
    assert state[PLAIN]["param_groups"][0].pop(GAINS)
    again = gbp.configure_optimizers(model, 60, epochs=4)
    again.load_state_dict(state)
    again.zero_grad()
    gbp.Softmax()(model(x), y).backward()
    again.step()
    assert again.param_groups[0]["steps"] == 2


S = torch.optim.lr_scheduler


def shares(make, lr=None):
    """Under a scheduler, step by step: the rate of the marginals and that of the plain parameters, as shares of those without."""
    rates = []
    for own in (lambda optimizer: None, make):
        model, (x, y) = network(fresh=True), three_classes()
        optimizer, found = gbp.configure_optimizers(model, 60, epochs=None, lr=lr), []
        scheduler = own(optimizer)
        for step in range(20):
            optimizer.zero_grad()
            gbp.Softmax()(model(x[step : step + 10]), y[step : step + 10]).backward()
            optimizer.step()
            found.append((optimizer.param_groups[0]["lr"], optimizer._plain._groups[0]["lr"]))
            if scheduler is not None:
                scheduler.step()
        rates.append(torch.tensor(found, dtype=torch.float64))
    return (rates[1] / rates[0]).T


SCHEDULERS = {
    "one cycle": lambda optimizer, top: S.OneCycleLR(optimizer, top, total_steps=20, cycle_momentum=False),
    "cyclic": lambda optimizer, top: S.CyclicLR(optimizer, 0.1 * top, top, step_size_up=10, cycle_momentum=False),
    "halved": lambda optimizer, top: S.LambdaLR(optimizer, lambda step: 0.5),
    "cosine": lambda optimizer, top: S.CosineAnnealingLR(optimizer, 20),
    "by hand": lambda optimizer, top: optimizer.param_groups[0].update(lr=0.3 * top),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("lr", [None, 0.2])
def test_schedulers_scale_the_rate_of_plain_parameters_as_that_of_the_marginals(name, lr):
    marginal, plain = shares(lambda optimizer: SCHEDULERS[name](optimizer, 0.4 if lr is None else lr), lr)
    assert_close(plain, marginal)
    assert marginal.min() < 0.9


def test_a_layer_that_thaws_in_a_run_learns_its_bias_too():
    model, (x, y) = network(fresh=True), three_classes()
    model[0].requires_grad_(False)
    optimizer = gbp.configure_optimizers(model, 60, epochs=None)
    before = [model[0].bias.detach().clone()]
    for thawed in (False, True):
        model[0].requires_grad_(thawed)
        for _ in range(2):
            optimizer.zero_grad()
            gbp.Softmax()(model(x[:10]), y[:10]).backward()
            optimizer.step()
        before.append(model[0].bias.detach().clone())
    assert torch.equal(before[0], before[1]) and not torch.equal(before[1], before[2])


@pytest.mark.parametrize(("lr", "share"), [(0.2, 0.1), (None, 1.0)], ids=["a rate given", "the store's"])
def test_a_restart_goes_on_at_the_share_of_the_rate_that_is_left(lr, share):
    """A given rate stays where a scheduler left it, for both; the store's begins anew, for both."""
    model, (x, y) = network(fresh=True), three_classes()
    optimizer, found = gbp.configure_optimizers(model, 60, epochs=None, lr=lr), []
    first = optimizer.param_groups[0]["lr"]
    for again in (False, True):
        if again:
            optimizer.param_groups[0]["lr"] *= 0.1
            optimizer.restart()
        optimizer.zero_grad()
        gbp.Softmax()(model(x[:10]), y[:10]).backward()
        optimizer.step()
        found.append(optimizer._plain._groups[0]["lr"])
    assert_close(optimizer.param_groups[0]["lr"] / first, share)
    assert_close(found[1] / found[0], share)
