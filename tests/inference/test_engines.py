"""Every layer x likelihood x engine x store x dtype works, or refuses by name; one iteration of a schedule is the plain sweep."""

import pytest
import torch
from engine_cases import LIKELIHOODS, NETWORKS, NONLINEAR, PLAIN, SCHEDULES, STORES, data, learn, refusals
from helpers import changed, marginals

from torch_gbp.errors import GBPError
from torch_gbp.weights.parameter import GaussianParameter

SETTINGS = [(store, dtype) for store in STORES for dtype in (torch.float64, torch.float32)]
CELLS = [(network, likelihood) for network in NETWORKS for likelihood in LIKELIHOODS]


def setting(network, likelihood, engine):
    """Store and dtype of a cell: they take turns, so that each meets every network, every likelihood and every engine."""
    turn = list(NETWORKS).index(network) + 2 * list(LIKELIHOODS).index(likelihood) + [PLAIN, *SCHEDULES].index(engine)
    return SETTINGS[turn % len(SETTINGS)]


@pytest.fixture
def cell(monkeypatch):
    """(network, likelihood, dtype) -> a network, the likelihood and data, the same at every call."""
    before = torch.get_default_dtype()

    def make(network, likelihood, dtype):
        torch.set_default_dtype(dtype)
        torch.manual_seed(0)
        build, outputs = LIKELIHOODS[likelihood]
        return NETWORKS[network]()(outputs), build(), *data(network, likelihood)

    yield make
    torch.set_default_dtype(before)


@pytest.mark.parametrize(("network", "likelihood"), CELLS)
def test_every_engine_learns_or_refuses_by_name(cell, network, likelihood):
    for engine in (PLAIN, *SCHEDULES):
        store, dtype = setting(network, likelihood, engine)
        model, target, x, y = cell(network, likelihood, dtype)
        start, (must, may) = marginals(model), refusals(network, likelihood, engine)
        error = refusal(model, target, engine, store, x, y)
        if error is None:
            assert not must, f"{engine}, {store}: learns, though the table says that it refuses"
            assert_learned(start, model, dtype)
        else:
            assert any(isinstance(error, kind) and text in str(error) for kind, text in must or may), (engine, store, error)
            assert "Way out" in str(error) and changed(start, model) == []


def refusal(*arguments):
    """The named error of a visit, if there is one; any other error is raised."""
    try:
        learn(*arguments, iterations=2)
    except GBPError as error:
        return error
    return None


def assert_learned(start, model, dtype):
    """Something changed; marginals are finite, of their dtype, and no less certain than their priors."""
    assert changed(start, model) != []
    for own in (module for module in model.modules() if isinstance(module, GaussianParameter)):
        assert own.mean.dtype == own.precision.dtype == dtype
        assert bool(own.mean.isfinite().all()) and bool((own.precision >= own.prior_precision * (1 - 1e-6)).all())


@pytest.mark.parametrize(("network", "likelihood"), CELLS)
def test_one_iteration_of_every_schedule_is_the_plain_sweep_bit_for_bit(cell, network, likelihood):
    """All but `ExampleByExample`, which sends exact messages one example after the other."""
    if network in NONLINEAR:
        pytest.skip("no plain sweep")
    store, _ = setting(network, likelihood, PLAIN)
    plain, target, x, y = cell(network, likelihood, torch.float64)
    learn(plain, target, PLAIN, store, x, y, 1)
    for schedule in [name for name in SCHEDULES if name != "ExampleByExample"]:
        model, target, x, y = cell(network, likelihood, torch.float64)
        learn(model, target, schedule, store, x, y, 1)
        assert changed(marginals(plain), model) == [], schedule
