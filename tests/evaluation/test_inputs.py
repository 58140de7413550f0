"""Models that write to their inputs: the data stay what they are, for the next model and the next evaluation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import torch_gbp as gbp

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3


class Halves(nn.Module):
    """Half of the inputs, written to where they were."""

    def forward(self, x):
        return x.mul_(0.5)


def plain():
    return nn.Sequential(Halves(), nn.Linear(3, 3))


def beliefs():
    return nn.Sequential(Halves(), gbp.GBPLinear(3, 3))


MODELS = {
    "module": lambda: (plain(), {"outputs": "logits"}),
    "function": lambda: (plain().__call__, {"outputs": "logits"}),
    "ensemble": lambda: ([plain(), plain()], {"outputs": "logits"}),
    "beliefs": lambda: (beliefs(), {"likelihood": gbp.Softmax()}),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("kind", [torch.Tensor.clone, lambda x: x.numpy().copy()], ids=["tensor", "array"])
def test_a_second_evaluation_has_the_scores_of_the_first(make, kind):
    (model, options), x = make(), kind(X)
    cards = [gbp.evaluate(model, (x, Y), resamples=0, keep_inputs=True, **options) for _ in range(2)]
    for name, first in cards[0].items():
        assert cards[1][name].value == first.value, name
    assert torch.equal(torch.as_tensor(x), X) and torch.equal(cards[0].outcome.inputs, X)


def test_linear_response_and_statistics_leave_their_inputs():
    x, y = X.clone(), Y
    model = beliefs()
    joint = gbp.LinearResponse(model, gbp.Softmax(), x, y)
    joint.predict(x)
    joint(x)
    joint.sample(x, 2)
    network = nn.Sequential(Halves(), nn.BatchNorm1d(3))
    gbp.renew_statistics(network, [x])
    assert torch.equal(x, X)
    torch.testing.assert_close(network[1].running_mean, X.mean(0) / 2)
