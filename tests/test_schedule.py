"""The rate over the passes, and where the last step puts the means."""

import pytest
import torch
from helpers import mlp, sweep, three_classes

from torch_gbp import (
    AveragedSites,
    MessagePassing,
    Softmax,
)

pytestmark = pytest.mark.usefixtures("float64")


def test_torch_scheduler_acts_on_the_rate():
    """With epochs=None the rate is lr alone: StepLR halves it."""
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, lr=0.4, epochs=None, report_every=1)
    scheduler, rates = torch.optim.lr_scheduler.StepLR(propagate, step_size=2, gamma=0.5), []
    for _ in range(4):
        sweep(propagate, model, Softmax(), x, y)
        scheduler.step()
        rates.append(propagate.report.rate)
    assert rates == [0.4, 0.4, 0.2, 0.2]


def test_own_schedule_warms_up_and_cools_down():
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, lr=0.4, epochs=10, warmup=0.2, report_every=1)
    rates = []
    for _ in range(10):
        sweep(propagate, model, Softmax(), x, y)
        rates.append(propagate.report.rate)
    assert rates[0] == pytest.approx(0.2)  # half of the warm-up is over after the first pass
    assert rates[1] == max(rates) and rates[1:] == sorted(rates[1:], reverse=True)
    assert 0.4 * 0.4 < rates[9] < 0.42 * 0.4


@pytest.mark.parametrize("kept", [60, 48], ids=["all", "the_rest_is_dropped"])
def test_the_last_step_puts_the_means_at_their_average(kept):
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, epochs=6, store=AveragedSites(tail=1.0))
    for epoch in range(6):
        assert epoch < 2 or not torch.equal(model[0].weight.mean, propagate.state[model[0].weight.mean]["average"])
        for start in range(0, kept, 16):
            part = slice(start, min(start + 16, kept))
            sweep(propagate, model, Softmax(), x[part], y[part])
    for mean in (layer.weight.mean for layer in (model[0], model[2])):
        assert torch.equal(mean, propagate.state[mean]["average"])


def test_without_passes_the_means_settle_when_asked():
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, epochs=None)
    for _ in range(11):
        sweep(propagate, model, Softmax(), x, y)
    average = propagate.state[model[0].weight.mean]["average"].clone()
    assert not torch.equal(model[0].weight.mean, average)
    propagate.settle()
    assert torch.equal(model[0].weight.mean, average)
