"""Passes together while torch's transforms can follow a network: which errors let it go one by one, and what is told of it."""

import logging

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import Softmax, predict
from torch_gbp.predictive.together import Together


class Branching(nn.Module):
    """A branch on a value of its outputs, which vmap cannot follow; or an error under vmap alone."""

    def __init__(self, error=None):
        super().__init__()
        self.inner, self.error = nn.Linear(3, 3), error

    def forward(self, x):
        z = self.inner(x)
        if self.error is not None and torch._C._functorch.maybe_get_level(z) >= 0:
            raise self.error("stop")
        return z if bool(z.sum() > 1e9) else 2 * z


@pytest.mark.parametrize("how", ["samples", "linear"])
def test_what_cannot_be_followed_runs_one_by_one_and_the_log_says_so(how, caplog):
    model, x = gbp.from_torch(Branching()), torch.randn(4, 3)
    with caplog.at_level(logging.DEBUG, logger="torch_gbp"):
        found = predict(model, Softmax(), x, how, vectorise=True)
    assert "one by one, as torch.func cannot follow the network: vmap: It looks like" in caplog.text
    assert_close(tuple(found.belief), tuple(predict(model, Softmax(), x, how, vectorise=False).belief))


def test_other_errors_than_those_of_the_transforms_are_the_networks_own():
    model, x = gbp.from_torch(Branching(KeyError)), torch.randn(4, 3)
    assert predict(model, Softmax(), x, "samples", vectorise=False).probs.shape == (4, 3)
    with pytest.raises(KeyError, match="stop"):
        predict(model, Softmax(), x, "samples", vectorise=True)


def test_the_error_of_the_transforms_is_the_cause_of_the_one_that_comes_after():
    def together(x):
        raise RuntimeError("cannot follow")

    def apart(x):
        raise ValueError("fails as well")

    run = Together(together, apart, vectorise=True)
    with pytest.raises(ValueError, match="fails as well") as raised:
        run(1)
    assert isinstance(raised.value.__cause__, RuntimeError) and str(raised.value.__cause__) == "cannot follow"
    with pytest.raises(ValueError, match="fails as well") as raised:
        Together(together, apart, vectorise=False)(1)
    assert raised.value.__cause__ is None
