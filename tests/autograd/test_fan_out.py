"""Where a variable feeds several factors, autograd's sum of the gradients is the product of the messages."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from torch_gbp import Gaussian, GBPConv2d, GBPLeakyReLU, GBPLinear, GBPMaxPool2d, Message

pytestmark = pytest.mark.usefixtures("float64")


def message_to(belief, function, score, precision):
    """The message that one factor alone sends to the belief, in information form."""
    mean, variance = (part.detach().clone().requires_grad_() for part in belief)
    grads = torch.autograd.grad(tuple(function(Gaussian(mean, variance))), (mean, variance), (score, precision))
    return Message.centred(*grads, mean.detach())


def branches(shape):
    if len(shape) == 2:
        return [
            GBPLinear(shape[1], shape[1]),
            GBPLeakyReLU(0.1),
            nn.Identity(),
            nn.Sequential(GBPLeakyReLU(), GBPLinear(shape[1], 2)),
        ]
    return [GBPConv2d(shape[1], 2, 3, padding=1), GBPMaxPool2d(2), GBPLeakyReLU(0.0), nn.Flatten()]


@pytest.mark.parametrize("uses", [2, 3, 4])
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4, 4)], ids=["vector", "image"])
def test_product_over_the_uses_of_a_variable(shape, uses):
    belief = Gaussian(torch.randn(shape).requires_grad_(), torch.rand(shape).requires_grad_())
    functions = branches(shape)[:uses]
    outputs = [function(belief) for function in functions]
    backs = [(torch.randn_like(out.mean), torch.rand_like(out.mean)) for out in outputs]
    torch.autograd.backward([part for out in outputs for part in out], [part for back in backs for part in back])
    assert belief.mean.grad is not None and belief.variance.grad is not None
    found = Message.centred(belief.mean.grad, belief.variance.grad, belief.mean.detach())
    expected = Message(torch.zeros(shape), torch.zeros(shape))
    for function, back in zip(functions, backs, strict=True):
        expected = expected * message_to(belief, function, *back)
    assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_skip_connection():
    """a = z + f(z): the message to z is the one to a times what f sends back."""
    z = Gaussian(torch.randn(4, 3).requires_grad_(), torch.rand(4, 3).requires_grad_())
    inner, score, precision = nn.Sequential(GBPLinear(3, 3), GBPLeakyReLU(0.1)), torch.randn(4, 3), torch.rand(4, 3)
    torch.autograd.backward(tuple(z + inner(z)), (score, precision))
    direct = Message.centred(score, precision, z.mean.detach())
    expected = direct * message_to(z, inner, score, precision)
    assert_close(Message.centred(z.mean.grad, z.variance.grad, z.mean.detach()), expected, rtol=1e-12, atol=1e-12)


def test_weights_used_twice():
    layer = GBPLinear(3, 3)
    x, score, precision = torch.randn(2, 4, 3), torch.randn(2, 4, 3), torch.rand(2, 4, 3)
    parts = []
    for k in range(2):
        parts.append(torch.autograd.grad(tuple(layer(x[k])), list(layer.parameters()), (score[k], precision[k])))
    expected = tuple(a + b for a, b in zip(*parts, strict=True))
    for both in (torch.cat([layer(x[0]), layer(x[1])]), layer(x.flatten(0, 1))):
        found = torch.autograd.grad(tuple(both), list(layer.parameters()), (score.flatten(0, 1), precision.flatten(0, 1)))
        assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_twice_the_same_variable_is_fully_dependent():
    z = Gaussian(torch.randn(3).requires_grad_(), torch.rand(3).requires_grad_())
    score, precision = torch.randn(3), torch.rand(3)
    double = z + z
    assert_close(double.variance, 4 * z.variance)
    torch.autograd.backward(tuple(double), (score, precision))
    assert_close((z.mean.grad, z.variance.grad), (2 * score, 4 * precision))
    assert (z - z).variance.tolist() == [0.0] * 3
