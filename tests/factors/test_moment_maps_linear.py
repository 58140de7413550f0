"""Linear and bilinear maps, pools and arithmetic: every entry against all derivatives of the function itself, float64."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from moment_helpers import belief, multilinear_moments, waves
from torch import nn
from torch.testing import assert_close

from torch_gbp import Gaussian
from torch_gbp.errors import MissingRule

pytestmark = pytest.mark.usefixtures("float64")

LAYERS = {  # function of (input, weight, bias), and their shapes
    "linear": (F.linear, (2, 3), (4, 3), (4,)),
    "linear of a sequence": (F.linear, (2, 2, 3), (2, 3), (2,)),
    "conv1d": (lambda a, w, b: F.conv1d(a, w, b, stride=2, padding=1), (2, 2, 5), (2, 2, 3), (2,)),
    "conv2d": (lambda a, w, b: F.conv2d(a, w, b, (1, 2), 1, 2), (1, 2, 4, 5), (2, 2, 2, 2), (2,)),
    "conv2d, groups": (lambda a, w, b: F.conv2d(a, w, b, groups=2, padding="same"), (1, 2, 3, 3), (4, 1, 3, 1), (4,)),
    "conv2d, no batch": (F.conv2d, (2, 3, 3), (2, 2, 2, 2), (2,)),
    "conv3d": (F.conv3d, (1, 1, 2, 3, 2), (2, 1, 2, 2, 1), (2,)),
    "conv_transpose1d": (lambda a, w, b: F.conv_transpose1d(a, w, b, 2), (1, 2, 3), (2, 2, 3), (2,)),
    "conv_transpose2d": (lambda a, w, b: F.conv_transpose2d(a, w, b, 2, 1, 1, 2), (1, 2, 2, 3), (2, 1, 2, 2), (2,)),
    "conv_transpose3d": (F.conv_transpose3d, (1, 2, 2, 1, 2), (2, 1, 2, 2, 1), (1,)),
}


@pytest.mark.parametrize("uncertain", [u for u in itertools.product((True, False), repeat=3) if any(u)])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_layers_with_gaussian_inputs_weights_and_biases(layer, uncertain):
    function, *shapes = layer
    own = [belief(*shape, shift=shift) for shift, shape in enumerate(shapes)]
    own = [each if hidden else Gaussian(each.mean, 0 * each.variance) for each, hidden in zip(own, uncertain, strict=True)]
    result = function(*(each if hidden else each.mean for each, hidden in zip(own, uncertain, strict=True)))
    assert_close(tuple(result), tuple(multilinear_moments(function, *own)))


@pytest.mark.parametrize("name", ["linear", "conv2d", "conv_transpose2d"])
def test_layers_without_bias(name):
    function, input, weight, _ = LAYERS[name]
    own = belief(*input), belief(*weight, shift=1)
    exact = multilinear_moments(lambda a, w: function(a, w, None), *own)
    assert_close(tuple(function(*own, None)), tuple(exact))


PRODUCTS = {
    "matmul": (torch.matmul, (2, 3), (3, 2)),
    "method": (lambda a, b: a.matmul(b), (2, 2, 3), (3, 2)),
    "operator": (lambda a, b: a @ b, (2, 2, 3), (2, 3, 1)),
    "mm": (torch.mm, (2, 3), (3, 2)),
    "bmm": (torch.bmm, (2, 2, 3), (2, 3, 2)),
    "vector": (torch.matmul, (3,), (3,)),
    "einsum": (lambda a, b: torch.einsum("bij,bkj->bki", a, b), (2, 2, 3), (2, 2, 3)),
    "einsum of a list": (lambda a, b: torch.einsum("ij,ij->j", [a, b]), (2, 3), (2, 3)),
    "mul": (torch.mul, (2, 3), (2, 3)),
    "star": (lambda a, b: a * b, (2, 3), (3,)),
    "gate": (lambda a, b: a * b, (2, 1, 1), (2, 3, 2)),
    "add": (torch.add, (2, 3), (3,)),
    "scaled add": (lambda a, b: torch.add(a, b, alpha=-3.0), (2, 3), (2, 3)),
    "sub": (lambda a, b: a - b, (2, 3), (3,)),
}


@pytest.mark.parametrize("known", ["none", "left", "right"])
@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_products_and_sums_of_independent_beliefs(product, known):
    function, *shapes = product
    left, right = belief(*shapes[0]), belief(*shapes[1], shift=2)
    zero = [Gaussian(each.mean, 0 * each.variance) for each in (left, right)]
    exact = multilinear_moments(function, zero[0] if known == "left" else left, zero[1] if known == "right" else right)
    result = function(left.mean if known == "left" else left, right.mean if known == "right" else right)
    assert_close(tuple(result), tuple(exact))


def test_a_variable_with_itself_is_no_pair_of_independent_ones():
    """x + x, x - x and x * x, against Gauss-Hermite sums."""
    x, nodes = belief(4), torch.linspace(-12, 12, 4801)
    weight = torch.softmax(-(nodes**2) / 2, 0)
    values = x.mean + x.standard_deviation * nodes[:, None]
    for function in (lambda a: a + a, lambda a: a - a, lambda a: a * a, torch.square, torch.exp, lambda a: torch.mul(a, a)):
        mean = weight @ function(values)
        assert_close(tuple(function(x)), (mean, weight @ (function(values) - mean).square()))


REDUCTIONS = {
    "mean": torch.mean,
    "mean over axes": lambda x: torch.mean(x, (2, 3)),
    "mean of one": lambda x: torch.mean(x, dim=-1, keepdim=True),
    "sum": torch.sum,
    "sum over an axis": lambda x: x.sum(1),
    "sum kept": lambda x: torch.sum(x, (1, 2), keepdim=True),
    "quotient": lambda x: torch.div(x, 3.0),
    "quotient by a tensor": lambda x: x / waves(5),
    "negative": torch.neg,
    "einsum of one": lambda x: torch.einsum("abij->ja", x),
    "cat": lambda x: torch.cat([x[:, :1], torch.ones(2, 1, 4, 5), x], 1),
    "index_select": lambda x: torch.index_select(x, 1, torch.tensor([1, 0, 1])),
    "gather": lambda x: torch.gather(x, 3, torch.tensor([[[[1]]]])),
    "method of a view": lambda x: x.swapaxes(0, 1).unfold(2, 2, 1),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x.view(2, 4, 5, 2), 2),
    "avg_pool1d": lambda x: nn.AvgPool1d(3, 2, 1)(x.flatten(2)),
    "avg_pool1d, open borders": lambda x: F.avg_pool1d(x.flatten(2), 3, 2, 1, True, False),
    "avg_pool2d": nn.AvgPool2d(2),
    "avg_pool2d, borders": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "avg_pool2d, open borders": lambda x: F.avg_pool2d(x, (2, 3), 2, 1, True, False),
    "avg_pool2d, divisor": lambda x: F.avg_pool2d(x, 2, 1, 1, divisor_override=3),
    "avg_pool3d": lambda x: F.avg_pool3d(x, 2, 1, 1),
    "avg_pool3d, open borders": lambda x: F.avg_pool3d(x, 2, 2, 1, True, False),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x.flatten(2), 3),
    "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d((3, 2)),
    "adaptive_avg_pool2d to 1": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x, (2, 3, 2)),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2),
    "interpolate to a size": lambda x: F.interpolate(x, size=(5, 7), mode="nearest-exact"),
    "pad": lambda x: F.pad(x, (1, 1, 0, 2), value=3.0),
}


@pytest.mark.parametrize("function", REDUCTIONS.values(), ids=REDUCTIONS)
def test_linear_functions_of_one_belief(function):
    x = belief(2, 2, 4, 5)
    result = function(x)
    assert isinstance(result, Gaussian)
    assert_close(tuple(result), tuple(multilinear_moments(function, x)))


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.max_pool1d(x.flatten(2), 3, 2, 1),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        lambda x: F.max_pool2d(x, 2, dilation=2),
        lambda x: F.max_pool3d(x, 2),
        lambda x: F.adaptive_max_pool1d(x.flatten(2), 3),
        nn.AdaptiveMaxPool2d((2, 3)),
        lambda x: F.adaptive_max_pool3d(x, 2),
    ],
    ids=["1d", "2d", "2d dilated", "3d", "adaptive 1d", "adaptive 2d", "adaptive 3d"],
)
def test_maximum_pools_take_the_moments_of_the_entry_with_the_largest_mean(pool):
    """Near the means a maximum is linear: its derivatives there choose the entry."""
    x = belief(2, 2, 4, 5)
    assert_close(tuple(pool(x)), tuple(multilinear_moments(pool, x)))


def test_embedding_takes_rows_of_a_gaussian_table():
    table, places = belief(5, 3), torch.tensor([[4, 0], [2, 2]])
    layer = nn.Embedding(5, 3, padding_idx=0)
    layer.__dict__["weight"] = table
    assert_close(tuple(layer(places)), (table.mean[places], table.variance[places]))
    with pytest.raises(MissingRule, match="max_norm has no moment map"):
        F.embedding(places, table, max_norm=1.0)


def test_new_tensors_like_a_belief_are_known():
    x = belief(2, 3)
    for made in (torch.zeros_like(x), x.new_zeros(2, 3), torch.full_like(x, 0.0)):
        assert_close(made, torch.zeros(2, 3))


def test_einstein_sums_over_three_operands_are_refused():
    with pytest.raises(MissingRule, match=r"more than two operands has no moment map.*Got: 3 operands"):
        torch.einsum("i,i,i->", belief(2), torch.ones(2), torch.ones(2))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "area"])
def test_interpolation_that_averages_is_refused(mode):
    with pytest.raises(MissingRule, match=f"interpolation that averages entries has no moment map.*mode='{mode}'"):
        F.interpolate(belief(1, 1, 2, 2), scale_factor=2, mode=mode)


@pytest.mark.parametrize("name", ["linear", "conv2d", "conv_transpose2d"])
def test_gradients_of_the_moments_by_the_moments(name):
    function, *shapes = LAYERS[name]
    own = [belief(*shape, shift=shift) for shift, shape in enumerate(shapes)]
    parts = [part.requires_grad_() for each in own for part in each]
    assert torch.autograd.gradcheck(lambda *p: tuple(function(*map(Gaussian, p[::2], p[1::2]))), parts)
