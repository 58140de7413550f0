"""MessagePassing as a torch optimizer: accumulation, groups, frozen layers, and what it refuses."""

import copy

import pytest
import torch
from helpers import changed, lenet, marginals, mlp, sweep, three_classes
from torch import nn
from torch.testing import assert_close

from torch_gbp import (
    AveragedSites,
    BatchSites,
    Filtering,
    GBPLeakyReLU,
    GBPLinear,
    MessagePassing,
    Regression,
    Softmax,
)
from torch_gbp.errors import ImproperMarginal, InvalidInput
from torch_gbp.factors import leaky_relu
from torch_gbp.weights.parameter import TOLERANCE

pytestmark = pytest.mark.usefixtures("float64")


def twins(make=mlp):
    """Two models with the same marginals."""
    first, second = make(), make()
    second.load_state_dict(first.state_dict())
    return first, second


def test_two_backward_passes_before_a_step_are_one_joint_batch():
    (one, two), (x, y) = twins(), three_classes(40)
    joint, split = (MessagePassing(m.parameters(), 80) for m in (one, two))
    for _ in range(2):
        sweep(joint, one, Softmax(), x, y)
        split.zero_grad()
        for part in (slice(0, 15), slice(15, 40)):
            Softmax()(two(x[part]), y[part]).backward()
        split.step()
    assert joint.param_groups[0]["examples_seen"] == split.param_groups[0]["examples_seen"] == 80
    assert_close(two.state_dict(), one.state_dict(), rtol=1e-12, atol=1e-12)


def test_accumulated_undoes_the_division_of_the_loss():
    (one, two), (x, y) = twins(), three_classes(40)
    joint = MessagePassing(one.parameters(), 80)
    split = MessagePassing(two.parameters(), 80, accumulated=2)
    sweep(joint, one, Softmax(), x, y)
    for part in (slice(0, 20), slice(20, 40)):
        (Softmax()(two(x[part]), y[part]) / 2).backward()
    split.step()
    assert_close(two.state_dict(), one.state_dict(), rtol=1e-12, atol=1e-12)


def test_zero_grad_forgets_a_sweep():
    (one, two), (x, y) = twins(), three_classes(40)
    plain, forgetful = (MessagePassing(m.parameters(), 80) for m in (one, two))
    sweep(plain, one, Softmax(), x, y)
    Softmax()(two(x), y).backward()
    sweep(forgetful, two, Softmax(), x, y)
    assert_close(two.state_dict(), one.state_dict(), rtol=0, atol=0)


def test_closure_runs_once_and_gives_its_loss():
    (one, two), (x, y) = twins(), three_classes(40)
    expected = sweep(MessagePassing(one.parameters(), 80), one, Softmax(), x, y)
    propagate, calls = MessagePassing(two.parameters(), 80), []

    def closure():
        calls.append(torch.is_grad_enabled())
        propagate.zero_grad()
        loss = Softmax()(two(x), y)
        loss.backward()
        return loss

    assert_close(propagate.step(closure).detach(), expected, rtol=0, atol=0)
    assert calls == [True]
    assert_close(two.state_dict(), one.state_dict(), rtol=0, atol=0)


def test_groups_have_rates_of_their_own():
    (one, two), (x, y) = twins(), three_classes()
    groups = [{"params": one[0].parameters(), "lr": 0.1}, {"params": one[2].parameters()}]
    propagate = MessagePassing(groups, 60, lr=0.4, epochs=None)
    sweep(propagate, one, Softmax(), x, y)
    for layer, rate in ((0, 0.1), (2, 0.4)):
        single = mlp()
        single.load_state_dict(two.state_dict())
        sweep(MessagePassing(single.parameters(), 60, lr=rate, epochs=None), single, Softmax(), x, y)
        assert_close(one[layer].state_dict(), single[layer].state_dict(), rtol=0, atol=0)


def test_two_optimizers_share_a_network():
    """With a power that is given: an automatic one goes by the weights that an optimizer knows of."""
    (one, two), (x, y) = twins(), three_classes()
    sweep(MessagePassing(one.parameters(), 60), one, Softmax(64.0), x, y)
    optimizers = [MessagePassing(two[k].parameters(), 60) for k in (0, 2)]
    Softmax(64.0)(two(x), y).backward()
    for propagate in optimizers:
        propagate.step()
    assert_close(two.state_dict(), one.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("before", [True, False], ids=["frozen_first", "frozen_later"])
def test_frozen_layers_keep_their_marginals(before):
    one, (x, y) = mlp(), three_classes()
    if before:
        one[0].requires_grad_(False)
    propagate = MessagePassing(one.parameters(), 60)
    if not before:
        one[0].requires_grad_(False)
    start = marginals(one)
    sweep(propagate, one, Softmax(), x, y)
    assert {name.split(".")[0] for name in changed(start, one)} == {"2"}
    one[0].requires_grad_(True)
    sweep(propagate, one, Softmax(), x, y)
    assert {name.split(".")[0] for name in changed(start, one)} == {"0", "2"}


def test_report_says_what_the_step_did():
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, report_every=1)
    before = marginals(model)
    loss = sweep(propagate, model, Softmax(), x, y)
    moved = []
    for name, value in model.state_dict().items():
        if name.endswith(".mean"):
            precision = model.state_dict()[name.removesuffix("mean") + "precision"]
            moved.append(((value - before[name]).abs() * precision.sqrt()).max())
    report = propagate.report
    assert (report.step, report.examples) == (1, 60)
    assert report.evidence == pytest.approx(float(-loss / 60))
    assert report.largest_change == pytest.approx(float(max(moved)))


@pytest.mark.filterwarnings("ignore::torch_gbp.errors.NotLearning")  # the images are noise
@pytest.mark.parametrize("make", [mlp, lenet])
@pytest.mark.parametrize("store", [AveragedSites(), Filtering(), BatchSites()], ids=lambda store: type(store).__name__)
def test_precision_never_falls_below_the_prior_and_nothing_is_nan(make, store):
    model = make()
    x, y = three_classes() if make is mlp else (torch.randn(60, 1, 8, 8), torch.arange(60) % 3)
    propagate = MessagePassing(model.parameters(), 60, epochs=5, store=store)
    for step in range(30):
        part = slice(10 * (step % 6), 10 * (step % 6) + 10)
        with propagate.visit(step % 6, x[part], y[part]):
            sweep(propagate, model, Softmax(), x[part], y[part])
        for name, value in model.state_dict().items():
            assert value.isfinite().all(), name
            if name.endswith(".precision"):
                prior = model.state_dict()[name.removesuffix("precision") + "prior_precision"]
                assert (value >= prior * (1 - TOLERANCE)).all(), name


BREAKS = {
    "nan": (lambda grad: grad[0, 0].fill_(torch.nan), r"1 of 18 messages are NaN or Inf"),
    "inf": (lambda grad: grad[:2, 0].fill_(torch.inf), r"2 of 18 messages are NaN or Inf"),
    "negative": (lambda grad: grad[1].fill_(-1e8), r"6 of 18 precisions would fall below the prior's"),
}


@pytest.mark.parametrize(("damage", "message"), BREAKS.values(), ids=BREAKS)
@pytest.mark.parametrize("store", [AveragedSites(), Filtering(), BatchSites()], ids=lambda store: type(store).__name__)
def test_improper_message_raises_and_nothing_changes(store, damage, message):
    model, (x, y) = mlp(covariance="diagonal"), three_classes()
    propagate = MessagePassing(model.named_parameters(), 60, store=store)
    with propagate.visit(0, x, y):
        sweep(propagate, model, Softmax(), x, y)
    before, state = marginals(model), copy.deepcopy(propagate.state_dict())

    def spoiled():
        with propagate.visit(0, x, y):
            propagate.zero_grad()
            Softmax()(model(x), y).backward()
            damage(model[2].weight.precision.grad)
            model[2].weight.arrive()  # as if it had come so
            propagate.step()

    with pytest.raises(ImproperMarginal, match=message) as raised:
        spoiled()
    for part in ("layer '2.weight', step 2", "Got: ", "Usual cause: ", "Way out: ", "marginals from before the step are kept"):
        assert part in str(raised.value)
    assert changed(before, model) == []
    assert_close(propagate.state_dict()["state"], state["state"], rtol=0, atol=0)
    assert propagate.state_dict()["param_groups"] == state["param_groups"]
    with propagate.visit(0, x, y):
        sweep(propagate, model, Softmax(), x, y)  # usable after the error
    assert changed(before, model) != []


def test_negative_messages_of_the_ep_form_are_let_in_while_the_marginal_stays_proper():
    """The signed curvature is kept, never clamped: the sum may be negative as long as the precision is not."""
    model = nn.Sequential(GBPLinear(1, 1), GBPLeakyReLU(0.1, rule=leaky_relu.EP), GBPLinear(1, 1))
    propagate = MessagePassing(model.parameters(), 1, store=AveragedSites(0.0, anneal=False), lr=1e-3, epochs=None)
    x, y = torch.ones(1, 1), torch.full((1, 1), 2.0)
    with torch.no_grad():
        model[0].weight.mean.fill_(-0.1)
        model[0].weight.precision.mul_(2)
        model[2].weight.mean.fill_(1.0)
    before = model[0].weight.precision.item()
    Regression(0.01)(model(x), y).backward()
    message = 2 * model[0].weight.precision.grad.item()
    assert message < 0
    propagate.step()
    prior = model[0].weight.prior_precision.item()
    assert model[0].weight.precision.item() == pytest.approx((1 - 1e-3) * before + 1e-3 * prior + 1e-3 * message, rel=1e-12)


STALE = {
    "nothing": lambda model, x: None,
    "torch_loss": lambda model, x: model(x).mean.square().sum().backward(),
}


@pytest.mark.parametrize("act", STALE.values(), ids=STALE)
@pytest.mark.parametrize("trained", [False, True], ids=["fresh", "trained"])
def test_step_without_a_likelihood_raises(act, trained):
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60)
    if trained:
        sweep(propagate, model, Softmax(), x, y)
        propagate.zero_grad()
    before = marginals(model)
    act(model, x)
    with pytest.raises(InvalidInput, match=r"step\(\) found no message"):
        propagate.step()
    assert changed(before, model) == []


@pytest.mark.parametrize("half", ["mean", "precision"])
def test_freezing_half_a_marginal_raises(half):
    model, (x, y) = mlp(), three_classes()
    propagate, before = MessagePassing(model.named_parameters(), 60), marginals(model)
    getattr(model[2].weight, half).requires_grad_(False)
    with pytest.raises(InvalidInput, match=rf"go(es)? to mean and precision.*layer '2\.weight'.*{half} frozen.*freeze both"):
        sweep(propagate, model, Softmax(), x, y)
    assert changed(before, model) == []
    model[2].weight.requires_grad_(False)
    sweep(propagate, model, Softmax(), x, y)
    assert not [name for name in changed(before, model) if name.startswith("2.weight")]


@pytest.mark.parametrize("store", [AveragedSites(), Filtering(), BatchSites()], ids=lambda store: type(store).__name__)
def test_a_message_is_taken_in_once(store):
    """The second of two optimizers on one network does not take what the first has used."""
    model, (x, y) = mlp(), three_classes()
    first, second = (MessagePassing(model.parameters(), 60, store=copy.deepcopy(store)) for _ in range(2))
    with first.visit(0, x, y), second.visit(0, x, y):
        Softmax()(model(x), y).backward()
        first.step()
        before = marginals(model)
        with pytest.raises(InvalidInput, match=r"the message was taken in by a step before.*two optimizers"):
            second.step()
        assert changed(before, model) == []
        assert second.param_groups[0]["steps"] == 0


CHANGES = {
    "clipped": lambda model: nn.utils.clip_grad_norm_(model.parameters(), 1.0),
    "clipped_by_value": lambda model: nn.utils.clip_grad_value_(model.parameters(), 1.0),
    "one_scaled": lambda model: model[2].weight.mean.grad.mul_(2),
    "one_replaced": lambda model: setattr(model[2].weight.precision, "grad", 2 * model[2].weight.precision.grad),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_gradients_changed_before_the_step_raise(change):
    model, (x, y) = mlp(), three_classes()
    propagate, before = MessagePassing(model.named_parameters(), 60), marginals(model)
    Softmax()(model(x), y).backward()
    change(model)
    with pytest.raises(InvalidInput, match=r"gradients were changed between backward and step.*layer '.*clip_grad_norm_"):
        propagate.step()
    assert changed(before, model) == []
    sweep(propagate, model, Softmax(), x, y)
    assert len(changed(before, model)) == 8


def test_gradients_kept_as_zeros_are_messages_too():
    """zero_grad(set_to_none=False) between steps, and a layer that is frozen from then on."""
    (one, two), (x, y) = twins(), three_classes()
    first, second = (MessagePassing(model.parameters(), 60) for model in (one, two))
    for _ in range(3):
        sweep(first, one, Softmax(), x, y)
        second.zero_grad(set_to_none=False)
        Softmax()(two(x), y).backward()
        second.step()
    assert_close(two.state_dict(), one.state_dict(), rtol=0, atol=0)
