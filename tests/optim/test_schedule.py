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


LOADERS = {  # examples of each batch of a pass over 60
    "even": [20, 20, 20],
    "one_batch": [60],
    "last_smaller": [16, 16, 16, 12],
    "last_much_smaller": [32, 28],
    "first_smaller": [12, 16, 16, 16],  # FixedBatches in a shuffled order
    "varying": [7, 23, 11, 19],
    "rest_dropped": [16, 16, 16],
    "almost_half_dropped": [32],
}


def settled_at(propagate, model, sizes, passes):
    """The steps after which the mean lies at the average of the last ones."""
    (x, y), mean, found = three_classes(), model[0].weight.mean, []
    for step, size in enumerate(sizes * passes):
        sweep(propagate, model, Softmax(), x[:size], y[:size])
        if step >= 8 and torch.equal(mean, propagate.state[mean]["average"]):  # the very first entry is the mean itself
            found.append(step + 1)
    return found


@pytest.mark.parametrize("sizes", LOADERS.values(), ids=LOADERS)
def test_the_means_settle_once_at_the_last_step_of_the_last_pass(sizes):
    """Also where the last batch is smaller or dropped, and not again in a run that goes on."""
    model = mlp()
    propagate = MessagePassing(model.parameters(), 60, epochs=12, store=AveragedSites(tail=0.9))
    assert settled_at(propagate, model, sizes, passes=15) == [12 * len(sizes)]


def test_accumulated_batches_settle_once():
    """Three steps to a pass, the last of a single batch."""
    model, (x, y) = mlp(), three_classes()
    propagate, found = MessagePassing(model.parameters(), 60, epochs=5, accumulated=2, store=AveragedSites(tail=0.9)), []
    mean = model[0].weight.mean
    for step in range(18):
        propagate.zero_grad()
        for part in ((x[:12], y[:12]),) * (1 if step % 3 == 2 else 2):
            (Softmax()(model(part[0]), part[1]) / 2).backward()
        propagate.step()
        if step >= 8 and torch.equal(mean, propagate.state[mean]["average"]):
            found.append(step + 1)
    assert found == [15]


def test_a_resumed_run_settles_at_its_own_end():
    one, two = mlp(), mlp()
    first, second = (MessagePassing(m.parameters(), 60, epochs=8, store=AveragedSites(tail=0.9)) for m in (one, two))
    assert settled_at(first, one, [32, 28], passes=5) == []
    two.load_state_dict(one.state_dict())
    second.load_state_dict(first.state_dict())
    (x, y), mean, found = three_classes(), two[0].weight.mean, []
    for size in [32, 28] * 4:
        sweep(second, two, Softmax(), x[:size], y[:size])
        if torch.equal(mean, second.state[mean]["average"]):
            found.append(second.param_groups[0]["steps"])
    assert found == [16]


def test_without_passes_the_means_settle_when_asked():
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, epochs=None)
    for _ in range(11):
        sweep(propagate, model, Softmax(), x, y)
    average = propagate.state[model[0].weight.mean]["average"].clone()
    assert not torch.equal(model[0].weight.mean, average)
    propagate.use_averaged_means()
    assert torch.equal(model[0].weight.mean, average)
