"""The registry of moment maps: own maps, refusals by name, what may follow a GBP layer in training, the record of dependence."""

import pytest
import torch
import torch.nn.functional as F
from moment_helpers import belief, waves
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import Gaussian
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.factors.elementwise import Elementwise
from torch_gbp.factors.torch_functions import dependence
from torch_gbp.functions import has_map

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def registry(monkeypatch):
    """The registry as it was, put back after the test."""
    for name in ("_MAPS", "_LINEAR"):
        monkeypatch.setattr(f"torch_gbp.functions.{name}", getattr(gbp.functions, name).copy())


@pytest.mark.usefixtures("registry")
def test_a_map_of_ones_own_is_found_by_function_and_method_with_the_arguments_of_the_call():
    seen = []

    @gbp.moments(torch.cumsum, torch.Tensor.cumsum)
    def cumulative(x, *args, **kwargs):
        seen.append((args, kwargs))
        return Gaussian(x.mean.cumsum(0), x.variance.cumsum(0))

    x = belief(3)
    for result in (torch.cumsum(x, 0), x.cumsum(dim=0)):
        assert_close(tuple(result), (x.mean.cumsum(0), x.variance.cumsum(0)))
    assert seen == [((0,), {}), ((), {"dim": 0})]


@pytest.mark.usefixtures("registry")
def test_a_later_map_replaces_the_librarys():
    gbp.moments(torch.relu)(lambda x: "mine")
    assert torch.relu(belief(2)) == "mine"
    assert isinstance(F.relu(belief(2)), Gaussian)  # another function of torch


@pytest.mark.usefixtures("registry")
def test_an_elementwise_function_of_ones_own_is_one_line():
    assert not has_map(torch.sin)
    gbp.moments(torch.sin)(Elementwise(torch.sin))
    x = belief(5)
    mean = torch.exp(-x.variance / 2) * torch.sin(x.mean)
    variance = (1 - torch.exp(-2 * x.variance) * torch.cos(2 * x.mean)) / 2 - mean.square()
    assert_close(tuple(torch.sin(x)), (mean, variance), rtol=1e-9, atol=0)


@pytest.mark.usefixtures("registry")
def test_softmax_can_be_registered_at_the_means():
    gbp.moments(F.softmax)(lambda x, dim, **_: x.mean.softmax(dim))
    x = belief(2, 3)
    assert_close(F.softmax(x, dim=1), x.mean.softmax(1))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: gbp.moments(),
        lambda: gbp.moments("sin"),
        lambda: gbp.moments(torch.sin)("map"),
        lambda: Elementwise(3.0),
        lambda: gbp.moments(torch.sin, linear="yes"),
    ],
    ids=["no function", "a name", "no map", "no elementwise function", "no truth value"],
)
def test_what_is_no_function_is_refused(wrong):
    with pytest.raises(InvalidInput, match="Way out: "):
        wrong()


def test_an_unregistered_function_names_the_registry():
    with pytest.raises(MissingRule, match=r"'sin' has no message rule.*register a moment map with @torch_gbp\.moments.*samples"):
        torch.sin(belief(2))


@pytest.mark.parametrize("layer", [nn.LSTM(3, 2), nn.GRU(3, 2), nn.RNN(3, 2)], ids=["LSTM", "GRU", "RNN"])
def test_recurrent_layers_are_refused(layer):
    with pytest.raises(MissingRule, match="has no message rule"):
        layer.double()(belief(4, 2, 3))


def pair(layer):
    torch.manual_seed(1)
    return nn.Sequential(gbp.GBPConv2d(1, 2, 3), layer.double(), nn.Flatten())


@pytest.mark.parametrize(
    "layer", [nn.ReLU(), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Dropout()], ids=lambda one: type(one).__name__
)
def test_behind_a_gbp_layer_in_training_a_map_that_passes_gradients_is_refused(layer):
    """Messages come back to a GBP layer; only maps linear with known coefficients pass both on alike."""
    model, x = pair(layer), waves(2, 1, 6, 6)
    with pytest.raises(MissingRule, match=r"cannot follow a GBP layer that is trained.*Usual cause: a plain torch layer"):
        model(x)
    with torch.no_grad():
        assert isinstance(model(x), Gaussian)


def test_so_is_the_product_of_two_beliefs():
    layer, x = gbp.GBPLinear(3, 2), waves(2, 3)
    with pytest.raises(MissingRule, match="'mul' has no message rule and cannot follow a GBP layer"):
        _ = layer(x) * belief(2, 2)
    assert (layer(x) * 2.0).mean.requires_grad


@pytest.mark.parametrize(
    ("plain", "twin"),
    [
        (nn.AvgPool2d(2), gbp.GBPAvgPool2d(2)),
        (nn.AdaptiveAvgPool2d(1), gbp.GBPAdaptiveAvgPool2d(1)),
        (nn.MaxPool2d(2), gbp.GBPMaxPool2d(2)),
        (nn.Upsample(scale_factor=2), gbp.GBPUpsample(scale_factor=2)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_linear_maps_bring_back_the_messages_of_their_gbp_twins(plain, twin):
    messages = []
    for layer in (plain, twin):
        model, x = pair(layer), waves(3, 1, 6, 6)
        output = model(x)
        gbp.Regression(0.5)(output, waves(*output.shape, shift=2.0)).backward()
        weight = model[0].weight
        messages.append((weight.mean.grad, weight.precision.grad))
    assert_close(*messages)


@pytest.mark.parametrize(
    ("plain", "twin"),
    [(nn.ReLU(), gbp.GBPReLU()), (nn.LeakyReLU(0.2), gbp.GBPLeakyReLU(0.2)), (nn.MaxPool2d(2), gbp.GBPMaxPool2d(2))],
    ids=lambda layer: type(layer).__name__,
)
def test_plain_layers_have_the_moments_of_their_gbp_twins(plain, twin):
    x = belief(2, 3, 4, 4)
    assert_close(tuple(plain(x)), tuple(twin(x)), rtol=0, atol=0)


def test_what_takes_dependent_terms_for_independent_is_recorded():
    x, y = belief(2, 3, 4, 4), belief(2, 3, 4, 4, shift=1)
    with dependence.recorded() as names:
        _ = x + y, x - y, x * y, torch.mean(x, (2, 3)), torch.sum(x, 1), F.avg_pool2d(x, 2), F.adaptive_avg_pool2d(x, 1)
        F.scaled_dot_product_attention(x, x, x), x @ y, x + 1.0, x * torch.ones(4), F.conv2d(x, torch.ones(3, 3, 1, 1)), F.relu(x)
    attention = "scaled_dot_product_attention"
    assert names == ["add", "add", "mul", "mean", "sum", "avg_pool2d", "adaptive_avg_pool2d", attention, "matmul"]


def test_records_may_be_nested_and_end_with_their_context():
    x = belief(2)
    with dependence.recorded() as outer:
        with dependence.recorded() as inner:
            _ = x + belief(2)
        _ = torch.mean(x)
    _ = x + belief(2)
    assert (outer, inner) == (["add", "mean"], ["add"])


def test_a_batch_norm_or_linear_layer_with_gaussian_parameters_records_nothing():
    with dependence.recorded() as names:
        F.linear(waves(2, 3), belief(2, 3), belief(2))
        F.batch_norm(belief(4, 3), None, None, belief(3), belief(3), training=True)
    assert names == []
