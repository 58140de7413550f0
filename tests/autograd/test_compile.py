"""torch.compile without a graph break: forward moments and backward messages equal eager's."""

import shutil

import pytest
import torch
from helpers import TRACED
from torch import nn
from torch.testing import assert_close

from torch_gbp import GBPConv2d, GBPLeakyReLU, GBPLinear, GBPMaxPool2d, GBPReLU, MessagePassing, Softmax

COMPILER = next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), None)
pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="torch.compile needs a C++ compiler (g++, clang++ or c++)"),
    pytest.mark.skipif(not TRACED, reason="torch.compile of torch 2.6 and 2.8 was seen to refuse methods of factors"),
    pytest.mark.filterwarnings("ignore"),  # of torch's own compiler
]


class Net(nn.Module):
    """Convolution, pool, activations, skip connection, reshape."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(GBPConv2d(1, 3, 3, padding=1), GBPMaxPool2d(2), GBPLeakyReLU(0.1), nn.Flatten())
        self.inner, self.act, self.out = GBPLinear(12, 12), GBPReLU(), GBPLinear(12, 3)

    def forward(self, x):
        z = self.features(x)
        return self.out(z + self.act(self.inner(z)))


def test_compiled_sweep_equals_eager():
    model, likelihood = Net(), Softmax()
    x, y = torch.randn(6, 1, 4, 4), torch.arange(6) % 3
    compiled = torch.compile(model, fullgraph=True)
    propagate = MessagePassing(model.parameters(), 6)
    for _ in range(2):  # at the prior, and after a step
        messages = []
        for network in (model, compiled):
            propagate.zero_grad()
            output = network(x)
            likelihood(output, y).backward()
            messages.append((tuple(part.detach() for part in output), [p.grad.clone() for p in model.parameters()]))
        assert_close(messages[1], messages[0], rtol=1e-4, atol=1e-4)
        propagate.step()
