"""The automatic likelihood power: 64 for Softmax, up to twice that where there are more weights than examples."""

import pytest
import torch
from helpers import mlp, three_classes
from torch.testing import assert_close

from torch_gbp import Argmax, MessagePassing, OneHotRegression, Regression, Softmax
from torch_gbp.autograd.sweep import Total
from torch_gbp.optim.message_weight import automatic_power_factor

pytestmark = pytest.mark.usefixtures("float64")


def trained(likelihood, num_data, state, batches=1):
    """The network after one step, all data in the given number of accumulated batches."""
    model, (x, y) = mlp(), three_classes()
    model.load_state_dict(state)
    propagate = MessagePassing(model.parameters(), num_data, epochs=None)
    for part in torch.arange(len(x)).chunk(batches):
        likelihood(model(x[part]), y[part]).backward()
    propagate.step()
    return model.state_dict()


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize(("num_data", "factor"), [(1000, 1.0), (150, 1.0), (100, 0.36 + 1.35), (4, 2.0)])
def test_the_optimizer_raises_an_automatic_power(num_data, factor, batches, monkeypatch):
    """18 weights on the inputs, 27 others: (2 x 18 + 27 x 500 / 100) / 100; an explicit power is left alone."""
    state = mlp().state_dict()
    assert [value.numel() for name, value in state.items() if name.endswith("mean")] == [18, 6, 18, 3]
    total = Total(num_data, torch.zeros(()))
    monkeypatch.setattr(MessagePassing, "_total", lambda self: total)  # or 60 examples were too many
    torch.manual_seed(1)
    automatic = trained(Softmax(), num_data, state, batches)
    torch.manual_seed(1)
    assert_close(automatic, trained(Softmax(64.0 * factor), num_data, state, batches), rtol=1e-12, atol=0)


def test_the_rule():
    assert [automatic_power_factor([n], 10) for n in (1, 5, 10, 1000)] == [1.0, 1.0, 2.0, 2.0]
    assert automatic_power_factor([500, 100, 150], 1000) == 1.125  # 2 x 500, and 250 halved
    assert automatic_power_factor([0, 1_000_000], 50_000) == 1.0 and automatic_power_factor([0, 1_000_000], 10_000) == 2.0


def test_classifiers_are_automatic_and_regression_is_not():
    shown = [repr(likelihood) for likelihood in (Softmax(), Argmax(), OneHotRegression(), Regression(0.1), Softmax(64.0))]
    assert ["automatic" in text for text in shown] == [True, True, True, False, False]
    assert shown[4] == "Softmax(power=64)"
