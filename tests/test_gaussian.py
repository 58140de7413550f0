"""Gaussian and Message as values: shapes, sums, products, and every operation without a moment map refused by name."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from torch_gbp import Gaussian, GBPLinear, Message
from torch_gbp.errors import ImproperMarginal, MissingRule


def belief(*shape):
    return Gaussian(torch.randn(shape), torch.rand(shape))


SHAPES = {
    "flatten": lambda x: x.flatten(1),
    "torch_flatten": lambda x: torch.flatten(x, 1),
    "nn_flatten": nn.Flatten(),
    "unflatten": lambda x: x.unflatten(2, (2, 2)),
    "nn_unflatten": nn.Unflatten(1, (1, 3)),
    "view": lambda x: x.view(2, 12),
    "reshape": lambda x: torch.reshape(x, (6, 4)),
    "permute": lambda x: x.permute(2, 0, 1),
    "torch_permute": lambda x: torch.permute(x, (2, 0, 1)),
    "transpose": lambda x: x.transpose(1, 2),
    "movedim": lambda x: torch.movedim(x, 0, 2),
    "unsqueeze": lambda x: torch.unsqueeze(x, 1).squeeze(1)[:, 1:],
    "index": lambda x: x[:, [2, 0], ::2],
    "mask": lambda x: x[torch.tensor([True, False])],
    "narrow": lambda x: torch.narrow(x, 1, 1, 2),
    "flip": lambda x: torch.flip(x, (0, 2)),
    "cat": lambda x: torch.cat([x, x[:1], x], 0),
    "stack": lambda x: torch.stack([x, x], 1),
    "chunk": lambda x: torch.cat(torch.chunk(x, 2, dim=2)[::-1], dim=1),
    "split": lambda x: torch.split(x, [1, 2], dim=1)[1],
    "pad": lambda x: F.pad(x, (1, 2)),
    "reflect": lambda x: F.pad(x, (1, 2), mode="reflect"),
    "identity": nn.Identity(),
    "contiguous": lambda x: x.transpose(0, 1).contiguous().detach(),
    "clone": torch.clone,
}


@pytest.mark.parametrize("function", SHAPES.values(), ids=SHAPES)
def test_shape_operations_act_on_both_moments(function):
    x = belief(2, 3, 4)
    result = function(x)
    assert isinstance(result, Gaussian)
    assert_close(tuple(result), (function(x.mean), function(x.variance)), rtol=0, atol=0)


def test_a_tensor_beside_a_gaussian_is_known():
    x, known = belief(2, 3), torch.full((2, 3), 7.0)
    joined = torch.cat([x, known], 1)
    assert_close(tuple(joined), (torch.cat([x.mean, known], 1), torch.cat([x.variance, torch.zeros(2, 3)], 1)), rtol=0, atol=0)
    assert torch.stack([known, x]).variance[0].eq(0).all()


def test_constant_padding_adds_known_values():
    x = belief(2, 3)
    padded = F.pad(x, (1, 0), value=5.0)
    assert padded.mean[:, 0].tolist() == [5.0, 5.0] and padded.variance[:, 0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("shift", [2.0, torch.tensor([1.0, -2.0, 3.0]), torch.ones(4, 2, 3)], ids=["number", "vector", "wider"])
def test_sums_and_scalings_with_known_values(shift):
    x = belief(2, 3)
    zeros = torch.zeros_like(x.mean + shift)
    for result in (x + shift, shift + x, torch.add(x, shift), x.__radd__(shift)):
        assert_close(tuple(result), (x.mean + shift, x.variance + zeros))
    for result in (x * shift, shift * x):
        assert_close(tuple(result), (x.mean * shift, x.variance * shift * shift + zeros))
    assert_close(tuple(x - shift), (x.mean - shift, x.variance + zeros))


def test_sum_factor():
    a, b = belief(2, 3), belief(1, 3)
    assert_close(tuple(a + b), (a.mean + b.mean, a.variance + b.variance))
    assert_close(tuple(a - b), (a.mean - b.mean, a.variance + b.variance))
    assert_close(tuple(torch.add(a, b, alpha=-3)), (a.mean - 3 * b.mean, a.variance + 9 * b.variance))


def test_default_pytree_and_module_containers():
    x = belief(4, 3)
    doubled = pytree.tree_map(lambda part: 2 * part, {"deep": [x]})["deep"][0]
    assert isinstance(doubled, Gaussian)
    assert_close(tuple(doubled), (2 * x.mean, 2 * x.variance))
    assert len(pytree.tree_leaves([x, x])) == 4
    mean, variance = nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Flatten(), GBPLinear(3, 2))(x)
    assert mean.shape == variance.shape == (4, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attributes_follow_the_mean(dtype):
    x = belief(2, 3).to(dtype)
    assert (x.shape, x.ndim, x.dim(), x.size(1), x.numel(), x.dtype) == ((2, 3), 2, 2, 3, 6, dtype)
    assert x.device == torch.device("cpu") and x.cpu().size() == x.shape
    assert_close(x.standard_deviation, x.variance.sqrt())


REFUSED = {
    "softmax": lambda x: torch.softmax(x, 1),
    "log_softmax": nn.LogSoftmax(1),
    "fft_fft": torch.fft.fft,
    "cumsum": lambda x: x.cumsum(0),
    "pow": lambda x: torch.pow(x, 3),
    "max": torch.max,
    "alpha_dropout": nn.AlphaDropout(),
    "mse_loss": lambda x: F.mse_loss(x, torch.ones(2, 3, 4)),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.zeros(2, 4, dtype=torch.long)),
}


@pytest.mark.parametrize(("name", "function"), REFUSED.items(), ids=REFUSED)
def test_functions_without_a_rule_are_refused_by_name(name, function):
    with pytest.raises(MissingRule, match=rf"torch function '{name}' has no message rule.*Way out: use ") as raised:
        function(belief(2, 3, 4))
    assert isinstance(raised.value, TypeError)


@pytest.mark.parametrize(("name", "twin"), [("Linear", "GBPLinear"), ("ReLU", "GBPReLU"), ("Sigmoid", "GBPSigmoid")])
def test_refusal_behind_a_layer_in_training_names_the_twin(name, twin):
    layer = {"Linear": nn.Linear(4, 2), "ReLU": nn.ReLU(), "Sigmoid": nn.Sigmoid()}[name]
    with pytest.raises(MissingRule, match=rf"use {twin}; or predict by its moment map"):
        layer(GBPLinear(3, 4)(torch.ones(2, 3)))


METHODS = ("log", "softmax", "var", "max", "item", "tolist", "numpy", "add_", "relu_", "erf", "cumsum")


@pytest.mark.parametrize("name", METHODS)
def test_methods_without_a_rule_are_refused_by_name(name):
    with pytest.raises(MissingRule, match=rf"torch function '{name}' has no message rule.*Way out: use "):
        getattr(belief(2, 3), name)()
    with pytest.raises(AttributeError, match="no attribute 'tolistt'"):
        _ = belief(2, 3).tolistt
    assert not hasattr(belief(2, 3), "requires_grad")


OPERATORS = {
    "pow": lambda x: x**2,
    "reciprocal": lambda x: 2 / x,
    "reciprocal of a tensor's": lambda x: torch.ones(3) / x,
    "quotient": lambda x: x / x,
    "comparison": lambda x: x > 0,
    "order": lambda x: x < x,
    "remainder": lambda x: x % 2,
    "text": lambda x: x * "a",
    "nothing": lambda x: x + None,
    "complex": lambda x: x * 1j,
    "a list": lambda x: x.__add__([1.0]),
    "a message": lambda x: x + x.message(),
}


@pytest.mark.parametrize("operate", OPERATORS.values(), ids=OPERATORS)
def test_operators_without_a_rule_are_refused(operate):
    with pytest.raises(MissingRule, match="Way out: "):
        operate(belief(2, 3))


KNOWN = {  # what a known number or tensor does: the scale c and the shift d of c x + d
    "quotient": (lambda x: x / 4, 0.25, 0.0),
    "quotient by a tensor": (lambda x: x / torch.full((3,), -4.0), -0.25, 0.0),
    "torch.div": (lambda x: torch.div(x, 4), 0.25, 0.0),
    "tensor times belief": (lambda x: torch.full((3,), -2.0) * x, -2.0, 0.0),
    "torch.mul": (lambda x: torch.mul(x, -2.0), -2.0, 0.0),
    "number minus belief": (lambda x: 3 - x, -1.0, 3.0),
    "tensor minus belief": (lambda x: torch.full((3,), 3.0) - x, -1.0, 3.0),
    "torch.sub": (lambda x: torch.sub(x, 3.0), 1.0, -3.0),
    "torch.neg": (torch.neg, -1.0, 0.0),
}


@pytest.mark.parametrize(("operate", "scale", "shift"), KNOWN.values(), ids=KNOWN)
def test_known_numbers_scale_and_shift(operate, scale, shift, float64):
    x = belief(2, 3)
    assert_close(tuple(operate(x)), (scale * x.mean + shift, scale**2 * x.variance))


METHOD_RESHAPES = {
    "chunk": lambda x: x.chunk(2, 1)[1],
    "split": lambda x: x.split(2, 1)[1],
    "expand": lambda x: x[:1].expand(2, 4),
    "repeat": lambda x: x.repeat(2, 1),
    "flip": lambda x: x.flip(0),
    "unbind": lambda x: x.unbind(1)[3],
    "squeeze": lambda x: x[:1].squeeze(),
    "double": lambda x: x.double(),
    "narrow": lambda x: x.narrow(1, 1, 2),
    "movedim": lambda x: x.movedim(0, 1),
}


@pytest.mark.parametrize("reshape", METHOD_RESHAPES.values(), ids=METHOD_RESHAPES)
def test_methods_reshape_both_moments(reshape):
    x = belief(2, 4)
    assert_close(tuple(reshape(x)), (reshape(x.mean), reshape(x.variance)), rtol=0, atol=0)


def test_messages_are_not_added():
    with pytest.raises(MissingRule, match="messages multiply, they do not add"):
        Message(torch.ones(1), torch.ones(1)) + Message(torch.ones(1), torch.ones(1))


def test_message_algebra():
    a, b = (Message(torch.randn(5), torch.rand(5)) for _ in range(2))
    assert_close((a * b) / b, a)
    assert_close(a.damp(b, 0.25), Message(*(0.25 * x + 0.75 * y for x, y in zip(a, b, strict=True))))
    x = belief(5)
    assert_close(tuple(x.message().belief()), tuple(x))
    centred = Message.centred(torch.tensor(0.0), torch.tensor(4.0), torch.tensor(3.0))
    assert_close(tuple(centred.belief()), (torch.tensor(3.0), torch.tensor(0.25)))


def test_posterior_is_the_product_with_an_outside_message():
    """N(y; x, s): g = (y - m) / (v + s), G = 1 / (v + s), posterior = belief x N(x; y, s)."""
    x, y, noise = belief(5), torch.randn(5), 0.3
    total = 1 / (x.variance + noise)
    expected = (x.message() * Gaussian(y, torch.full((5,), noise)).message()).belief()
    assert_close(tuple(x.posterior((y - x.mean) * total, total)), tuple(expected))


def test_improper_beliefs_are_refused_with_count_and_worst_value():
    with pytest.raises(ImproperMarginal, match=r"2 of 3 entries have no positive precision\. Got: worst value -2\."):
        Message(torch.zeros(3), torch.tensor([1.0, -2.0, 0.0])).belief()
    with pytest.raises(ImproperMarginal, match=r"1 of 1 entries have no positive precision"):
        Message(torch.zeros(1), torch.tensor([torch.nan])).belief()
    with pytest.raises(ImproperMarginal, match=r"1 of 2 entries have no positive variance after the evidence"):
        Gaussian(torch.zeros(2), torch.ones(2)).posterior(torch.zeros(2), torch.tensor([0.5, 1.0]))
