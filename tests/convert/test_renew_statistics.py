"""renew_statistics: BatchNorm's running statistics at the present means."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput


def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3), nn.BatchNorm1d(3))


def batches(n=5):
    return [(torch.randn(6, 1, 4, 4) * 2 + 1, torch.zeros(6)) for _ in range(n)]


@pytest.mark.parametrize("count", [None, 3, 100])
def test_it_does_what_torch_does_for_so_many_batches(count):
    model, data = network(), batches()
    model(data[0][0])
    expected = copy.deepcopy(model)
    update_bn(data[:count], expected)
    assert gbp.renew_statistics(model, data, count) == 2
    assert_close(model.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert [model[1].momentum, model[5].momentum] == [0.1, 0.1]


def test_modes_weights_and_gradients_are_as_before():
    model = gbp.from_torch(network()).train()
    model[1].eval(), model[2].eval()
    modes, before = [module.training for module in model.modules()], copy.deepcopy(dict(model.named_parameters()))
    gbp.renew_statistics(model, iter(batches()))
    assert [module.training for module in model.modules()] == modes
    assert_close(dict(model.named_parameters()), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frozen_layers_keep_their_statistics_and_their_part_in_the_pass():
    model, data = network(), batches()
    model[1].requires_grad_(False)
    model[1].running_mean.fill_(2.0)
    before = copy.deepcopy(model[1].state_dict())
    assert gbp.renew_statistics(model, data) == 1
    assert_close(model[1].state_dict(), before, rtol=0, atol=0)
    with torch.no_grad():
        inside = model[:5].eval()(torch.cat([x for x, _ in data]))
    assert_close(model[5].running_mean, inside.mean(0))


def test_without_such_layers_the_loader_is_not_read():
    def loader():
        raise AssertionError
        yield

    assert gbp.renew_statistics(nn.Linear(3, 2), loader()) == 0
    assert gbp.renew_statistics(nn.BatchNorm1d(3, track_running_stats=False), loader()) == 0


def test_after_an_error_modes_and_rates_are_as_before():
    model = network().eval()
    with pytest.raises(RuntimeError):
        gbp.renew_statistics(model, [torch.randn(6, 2, 4, 4)])
    assert not any(module.training for module in model.modules()) and model[1].momentum == 0.1


@pytest.mark.parametrize("loader", [[], [{"x": torch.ones(3)}], [([1.0], 2)]], ids=["empty", "mapping", "list"])
def test_bad_input_is_named_and_changes_nothing(loader):
    model = network()
    model(batches()[0][0])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InvalidInput, match="renew_statistics"):
        gbp.renew_statistics(model, loader)
    assert_close(model.state_dict(), before, rtol=0, atol=0)
    with pytest.raises(InvalidInput, match="batches"):
        gbp.renew_statistics(model, batches(), 0)
