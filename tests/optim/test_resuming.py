"""Loading the state of an optimizer: what is not a state of it is refused before anything changes."""

import copy
import math

import pytest
import torch
from helpers import changed, marginals, mlp, sweep, three_classes
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import AveragedSites, BatchSites, Filtering, MessagePassing, Softmax
from torch_gbp.errors import InvalidInput

pytestmark = pytest.mark.usefixtures("float64")

with torch.random.fork_rng():
    torch.manual_seed(0)
    X, Y = three_classes()
    X = X.double()


def trained(store=None, make=mlp):
    """A network after five steps, so that there is an average of the means, and its optimizer."""
    model = make()
    propagate = MessagePassing(model.parameters(), 60, store=store)
    step_on(propagate, model)
    return model, propagate


def step_on(propagate, model):
    for _ in range(5):
        with propagate.visit(0, X, Y):
            sweep(propagate, model, Softmax(), X, Y)


def adamw(store=None):
    model = mlp()
    Softmax()(model(X), Y).backward()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    return optimizer.state_dict()


def other_network(**options):
    return lambda store: trained(store, lambda: mlp(**options))[1].state_dict()


def fewer(store):
    model = mlp()
    return MessagePassing(model[0].parameters(), 60, store=store).state_dict()


def other_store(theirs):
    return lambda store: trained(theirs)[1].state_dict()


def unnamed(theirs):
    """As saved before states said what store they are of."""
    return lambda store: {name: part for name, part in trained(theirs)[1].state_dict().items() if name != "store"}


def spoiled(change):
    """A state of the right kind after `change`, which gets it."""

    def spoil(store):
        state = copy.deepcopy(trained(store)[1].state_dict())
        change(state)
        return state

    return spoil


def group(**settings):
    return spoiled(lambda state: state["param_groups"][0].update(settings))


def entry(name, change):
    return spoiled(lambda state: state["state"][2].update({name: change(state["state"][2][name])}))


def poisoned(tensor):
    tensor = tensor.clone()
    tensor[0] = math.nan
    return tensor


AVERAGED, BATCH, FILTERING = AveragedSites, BatchSites, Filtering
BAD = {  # the optimizer's store, the state that it is given, what the error says
    "adamw": (AVERAGED, adamw, r"not one of MessagePassing.*Got: settings \['amsgrad'.*AdamW"),
    "adamw_into_filtering": (FILTERING, adamw, "not one of MessagePassing"),
    "nothing": (AVERAGED, lambda store: {}, r"not one of MessagePassing.*Got: entries \[\]"),
    "a_network": (AVERAGED, lambda store: mlp().state_dict(), r"not one of MessagePassing.*Got: entries \['0\.bias\.mean'"),
    "batch_into_averaged": (AVERAGED, other_store(BatchSites()), "not one of AveragedSites.*Got: that of BatchSites"),
    "averaged_into_batch": (BATCH, other_store(AveragedSites()), "not one of BatchSites.*Got: that of AveragedSites"),
    "averaged_into_filtering": (FILTERING, other_store(AveragedSites()), "not one of Filtering.*Got: that of AveragedSites"),
    "filtering_into_averaged": (AVERAGED, other_store(Filtering()), "AveragedSites.*Got: that of Filtering"),
    "older_batch": (AVERAGED, unnamed(BatchSites()), r"marginal 0 is not one of AveragedSites.*Got: \['prior', 'sites'\]"),
    "older_averaged": (BATCH, unnamed(AveragedSites()), r"marginal 0 is not one of BatchSites.*\['average', 'mom"),
    "older_into_filtering": (FILTERING, unnamed(AveragedSites()), "marginal 0 is not one of Filtering"),
    "widths": (AVERAGED, other_network(hidden=5), r"'momentum' of marginal 0.*\(5, 3\)"),
    "shared": (BATCH, other_network(covariance="diagonal"), r"'sites' of marginal 0.*Got: \(6, 3\), not \(1, 3\)"),
    "fewer": (AVERAGED, fewer, r"groups of \[4\], here \[8\]"),
    "momentum_nan": (AVERAGED, entry("momentum", poisoned), r"'momentum' of marginal 1.*Got: 1 of 6 values NaN or Inf"),
    "momentum_shape": (AVERAGED, entry("momentum", lambda old: old[:2]), r"'momentum' of marginal 1.*Got: \(2,\), not \(6,\)"),
    "average_nan": (AVERAGED, entry("average", poisoned), r"'average' of marginal 1"),
    "steps": (AVERAGED, entry("steps", lambda old: None), r"'steps' of marginal 1.*Got: None"),
    "no_momentum": (AVERAGED, spoiled(lambda state: state["state"][2].pop("momentum")), "marginal 1 is not one of AveragedSites"),
    "curvature": (AVERAGED, spoiled(lambda state: state["state"][2].update(curvature=-torch.ones(6))), "'curvature'.*lowest -1"),
    "site_nan": (BATCH, entry("sites", lambda old: {0: [poisoned(part) for part in old[0]]}), "'sites' of marginal 1"),
    "half_a_site": (BATCH, entry("sites", lambda old: {0: old[0][:1]}), r"'sites' of marginal 1.*Got: 1 tensors"),
    "prior_nan": (BATCH, entry("prior", lambda old: [poisoned(part) for part in old]), "'prior' of marginal 1"),
    "num_data": (AVERAGED, group(num_data=0), "num_data, the number of training examples"),
    "lr": (AVERAGED, group(lr=math.nan), "lr must be in"),
    "epochs": (AVERAGED, group(epochs=math.inf), "epochs must be positive"),
    "examples_seen": (AVERAGED, group(examples_seen=-4), "does not say what was seen.*examples_seen=-4"),
    "group_steps": (AVERAGED, group(steps=math.nan), "does not say what was seen.*steps=nan"),
    "fingerprints": (AVERAGED, group(fingerprints=None), "does not say what was seen.*fingerprints=None"),
    "adamw_entries": (AVERAGED, spoiled(lambda state: state["state"].update({3: {"exp_avg": 1}})), "something is kept of precis"),
    "no_num_data": (AVERAGED, spoiled(lambda state: state["param_groups"][0].pop("num_data")), "not one of MessagePassing"),
}  # fmt: skip


@pytest.mark.parametrize(("store", "make", "text"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "running"])
def test_a_state_that_does_not_fit_changes_nothing(store, make, text, fresh):
    model, propagate = trained(store())
    if fresh:
        propagate = MessagePassing(model.parameters(), 60, store=store())
    before, state = marginals(model), copy.deepcopy(propagate.state_dict())
    twin = copy.deepcopy(model)
    unbroken = MessagePassing(twin.parameters(), 60, store=store())
    unbroken.load_state_dict(state)
    with pytest.raises(InvalidInput, match=text) as raised:
        propagate.load_state_dict(make(store()))
    for part in ("Got: ", "Usual cause: ", "Way out: "):
        assert part in str(raised.value)
    assert changed(before, model) == []
    assert_close(propagate.state_dict()["state"], state["state"], rtol=0, atol=0)
    assert propagate.state_dict()["param_groups"] == state["param_groups"]
    step_on(propagate, model)
    step_on(unbroken, twin)
    assert changed(marginals(twin), model) == []


@pytest.mark.parametrize("store", [AVERAGED, BATCH, FILTERING])
def test_an_older_state_without_the_name_of_its_store_loads(store):
    state = unnamed(store())(store())
    model = mlp()
    again = MessagePassing(model.parameters(), 60, store=store())
    again.load_state_dict(state)
    assert_close(again.state_dict()["state"], state["state"], rtol=0, atol=0)


def test_the_state_names_its_store():
    assert trained(Filtering())[1].state_dict()["store"] == "Filtering"


def test_loading_during_a_visit_ends_it():
    """The marginals are the cavity then; the ones from before the visit are put back."""
    model, propagate = trained(BatchSites())
    before, state = marginals(model), copy.deepcopy(propagate.state_dict())
    propagate.open(0, X, Y)
    assert changed(before, model) != []
    propagate.load_state_dict(state)
    assert changed(before, model) == []


def test_a_copy_of_a_running_optimizer_has_memory_of_its_own():
    model = gbp.from_torch(nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).double())
    optimizer = gbp.configure_optimizers(model, 60, epochs=4)

    def step(network, own):
        own.zero_grad()
        Softmax()(network(X), Y).backward()
        own.step()

    step(model, optimizer)
    twin = copy.deepcopy(model)
    other, before = gbp.configure_optimizers(twin, 60, epochs=4), copy.deepcopy(optimizer.state_dict())
    other.load_state_dict(optimizer.state_dict())
    step(twin, other)
    for part in ("state", "plain"):
        assert_close(optimizer.state_dict()[part], before[part], rtol=0, atol=0)
