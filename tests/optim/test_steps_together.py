"""Marginals that take a step together take the one that each would take alone, on every device."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

import torch_gbp as gbp
from torch_gbp.gaussian import Message
from torch_gbp.optim.stores import AveragedSites, Run, Step, parts
from torch_gbp.optim.stores.base import Entry
from torch_gbp.weights.attached import attach
from torch_gbp.weights.priors import Prior
from torch_gbp.weights.sharing import Sharing

SHAPES = {"shared": (5, 4), "own": (3, 2, 3, 3), "centred": (6, 5), "transposed": (4, 2, 3, 3), "vector": (7,)}


def entries(step: Step, device: torch.device, dtype: torch.dtype = torch.float32) -> list[Entry]:
    """Marginals of every kind, some around known weights and some with scores across their weights, each with a message."""
    generator, made = torch.Generator().manual_seed(3), list[Entry]()
    for name, shape in SHAPES.items():
        layer = nn.ConvTranspose2d(4, 2, 3) if name == "transposed" else nn.Module()
        layer.weight = nn.Parameter(torch.randn(shape, generator=generator))
        own = attach(layer, "weight", Prior(0.05, 0.0), Sharing((0,)) if name in ("shared", "centred") else Sharing())
        if name == "centred":
            own.set_prior_mean(layer.weight + 0.1)
        layer.to(device, dtype)
        score = torch.randn(shape, generator=generator).to(own.mean)
        if name in ("own", "centred"):
            mean, rows = own.mean.detach().flatten(1), score.flatten(1)
            score = (rows - mean * (rows * mean).sum(1, keepdim=True) / mean.square().sum(1, keepdim=True)).view(shape)
        curvature = torch.rand(own.precision.shape, generator=generator).to(own.mean)
        made.append(Entry(own, {}, Message(score, curvature), step))
    return made


@pytest.mark.parametrize("probed", [True, False], ids=["means", "moments"])
@pytest.mark.parametrize("steady", [False, True], ids=["bounded", "steady"])
@pytest.mark.parametrize("crowding", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("cached", [1, 2**17], ids=["one_by_one", "all"])
def test_a_step_of_many_is_that_of_each(monkeypatch, device, crowding, steady, probed, cached):
    monkeypatch.setattr(parts, "CACHED", cached)
    run = Run(depth=4.0, progress=0.6, steps=900, crowding=crowding, weights=0.5)
    step = Step(0.3, 50.0, None, 64.0, run, probed, steady, 0.4)
    store, together, alone = AveragedSites(), entries(step, device), entries(step, torch.device("cpu"), torch.float64)
    with torch.no_grad():
        for _ in range(6):
            store.commit_all([entry._replace(message=Message(*map(torch.clone, entry.message))) for entry in together])
            for marginal, state, message, _ in alone:
                store.commit(marginal, state, Message(*map(torch.clone, message)), step)
    for (marginal, state, *_), (own, own_state, *_) in zip(together, alone, strict=True):
        assert_close(marginal.mean.detach().cpu().double(), own.mean.detach(), rtol=1e-4, atol=1e-5)
        assert_close(marginal.precision.cpu().double(), own.precision, rtol=1e-5, atol=0)
        assert_close(state["average"].cpu().double(), own_state["average"], rtol=1e-4, atol=1e-5)
    if probed and not steady:
        assert together[1][1]["radial"] < 0.05 < together[0][1]["radial"]  # both kinds are there


def test_lists_are_of_one_step_device_and_dtype_and_no_longer_than_a_cache(monkeypatch):
    monkeypatch.setattr(parts, "CACHED", 60)
    first, second = Step(0.1, 5.0), Step(0.2, 5.0)
    cpu = torch.device("cpu")
    made = [*entries(first, cpu), *entries(second, cpu), *entries(first, cpu, torch.float64)]
    found = list(parts.parts(made))
    assert sorted(id(entry) for part in found for entry in part) == sorted(map(id, made))
    for part in found:
        assert len({(entry.step, entry.marginal.mean.dtype) for entry in part}) == 1
        assert len(part) == 1 or sum(entry.marginal.mean.numel() for entry in part) <= 60


class Calls(TorchDispatchMode):
    """Counts the calls of torch's operations that do arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket not in (torch.ops.aten.detach, torch.ops.aten.view)
        return func(*args, **(kwargs or {}))


def calls_of_a_step(layers: int) -> int:
    """Of a network of so many layers with plenty of examples, in a step without a probe."""
    network = gbp.from_torch(nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(layers))), fresh=True)
    optimizer, counted = gbp.configure_optimizers(network, 50_000), 0
    for _ in range(18):  # the first ones have a probe each, and every 16th looks at directions
        optimizer.zero_grad()
        gbp.Softmax()(network(torch.randn(5, 4)), torch.arange(5) % 4).backward()
        with Calls() as calls:
            optimizer.step()
        counted = calls.count
    return counted


def test_a_step_makes_as_many_calls_for_many_weights_as_for_few():
    assert calls_of_a_step(16) == calls_of_a_step(4) < 60


def trained(network: nn.Module, device: torch.device, seed: int = 0) -> tuple[nn.Module, float]:
    """The network after three passes over 40 examples on the device, and the mean loss of these."""
    torch.manual_seed(seed)  # of the draws of probes
    network = copy.deepcopy(network).to(device)
    x, likelihood = torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)), gbp.Softmax()
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    x, y = x.to(device), y.to(device)
    optimizer = gbp.configure_optimizers(network, 40, epochs=3)
    for rows in torch.arange(40).split(10) * 3:
        optimizer.zero_grad()
        likelihood(network(x[rows]), y[rows]).backward()
        optimizer.step()
    return network, float(likelihood(network(x), y).detach()) / 40


@pytest.mark.parametrize("means", [True, False], ids=["means", "moments"])
def test_a_network_is_trained_alike_on_every_device(device, means):
    plain = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    network = gbp.from_torch(plain, fresh=True, moments=not means)
    (here, loss), (there, own) = trained(network, torch.device("cpu")), trained(network, device)
    if means:  # each device has draws of its own
        assert own == pytest.approx(loss, abs=0.02)
    else:
        for name, value in here.state_dict().items():
            assert_close(there.state_dict()[name].cpu(), value, rtol=1e-6, atol=1e-9)
