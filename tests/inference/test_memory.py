"""The cavity at which a memory puts weights, against quotients of messages."""

import pytest
import torch
from helpers import as_gradients, messages
from torch.testing import assert_close

from torch_gbp import Message
from torch_gbp.memory import without

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("shape", [(4, 3), (1, 3)], ids=["full", "shared"])
def test_a_message_at_the_cavity_comes_back_centred_at_the_marginal(shape):
    """In natural form it is the same message; a shared precision got the sum over the outputs, and counts as their mean."""
    mean, precision = torch.randn(4, 3, requires_grad=True), (2 + torch.rand(shape)).requires_grad_()
    site = Message(torch.randn(4, 3), torch.rand(shape))
    cavity = without(site, mean, precision)
    assert_close(cavity[0], (precision * mean - site.information) / (precision - site.precision), rtol=1e-12, atol=0)
    assert_close(cavity[1], precision - site.precision, rtol=1e-12, atol=0)
    score, sharp = torch.randn(4, 3), torch.rand(shape)
    torch.autograd.backward(cavity, as_gradients(score, sharp))
    each = sharp * shape[0] / 4  # of one output
    at_cavity = Message.centred(score, each, cavity[0].detach())
    told, total = messages(mean.grad, precision.grad)
    at_marginal = Message.centred(told, total * shape[0] / 4, mean.detach())
    assert_close(at_marginal, at_cavity, rtol=1e-12, atol=1e-14)
