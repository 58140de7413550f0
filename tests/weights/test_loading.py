"""Loading a network: all of it is checked before any of it is written."""

import copy
import math

import pytest
import torch
from helpers import changed, marginals, mlp, sweep, three_classes
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from lightning_modules import GBPClassifier
from torch_gbp.errors import InvalidInput
from torch_gbp.weights.held_prior import Start

pytestmark = pytest.mark.usefixtures("float64")


def full(**options):
    return mlp(covariance="diagonal", **options)


def trained(make=full):
    model, (x, y) = make(), three_classes()
    sweep(gbp.MessagePassing(model.parameters(), 60), model, gbp.Softmax(), x, y)
    return model


def with_entry(name, value):
    """Another network's state with one entry exchanged: a function of the old one, or None to drop it."""

    def spoil(state):
        old = state.pop(name, None)
        if value is not None:
            state[name] = value(old)
        return state

    return spoil


def filled(number, where=(1, 2)):
    def fill(old):
        new = old.clone()
        new[where if new.ndim else ()] = number
        return new

    return fill


def prior_means(number):
    return with_entry("0.weight.prior_mean", lambda _: torch.full((6, 3), number))


SPOILED = {  # what becomes of the state, and what the error says
    "no_mean": (with_entry("2.weight.mean", None), r"marginal '2\.weight' is not whole.*Got: precision, prior_precision"),
    "no_precision": (with_entry("2.bias.precision", None), r"marginal '2\.bias' is not whole.*Got: mean, prior_precision"),
    "no_prior": (with_entry("0.weight.prior_precision", None), r"marginal '0\.weight' is not whole.*Got: mean, precision"),
    "mean_nan": (with_entry("2.weight.mean", filled(math.nan)), r"'2\.weight\.mean' must be finite.*1 of 18 are not, worst nan"),
    "precision_inf": (with_entry("2.weight.precision", filled(math.inf)), r"'2\.weight\.precision' must be finite"),
    "precision_nan": (with_entry("2.weight.precision", filled(math.nan)), r"'2\.weight\.precision' must be finite"),
    "precision_negative": (with_entry("2.weight.precision", filled(-3.0)), r"must be at least prior_precision.*worst -3"),
    "precision_low": (with_entry("2.weight.precision", lambda old: old / 50), r"precision' must be at least prior_precision"),
    "prior_zero": (with_entry("2.weight.prior_precision", filled(0.0)), r"'2\.weight\.prior_precision' must be positive"),
    "prior_negative": (with_entry("2.weight.prior_precision", filled(-1.0)), r"'2\.weight\.prior_precision' must be positive"),
    "prior_nan": (with_entry("2.weight.prior_precision", filled(math.nan)), r"'2\.weight\.prior_precision' must be finite"),
    "prior_shape": (with_entry("2.weight.prior_precision", lambda old: old.expand(5)), r"Got: \(5,\), the network has \(3, 6\)"),
    "prior_mean_inf": (prior_means(math.inf), r"'0\.weight\.prior_mean' must be finite"),
    "prior_mean_shape": (with_entry("0.weight.prior_mean", lambda _: torch.zeros(4)), r"prior_mean' has another shape"),
    "integers": (with_entry("2.weight.mean", lambda old: old.long()), r"must be a floating-point.*Got: torch\.int64 on cpu"),
    "list": (with_entry("2.weight.mean", lambda old: old.tolist()), r"must be a floating-point tensor.*Got: list"),
    "meta": (with_entry("2.weight.mean", lambda old: old.to("meta")), r"must be a floating-point tensor.*float64 on meta"),
    "widths": (lambda state: marginals(full(hidden=7)), r"another shape.*Got: \(7, 3\), the network has \(6, 3\)"),
    "shared": (lambda state: marginals(mlp()), r"'0\.weight\.precision' has another shape.*covariance"),
}  # fmt: skip
PLAIN = nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(0.1), nn.Linear(6, 3))
STRICT = {
    "torch_network": (lambda state: PLAIN.state_dict(), "none of its parts"),
    "cut_short": (lambda state: dict([*state.items()][:7]), r"marginal '2\.weight' is not whole.*Got: mean"),
    "a_layer_less": (lambda state: dict([*state.items()][:6]), r"marginal '2\.weight' is not whole.*Got: none"),
    "a_layer_more": (lambda state: state | {"4.weight.mean": torch.zeros(3, 3)}, r"not that of this network.*unexpected \['4"),
    "an_entry_more": (with_entry("2.weight.old", lambda _: torch.zeros(3)), r"unexpected \['2\.weight\.old'\]"),
    "prefixed": (lambda state: {f"module.{name}": value for name, value in state.items()}, "none of its parts"),
}  # fmt: skip


def assert_refused(model, state, text, **options):
    before = marginals(model)
    assert all(before[name].isfinite().all() for name in before)
    with pytest.raises(InvalidInput, match=text) as raised:
        model.load_state_dict(state, **options)
    for part in ("Got: ", "Usual cause: ", "Way out: ", "nothing has changed", "load_state_dict"):
        assert part in str(raised.value)
    assert changed(before, model) == [] and model.state_dict().keys() == before.keys()


@pytest.mark.parametrize("assign", [False, True], ids=["copy", "assign"])
@pytest.mark.parametrize("strict", [False, True], ids=["loose", "strict"])
@pytest.mark.parametrize(("spoil", "text"), SPOILED.values(), ids=SPOILED)
def test_a_spoiled_state_changes_nothing(spoil, text, strict, assign):
    model = trained()
    assert_refused(model, spoil(marginals(trained())), text, strict=strict, assign=assign)


@pytest.mark.parametrize(("spoil", "text"), STRICT.values(), ids=STRICT)
def test_a_state_of_another_network_changes_nothing(spoil, text):
    model = trained()
    assert_refused(model, spoil(marginals(trained())), text)


def test_after_a_refused_state_training_goes_on_as_if_it_had_not_been():
    """With known prior means, which belong to what must not be lost."""
    (x, y), one = (
        three_classes(),
        gbp.from_torch(copy.deepcopy(PLAIN).double(), as_prior=True, covariance="diagonal", moments=True),
    )
    two = copy.deepcopy(one)
    first, second = (gbp.MessagePassing(model.parameters(), 60) for model in (one, two))
    for step in range(3):
        sweep(first, one, gbp.Softmax(), x, y)
        sweep(second, two, gbp.Softmax(), x, y)
        assert_refused(two, marginals(full(hidden=7 + step)), "another shape")
    assert_close(two.state_dict(), one.state_dict(), rtol=0, atol=0)


def test_a_marginal_that_a_loose_state_lacks_keeps_what_it_has():
    model, other = trained(), trained()
    before, part = marginals(model), {name: value for name, value in marginals(other).items() if name.startswith("0.")}
    found = model.load_state_dict(part, strict=False)
    assert sorted(found.missing_keys) == [name for name in sorted(before) if name.startswith("2.")]
    assert set(changed(before, model)) == {name for name in part if not torch.equal(part[name], before[name])} != set()
    assert_close({name: model.state_dict()[name] for name in part}, part, rtol=0, atol=0)
    x, y = three_classes()
    sweep(gbp.MessagePassing(model.parameters(), 60), model, gbp.Softmax(), x, y)
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_numbers_too_large_for_the_network_are_refused():
    model, state = trained().float(), marginals(trained())
    assert_refused(model, with_entry("0.weight.mean", filled(1e300))(state), r"'0\.weight\.mean' must be finite")
    model.load_state_dict(marginals(trained()))  # other dtypes as such are none of the state's faults
    assert model[0].weight.mean.dtype == torch.float32


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
@pytest.mark.parametrize("name", ["0.variance_factor", "0.noise_variance"])
def test_a_likelihood_takes_positive_factors_only(name, value):
    """Wherever it stands: the network before or behind it stays what it is."""
    both = nn.ModuleList([gbp.Regression(1.0, learn_noise=True), trained()])
    state = marginals(nn.ModuleList([gbp.Regression(2.0, learn_noise=True), trained()]))
    assert_refused(both, state | {name: torch.tensor(value)}, f"'{name}' must be (finite|positive)")
    both.load_state_dict(state)
    assert both[0].noise_variance == 2.0


@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_a_temperature_is_saved_checked_and_one_in_older_states(value):
    state = marginals(gbp.Softmax())
    assert_refused(gbp.Softmax(), state | {"temperature": torch.tensor(value)}, "'temperature' must be (finite|positive)")
    likelihood, network = gbp.Softmax(), nn.ModuleList([gbp.Softmax(), trained()])
    likelihood.load_state_dict(state | {"temperature": torch.tensor(0.7)})
    assert float(likelihood.temperature) == pytest.approx(0.7)
    older = marginals(network)
    assert older.pop("0.temperature") == 1
    network[0].temperature.fill_(3.0)
    network.load_state_dict(older)
    assert network[0].temperature == 1
    real, odd = gbp.Regression(1.0), torch.tensor(1.0)
    assert "temperature" not in real.state_dict()  # real targets have none, and take none
    assert_refused(real, marginals(real) | {"temperature": odd}, r"unexpected \['temperature'\]")


class Renamed(nn.Module):
    """A module whose older states called its layer by another name."""

    def __init__(self):
        super().__init__()
        self.layer = gbp.GBPLinear(3, 3)
        self.register_load_state_dict_pre_hook(self.rename)

    @staticmethod
    def rename(module, state, prefix, *rest):
        for name in [name for name in state if name.startswith(f"{prefix}old.")]:
            state[name.replace(f"{prefix}old.", f"{prefix}layer.")] = state.pop(name)


@pytest.mark.parametrize("inside", [False, True])
def test_modules_may_rename_their_entries(inside):
    model, source = (nn.Sequential(Renamed()) if inside else Renamed() for _ in range(2))
    model.load_state_dict({name.replace("layer", "old"): value for name, value in source.state_dict().items()})
    assert_close(model.state_dict(), source.state_dict(), rtol=0, atol=0)
    spoiled = with_entry(f"{'0.' * inside}layer.weight.precision", filled(-1.0, (0, 2)))(marginals(model))
    assert_refused(model, spoiled, "at least prior_precision")
    model.load_state_dict({}, strict=False)


def test_plain_layers_of_the_network_are_checked_too():
    model = nn.Sequential(trained(), nn.BatchNorm1d(3), nn.Linear(3, 2))
    state = marginals(nn.Sequential(trained(), nn.BatchNorm1d(3), nn.Linear(3, 2)))
    assert_refused(model, with_entry("2.bias", None)(dict(state)), r"missing \['2\.bias'\]")
    assert_refused(
        model, with_entry("2.bias", lambda _: torch.zeros(5))(dict(state)), r"other shapes \['2\.bias'\]", strict=False
    )
    model.load_state_dict(with_entry("1.num_batches_tracked", None)(dict(state)))  # which batch norm lets older files lack
    assert_close(model[0].state_dict(), {name[2:]: state[name] for name in state if name.startswith("0.")}, rtol=0, atol=0)


WRAPPERS = {
    "lightning": GBPClassifier,
    "compiled": torch.compile,
    "shared": lambda model: nn.ModuleList([model, model]),
    "marginal": lambda model: model[0].weight,
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrapped_and_shared_networks_load(wrap):
    model, other = wrap(trained()), wrap(trained())
    assert_close(model.load_state_dict(marginals(other)), ([], []), rtol=0, atol=0)
    assert changed(marginals(other), model) == []
    name = next(name for name in other.state_dict() if name.endswith("precision"))
    assert_refused(model, marginals(other) | {name: -other.state_dict()[name]}, f"'{name}' must be")
    assert_refused(model, marginals(other) | {"another": torch.zeros(1)}, r"unexpected \['another'\]")


def test_a_marginal_loaded_by_itself_is_checked_by_itself():
    """As by tools that go round `nn.Module.load_state_dict`."""
    weight, state = trained()[0].weight, marginals(trained()[0].weight)
    before = marginals(weight)
    with pytest.raises(InvalidInput, match=r"'net\.precision' must be at least prior_precision"):
        weight._load_from_state_dict(
            {f"net.{k}": -v for k, v in state.items()} | {"net.prior_precision": torch.ones(())}, "net.", {}, True, [], [], []
        )
    assert changed(before, weight) == []
    weight._load_from_state_dict({f"net.{k}": v for k, v in state.items()}, "net.", {}, True, [], [], [])
    assert changed(state, weight) == []


def test_a_network_without_numbers_says_so_and_takes_a_state():
    with torch.device("meta"):
        model, empty = full(), full()
    state, x = marginals(trained()), torch.randn(4, 3)
    for call in (lambda: model(x), lambda: model.load_state_dict(state)):
        with pytest.raises(InvalidInput, match="shapes and no numbers") as raised:
            call()
        assert "Got: device meta" in str(raised.value) and "Way out: " in str(raised.value)
    model.load_state_dict(state, assign=True)
    assert changed(state, model) == [] and model(x).mean.isfinite().all()
    empty.to_empty(device="cpu")
    fresh = full()
    for layer, like in ((empty[0], fresh[0]), (empty[2], fresh[2])):
        assert_close(layer.weight.prior_precision, like.weight.prior_precision, rtol=0, atol=0)
        assert_close(layer.weight.precision, like.weight.precision, rtol=0, atol=0)
        assert 0 < layer.weight.mean.std() < 2 * like.weight.mean.std()


def starts(network):
    return {own.start for own in gbp.marginals(network).values()}


@pytest.mark.parametrize("width", [3, 7, 11, 49, 100, 333])
def test_a_state_from_before_training_brings_back_the_start_that_it_was_of(width):
    """1 / (1 / width) rounds to either side of it, layer by layer."""

    def build(**start):
        return gbp.from_torch(nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, width)).float(), **start)

    new, known = build(fresh=True), build()
    assert starts(new) == {Start.NEW} and starts(known) == {Start.KNOWN}
    of_new, of_known = (copy.deepcopy(one.state_dict()) for one in (new, known))
    new.load_state_dict(of_new)
    known.load_state_dict(of_known)
    assert starts(new) == {Start.NEW} and starts(known) == {Start.KNOWN}
    known.load_state_dict(of_new)
    new.load_state_dict(of_known)
    assert starts(known) == {Start.NEW} and starts(new) == {Start.KNOWN}
    assert all(own.surplus == 0 and own.fresh() for own in gbp.marginals(known).values())
