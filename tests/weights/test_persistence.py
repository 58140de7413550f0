"""Saving, loading, copying and pickling: what comes back is what went in, and owns its own parameters."""

import copy
import gc
import weakref

import pytest
import torch
from helpers import changed, lenet, marginals, mlp, sweep, three_classes
from torch import nn
from torch.testing import assert_close

from torch_gbp import AveragedSites, BatchSites, Filtering, GBPLinear, MessagePassing, Softmax, from_torch
from torch_gbp.weights.parameter import owner_of

STORES = {
    "averaged": AveragedSites,
    "batch": BatchSites,
    "filtering": Filtering,
    "forgetting": lambda: Filtering(0.1),
}
each_store = pytest.mark.parametrize("store", STORES.values(), ids=STORES)


def trained(model, store=None, steps=3):
    """A model after a few steps; returns it with its optimizer and data."""
    x, y = three_classes()
    if isinstance(model[0], type(lenet()[0])):
        x = torch.randn(60, 1, 8, 8)
    propagate = MessagePassing(model.named_parameters(), 60, epochs=3, store=store)
    run(propagate, model, x, y, range(steps))
    return model, propagate, (x, y)


def run(propagate, model, x, y, steps):
    for step in steps:
        part = slice(20 * (step % 3), 20 * (step % 3) + 20)
        with propagate.visit(step % 3, x[part], y[part]):
            sweep(propagate, model, Softmax(), x[part], y[part])


def through_disk(content, path):
    torch.save(content, path)
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("make", [mlp, lenet])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_state_dict_round_trip(make, dtype, tmp_path):
    model, _, (x, _) = trained(make())
    model, other, x = model.to(dtype), make().to(dtype), x.to(dtype)
    other.load_state_dict(through_disk(model.state_dict(), tmp_path / "model.pt"))
    assert changed(marginals(model), other) == []
    assert_close(tuple(other(x)), tuple(model(x)), rtol=0, atol=0)


@pytest.mark.parametrize("assign", [False, True])
def test_known_prior_means_travel_with_the_state_dict(assign, tmp_path):
    plain = nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(0.1), nn.Linear(6, 3))
    model, _, (x, y) = trained(from_torch(plain, as_prior=True, moments=True))
    other = mlp()
    other.load_state_dict(through_disk(model.state_dict(), tmp_path / "model.pt"), assign=assign)
    assert torch.equal(other[0].weight.prior_mean, plain[0].weight.detach())
    propagate = MessagePassing(other.parameters(), 60)  # finds the parameters that are in place now
    sweep(propagate, other, Softmax(), x, y)
    assert len(changed(marginals(model), other)) == 8
    fresh = mlp()
    model.load_state_dict(fresh.state_dict())
    assert model[0].weight.prior_mean is None


@each_store
def test_a_resumed_run_is_an_uninterrupted_run(store, tmp_path):
    model, propagate, (x, y) = trained(mlp(), store(), steps=4)
    saved = through_disk({"model": model.state_dict(), "optimizer": propagate.state_dict()}, tmp_path / "run.pt")
    run(propagate, model, x, y, range(4, 9))
    resumed = mlp()
    resumed.load_state_dict(saved["model"])
    again = MessagePassing(resumed.named_parameters(), 60, epochs=3, store=store())
    again.load_state_dict(saved["optimizer"])
    run(again, resumed, x, y, range(4, 9))
    assert changed(marginals(model), resumed) == []
    assert_close(again.state_dict()["state"], propagate.state_dict()["state"], rtol=0, atol=0)
    assert again.state_dict()["param_groups"] == propagate.state_dict()["param_groups"]


COPIES = {
    "deepcopy": lambda model, path: copy.deepcopy(model),
    "pickle": lambda model, path: torch.save(model, path) or torch.load(path, weights_only=False),
}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("make", [mlp, lenet])
def test_copies_train_independently(make, duplicate, tmp_path):
    model, _, (x, y) = trained(make())
    before = marginals(model)
    twin = duplicate(model, tmp_path / "model.pt")
    assert changed(before, twin) == []
    owners = [[owner_of(parameter) for parameter in m.parameters()] for m in (model, twin)]
    assert None not in owners[1] and not set(owners[0]) & set(owners[1])
    sweep(MessagePassing(twin.parameters(), 60), twin, Softmax(), x, y)
    assert changed(before, model) == []
    assert len(changed(before, twin)) == 8
    after = marginals(twin)
    sweep(MessagePassing(model.parameters(), 60), model, Softmax(), x, y)
    assert changed(after, twin) == []


def test_double_precision_is_more_than_a_longer_float():
    """`model.double()` trains; its marginals differ from float32's by rounding only."""
    single, _, (x, y) = trained(mlp())
    double = copy.deepcopy(single).double()
    assert all(p.dtype == torch.float64 and owner_of(p) is not None for p in double.parameters())
    sweep(MessagePassing(single.parameters(), 60), single, Softmax(), x, y)
    sweep(MessagePassing(double.parameters(), 60), double, Softmax(), x.double(), y)
    for name, value in double.state_dict().items():
        assert value.dtype == torch.float64
        assert_close(single.state_dict()[name].double(), value, rtol=1e-4, atol=1e-5)


def test_reset_parameters_goes_back_to_the_prior():
    model, _, _ = trained(nn.Sequential(GBPLinear(3, 3)))
    model[0].reset_parameters()
    assert (model[0].weight.precision == model[0].weight.prior_precision).all()
    assert (model[0].bias.mean == 0).all() and (model[0].weight.mean != 0).all()


def test_a_discarded_optimizer_is_forgotten():
    """The parameters' hooks keep neither it nor its state alive."""
    model, propagate, _ = trained(mlp())
    watched = [weakref.ref(propagate), weakref.ref(propagate._listener)]
    del propagate
    gc.collect()
    assert [watch() for watch in watched] == [None, None]
    model(torch.randn(2, 3))
