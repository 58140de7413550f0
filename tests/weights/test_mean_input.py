"""Mean inputs: what weights before a normalisation are multiplied by, against the means of what the normalisation receives."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.convert.statistics import averages
from torch_gbp.errors import InvalidInput
from torch_gbp.weights.mean_input import followed, shift

LAYERS = {  # a layer, the normalisation after it, the shape of an example
    "linear": (lambda: nn.Linear(5, 4), nn.BatchNorm1d, (5,)),
    "convolution": (lambda: nn.Conv2d(3, 4, 3), nn.BatchNorm2d, (3, 6, 5)),
    "padded, strided": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d, (3, 6, 5)),
    "reflected": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect", bias=False), nn.BatchNorm2d, (3, 6, 5)),
    "grouped, dilated": (lambda: nn.Conv2d(4, 4, 2, groups=2, dilation=2), nn.BatchNorm2d, (4, 6, 5)),
    "depthwise": (lambda: nn.Conv1d(4, 4, 3, groups=4), nn.BatchNorm1d, (4, 7)),
    "three axes": (lambda: nn.Conv3d(2, 4, 2), nn.BatchNorm3d, (2, 3, 4, 3)),
}


def converted(*layers: nn.Module, **options) -> nn.Sequential:
    network = nn.Sequential(*layers).double()
    return gbp.from_torch(network, which=lambda module, name: not isinstance(module, nn.BatchNorm1d), **options)


@pytest.mark.parametrize(("make", "norm", "shape"), LAYERS.values(), ids=LAYERS)
def test_the_shift_is_that_of_the_running_mean_under_other_weights(make, norm, shape):
    network = converted(make(), norm(4))
    batches = [3 + 2 * torch.randn(6, *shape).double() for _ in range(3)]
    gbp.renew_statistics(network, batches)
    marginal, running = network[0].weight_marginal, network[1].running_mean.clone()
    other = network[0].weight.detach() + torch.randn_like(network[0].weight)
    expected = shift(other, network[0].weight.detach(), marginal.mean_input)
    with torch.no_grad():
        network[0].weight.copy_(other)
    gbp.renew_statistics(network, batches)
    assert_close(network[1].running_mean - running, expected)
    assert expected.abs().min() > 1e-3
    assert (marginal.mean_input.shape[0] == 1) == (getattr(network[0], "groups", 1) == 1)


def test_a_bias_moves_the_mean_by_itself():
    network = converted(nn.Linear(5, 4), nn.BatchNorm1d(4))
    gbp.renew_statistics(network, [torch.randn(6, 5).double()])
    assert network[0].bias_marginal.mean_input.tolist() == [1.0]


class Users(nn.Module):
    """Skips, a shared layer, a shared normalisation, sequences, and one that follows another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one, self.skip, self.two = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.shared, self.of_shared = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.third, self.fourth, self.twice = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.sequence, self.positions = nn.Linear(4, 5), nn.BatchNorm1d(3)
        self.last = nn.BatchNorm1d(4)

    def forward(self, x):
        a, b = self.first(x), self.skip(x)
        x = torch.relu(self.two(b) + self.one(a))  # in another order than they were made
        x = self.of_shared(self.shared(self.shared(x)))
        x = self.twice(self.third(x)) + self.twice(self.fourth(x))
        self.positions(self.sequence(x[:, None].expand(-1, 3, -1)))
        return self.last(torch.tanh(x))


def test_what_follows_a_layer_alone_and_once_is_found():
    network = Users()
    with followed(network) as found:
        network(torch.randn(6, 4))
    assert found == {network.one: network.first, network.two: network.skip}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_hooks_are_taken_off_after_an_error():
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with pytest.raises(RuntimeError), followed(network):
        network(torch.randn(4, 7))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def renewed(**options):
    network = converted(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2), **options)
    gbp.renew_statistics(network, [torch.randn(6, 5).double()])
    return network


def test_only_layers_before_a_normalisation_have_one():
    network = renewed()
    assert network[0].weight_marginal.mean_input is not None
    assert network[2].weight_marginal.mean_input is None
    network[1].requires_grad_(False)
    network[0].requires_grad_(False)
    assert gbp.renew_statistics(network, [torch.randn(6, 5).double()]) == 0
    assert network[0].weight_marginal.mean_input is not None  # as nothing was renewed


def test_frozen_normalisations_have_learnt_with_the_statistics_that_they_have():
    network = converted(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    network[1].requires_grad_(False)
    assert gbp.renew_statistics(network, [torch.randn(6, 5).double()]) == 1
    assert network[0].weight_marginal.mean_input is None
    assert network[2].weight_marginal.mean_input is not None


def test_it_is_saved_loaded_copied_and_converted_with_the_network():
    network, other = renewed(), converted(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    other.load_state_dict(network.state_dict())
    assert_close(other[0].weight_marginal.mean_input, network[0].weight_marginal.mean_input, rtol=0, atol=0)
    assert_close(copy.deepcopy(network).float()[0].weight_marginal.mean_input, network[0].weight_marginal.mean_input.float())
    before = {name: value for name, value in network.state_dict().items() if not name.endswith("mean_input")}
    other.load_state_dict(before)  # of an earlier version
    assert other[0].weight_marginal.mean_input is None


def test_a_saved_one_that_does_not_fit_is_refused():
    network = renewed()
    state = network.state_dict()
    for wrong in (torch.zeros(1, 6).double(), torch.full((1, 5), torch.nan).double(), torch.zeros(1, 5).long()):
        with pytest.raises(InvalidInput, match=r"weight_marginal\.mean_input.*nothing has changed"):
            network.load_state_dict(state | {"0.weight_marginal.mean_input": wrong})


def test_they_are_among_what_processes_average():
    network = renewed()
    norm, told = network[1], network[0].weight_marginal.mean_input
    found = list(averages(network))
    assert [any(own is part for own in found) for part in (norm.running_mean, norm.running_var, told)] == [True] * 3
    assert len(found) == 4  # and that of the bias
