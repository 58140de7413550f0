"""torch.export and ONNX of a network with its predictive distribution: the exported program's numbers are the eager ones."""

from __future__ import annotations

import pytest
import torch
from helpers import TRACED
from torch import nn
from torch.distributions import Categorical
from torch.testing import assert_close

from torch_gbp import (
    Argmax,
    GBPConv2d,
    GBPLeakyReLU,
    GBPLinear,
    GBPMaxPool2d,
    GBPReLU,
    HeteroscedasticRegression,
    OneHotRegression,
    PairwiseArgmax,
    Regression,
    Softmax,
    SquaredSoftmax,
)

pytestmark = [
    pytest.mark.skipif(not TRACED, reason="torch.export of torch 2.6 was seen to refuse methods of factors"),
    pytest.mark.filterwarnings("ignore"),  # of torch's own exporter
]
LIKELIHOODS = {  # and how many outputs it takes
    "softmax": (Softmax(), 3),
    "argmax": (Argmax(), 3),
    "pairwise argmax": (PairwiseArgmax(), 3),
    "one-hot": (OneHotRegression(), 3),
    "squared softmax": (SquaredSoftmax(), 3),
    "regression": (Regression(0.1), 1),
    "learned noise": (Regression(0.1, learn_noise=True), 1),
    "heteroscedastic": (HeteroscedasticRegression(), 2),
}


class Predictive(nn.Module):
    """What a server wants: probabilities, or mean and standard deviation."""

    def __init__(self, likelihood, outputs):
        super().__init__()
        features = GBPConv2d(1, 2, 3, padding=1), GBPMaxPool2d(2), GBPLeakyReLU(0.1), nn.Flatten()
        self.network = nn.Sequential(*features, GBPLinear(8, 4), GBPReLU(), GBPLinear(4, outputs))
        self.likelihood = likelihood

    def forward(self, x):
        found = self.likelihood.predictive(self.network(x))
        return (found.probs,) if isinstance(found, Categorical) else (found.mean, found.stddev)


def made(likelihood, outputs):
    model, x = Predictive(likelihood, outputs).eval(), torch.randn(5, 1, 4, 4)
    with torch.no_grad():
        return model, x, model(x)


@pytest.mark.parametrize(("likelihood", "outputs"), LIKELIHOODS.values(), ids=LIKELIHOODS)
def test_the_exported_program_has_the_eager_numbers(likelihood, outputs):
    model, x, expected = made(likelihood, outputs)
    program = torch.export.export(model, (x,)).module()
    assert_close(program(x), expected, rtol=1e-5, atol=1e-6)
    other = torch.randn(5, 1, 4, 4)  # not only at the example it was traced with
    with torch.no_grad():
        assert_close(program(other), model(other), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("likelihood", "outputs"), LIKELIHOODS.values(), ids=LIKELIHOODS)
def test_the_onnx_program_has_the_eager_numbers(likelihood, outputs):
    for name in ("onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    model, x, expected = made(likelihood, outputs)
    program = torch.onnx.export(model, (x,), dynamo=True, verbose=False)
    assert program is not None
    assert_close(tuple(program(x)), expected, rtol=1e-4, atol=1e-5)
