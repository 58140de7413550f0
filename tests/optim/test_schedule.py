"""The rate over the passes, and where the last step puts the means."""

import pytest
import torch
from helpers import mlp, sweep, three_classes

from torch_gbp import AveragedSites, MessagePassing, Softmax, configure_optimizers, from_torch
from torch_gbp.optim.schedule import longer, warmup_cosine

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


def test_the_library_s_rate_of_plain_parameters_rises_in_short_runs_and_a_user_s_does_not():
    rates = {}
    for name, plain in (("own", None), ("user's", lambda parameters: torch.optim.AdamW(parameters, 3e-3))):
        model = from_torch(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)), fresh=True)
        optimizer = configure_optimizers(model, 60, epochs=100, plain=plain)
        rates[name] = []
        for i in range(60):
            optimizer.zero_grad()
            Softmax()(model(torch.randn(20, 4)), torch.arange(20) % 3).backward()
            optimizer.step()
            rates[name].append(optimizer._plain.optimizer.param_groups[0]["lr"])
            if i == 0:
                depth = optimizer.probed_depth
    assert depth < 1
    assert rates["user's"][-1] == pytest.approx(3e-3 * warmup_cosine(59 / 300, 60 / 300, 0.2, 0.0))
    assert [own / user for own, user in zip(*rates.values(), strict=True)] == pytest.approx([4 / depth] * 60)


def test_a_network_that_starts_at_given_weights_makes_no_longer_steps():
    moved = {}
    for fresh, as_prior in ((True, False), (False, False), (False, True)):
        model = from_torch(torch.nn.Sequential(torch.nn.Linear(4, 3)), fresh=fresh, as_prior=as_prior)
        optimizer = configure_optimizers(model, 2000, epochs=1, store=AveragedSites(trust_radius=float("inf")))
        before = model[0].weight.detach().clone()
        (1e-4 * Softmax()(model(torch.randn(20, 4)), torch.arange(20) % 3)).backward()
        optimizer.step()
        rate = optimizer._plain.optimizer.param_groups[0]["lr"] / 3e-3 / warmup_cosine(0, 1 / 100, 0.2, 0.0)
        moved[fresh, as_prior] = (float((model[0].weight.detach() - before).abs().max()), rate)
    anew, given, centred = moved.values()
    assert given[1] == pytest.approx(1) and centred[1] == pytest.approx(100 / 500)
    assert anew[1] == pytest.approx(4 / max(0.2, optimizer.probed_depth))
    assert anew[0] > 4 * max(given[0], centred[0])


def test_a_run_is_short_by_its_steps_and_a_network_shallow_by_its_layers():
    assert [longer(steps, 1.0) for steps in (1, 499, 1000, 2000, 1e9)] == [4.0, 4.0, 2.0, 1.0, 1.0]
    assert [longer(500, depth) for depth in (0.0, 0.5, 2.0, 8.0)] == [20.0, 8.0, 2.0, 1.0]
    assert [longer(500, 1.0, inputs) for inputs in (1, 64, 128, 784)] == [4.0, 4.0, 2.0, 1.0]


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
