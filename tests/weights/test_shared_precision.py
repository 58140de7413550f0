"""Marginals whose weights share a precision: the closest to a full one, and what the stores make of them."""

import pytest
import torch
from helpers import lenet, mlp
from torch.testing import assert_close

from torch_gbp import AveragedSites, BatchSites, Filtering, GBPConv2d, GBPLinear, MessagePassing, Regression, Softmax, from_torch
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.priors import Prior

pytestmark = pytest.mark.usefixtures("float64")
STORES = [AveragedSites, BatchSites, Filtering]


def divergence(precision, full):
    """KL divergence from N(0, 1 / precision) to N(0, 1 / full), summed over the weights."""
    ratio = full / precision
    return 0.5 * (ratio - 1 - ratio.log()).sum()


@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3, 2)])
def test_the_shared_message_gives_the_closest_marginal(shape):
    """The mean of the messages to single weights, by minimising the divergence itself."""
    marginal = GaussianParameter(shape, Prior(0.5, 0.1), shared=True)
    single = 10 * torch.rand(shape)
    marginal.mean.grad = torch.zeros(shape)
    marginal.precision.grad = 0.5 * single.reshape(*shape[:2], -1).sum((0, 2)).view_as(marginal.precision)  # a rule sends the sum
    found = (marginal.precision + marginal.message().precision).detach()
    best = found.clone().mul_(1.3).log_().requires_grad_()
    search = torch.optim.LBFGS([best], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        search.zero_grad()
        loss = divergence(best.exp().expand(shape), marginal.prior_precision + single)
        loss.backward()
        return loss

    search.step(closure)
    assert_close(found, best.detach().exp(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(("make", "shape"), [(GBPLinear, (7, 4)), (lambda *size, **kw: GBPConv2d(*size, 1, **kw), (7, 4, 1, 1))])
def test_nothing_is_shared_where_an_input_has_one_weight(store, make, shape):
    """With one output (and a kernel of one position) shared and full precisions are the same marginal."""
    x, y = torch.randn(shape), torch.randn(7, 1)
    layers = [make(4, 1, covariance="shared" if shared else "diagonal") for shared in (True, False)]
    layers[1].load_state_dict(layers[0].state_dict())
    for layer in layers:
        propagate = MessagePassing(layer.parameters(), 7, store=store(), epochs=None)
        for _ in range(3):
            with propagate.visit(0, x, y):
                propagate.zero_grad()
                Regression(0.1)(layer(x).flatten(1), y).backward()
                propagate.step()
    shared, full = (layer.weight.belief() for layer in layers)
    assert_close(shared.mean, full.mean, rtol=1e-12, atol=1e-12)
    assert_close(shared.variance, full.variance, rtol=1e-12, atol=0)


@pytest.mark.parametrize("network", [mlp, lenet])
def test_outputs_and_messages_are_those_of_a_full_marginal_with_equal_precisions(network):
    """The sweep differs in nothing but its cost while the precisions of an input's weights are equal."""
    shared = network()
    full = mlp(covariance="diagonal") if network is mlp else _full_lenet()
    state = {name: value.clone() for name, value in shared.state_dict().items()}
    for name, value in full.state_dict().items():
        state[name] = state[name].expand_as(value).clone()
    full.load_state_dict(state)
    x = torch.randn(6, 3) if network is mlp else torch.randn(6, 1, 8, 8)
    for model in (shared, full):
        Softmax()(model(x), torch.arange(6) % 3).backward()
    assert_close(tuple(shared(x)), tuple(full(x)), rtol=1e-12, atol=1e-12)
    for one, other in zip(_weights(shared), _weights(full), strict=True):
        assert_close(one.mean.grad, other.mean.grad, rtol=1e-10, atol=1e-12)
        axes = [axis for axis, size in enumerate(one.precision.shape) if size == 1 and other.precision.shape[axis] > 1]
        assert_close(one.message().precision, 2 * other.precision.grad.mean(axes, keepdim=True), rtol=1e-10, atol=1e-12)


def test_memory_and_the_option():
    assert from_torch(torch.nn.Linear(4, 3), moments=True).weight.precision.shape == (1, 4)
    assert from_torch(torch.nn.Linear(4, 3), covariance="diagonal", moments=True).weight.precision.shape == (3, 4)
    assert GBPConv2d(4, 3, 5).weight.precision.shape == (1, 4, 1, 1)
    assert GBPConv2d(4, 6, 5, groups=2).weight.precision.shape == (1, 2, 1, 1)
    assert GBPConv2d(4, 3, 5).weight_variance.shape == (3, 4, 5, 5)


def _full_lenet():
    plain = torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.MaxPool2d(2), torch.nn.LeakyReLU(0.1)
    network = torch.nn.Sequential(*plain, torch.nn.Flatten(), torch.nn.Linear(48, 3))
    return from_torch(network, covariance="diagonal", moments=True)


def _weights(model):
    return [layer.weight for layer in model if hasattr(layer, "weight")]
