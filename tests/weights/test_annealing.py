"""The surplus of precision that marginals start with: its recursion, its end, and that it leaves no trace."""

import copy
import itertools
import math

import pytest
import torch
from helpers import changed, marginals, mlp, sweep, three_classes
from torch import nn
from torch.testing import assert_close

from torch_gbp import AveragedSites, BatchSites, Filtering, GBPLeakyReLU, GBPLinear, Message, MessagePassing, Softmax, Trainer
from torch_gbp.errors import InvalidInput
from torch_gbp.optim.stores import Run, Step
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.priors import Prior, empirical_variance

DEEP = 2.0  # depth of a network that begins with 2^3 times the prior's precision
LAYERS = 6  # of such a network, where weights outnumber the examples twice and more


def deep(layers=LAYERS, width=6):
    """A plain network of so many layers."""
    sizes = [3] + [width] * (layers - 1) + [3]
    parts = [part for pair in itertools.pairwise(sizes) for part in (GBPLinear(*pair), GBPLeakyReLU(0.1))]
    return nn.Sequential(*parts[:-1])


def begun(store, depth=DEEP, prior=None):
    """A marginal of 4 x 3 weights as the store starts it, and its state."""
    marginal, state = GaussianParameter((4, 3), prior or Prior(0.5, 0.3)), {}
    with torch.no_grad():
        store.begin(marginal, state, depth)
    return marginal, state


@torch.no_grad()
def commit(store, marginal, state, message, progress, rate=0.3, batches=5.0):
    store.commit(marginal, state, Message(*(part.clone() for part in message)), Step(rate, batches, run=Run(progress=progress)))


def precisions(model):
    return [value for name, value in model.named_parameters() if name.endswith("precision")]


def weights(model):
    return [layer.weight for layer in model if isinstance(layer, GBPLinear)]


@pytest.mark.parametrize(("depth", "factor"), [(0.2, 1.0), (1.0, 1.0), (2.0, 8.0), (3.0, 27.0)])
def test_weights_start_with_the_cube_of_the_depth_times_the_priors_precision(depth, factor, float64):
    marginal, _ = begun(AveragedSites(), depth)
    assert_close(marginal.precision.detach(), torch.full((4, 3), 2 * factor))


@pytest.mark.parametrize(("depth", "variance"), [(0.2, 0.01), (2.0, 0.01), (6.0, 0.5 / 216)])
def test_biases_start_at_a_hundredth_or_with_the_networks_surplus_if_that_is_more(depth, variance, float64):
    marginal, _ = begun(AveragedSites(), depth, Prior().of_bias())
    assert_close(marginal.belief().variance, torch.full((4, 3), variance))


def test_the_precision_is_that_of_the_sites_and_a_surplus_that_ends_after_half_of_the_passes(float64):
    """R = S + (8^t - 1) R0 with t = max(0, 1 - 2 p) and S <- (1 - a/B) S + (a/B) R0 + a G, which knows of no surplus."""
    store = AveragedSites()
    marginal, state = begun(store)
    prior = sites = marginal.prior_precision.item()
    for step in range(1, 21):
        word = Message(torch.randn(4, 3), torch.rand(4, 3))
        commit(store, marginal, state, word, progress=step / 20)
        sites = (1 - 0.3 / 5) * sites + 0.3 / 5 * prior + 0.3 * word.precision
        surplus = (8 ** max(0.0, 1 - step / 10) - 1) * prior
        assert_close(marginal.precision.detach(), sites + surplus, rtol=1e-12, atol=0)
        assert ("annealing" in state) == (step < 10)


def test_a_surplus_damps_the_steps_and_draws_the_means_nowhere(float64):
    """m <- m + a u / R with the score of messages and prior alone, and the whole of R."""
    store = AveragedSites(0.0, math.inf)
    marginal, state = begun(store)
    mean, word = marginal.mean.detach().clone(), Message(torch.randn(4, 3), torch.rand(4, 3))
    commit(store, marginal, state, word, progress=0.1)
    score = word.information - mean * marginal.prior_precision / 5
    assert_close(marginal.mean.detach(), mean + 0.3 * score / marginal.precision.detach(), rtol=1e-12, atol=1e-12)


def test_only_a_marginal_that_is_still_its_prior_gets_a_surplus(float64):
    store, marginal = AveragedSites(), GaussianParameter((4, 3), Prior(0.5, 0.3))
    with torch.no_grad():
        marginal.precision[0, 0] += 1e-6
    before, state = marginals(marginal), {}
    with torch.no_grad():
        store.begin(marginal, state, DEEP)
    assert not state
    assert not changed(before, marginal)


@pytest.mark.parametrize(
    "store", [AveragedSites(anneal=False), BatchSites(), Filtering()], ids=["not annealed", "batch", "filtering"]
)
def test_no_other_store_touches_the_prior(store):
    model = deep()
    before = marginals(model)
    MessagePassing(model.parameters(), 60, store=store)
    assert not changed(before, model)


def test_a_frozen_layer_stays_as_it_is():
    model = deep()
    model[0].requires_grad_(False)
    before = marginals(model[0])
    propagate = MessagePassing(model.parameters(), 60)
    assert not changed(before, model[0])
    sweep(propagate, model, Softmax(), *three_classes())
    assert not changed(before, model[0])


def train(propagate, model, data, steps, start=0):
    """Steps start ... steps - 1 of a run on batches of 20 of 60 examples, 3 to a pass."""
    x, y = data
    for step in range(start, steps):
        part = torch.arange(20) + step % 3 * 20
        sweep(propagate, model, Softmax(), x[part], y[part])


def test_an_optimizer_lifts_the_surplus_at_the_step_that_completes_half_of_the_passes():
    model, data = deep(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, epochs=4)
    train(propagate, model, data, 5)
    assert all("annealing" in propagate.state[marginal.mean] for marginal in propagate.marginals)
    train(propagate, model, data, 6, start=5)
    assert not any("annealing" in propagate.state[marginal.mean] for marginal in propagate.marginals)


@pytest.mark.parametrize("stop", [0, 3])
def test_a_resumed_run_ends_as_one_that_was_never_cut(stop, tmp_path):
    """Cut before the first step, and in the middle of the annealing."""
    model, data = deep(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, epochs=4)
    train(propagate, model, data, stop)
    torch.save({"model": model.state_dict(), "optimizer": propagate.state_dict()}, tmp_path / "run.pt")
    train(propagate, model, data, 12, start=stop)
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    other = deep()
    other.load_state_dict(saved["model"])
    resumed = MessagePassing(other.parameters(), 60, epochs=4)
    resumed.load_state_dict(saved["optimizer"])
    train(resumed, other, data, 12, start=stop)
    assert not changed(marginals(model), other)


def test_a_copy_goes_on_as_the_original_does():
    model, data = deep(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, epochs=4)
    train(propagate, model, data, 3)
    other = copy.deepcopy(model)
    copied = MessagePassing(other.parameters(), 60, epochs=4)
    copied.load_state_dict(copy.deepcopy(propagate.state_dict()))
    train(propagate, model, data, 12, start=3)
    train(copied, other, data, 12, start=3)
    assert not changed(marginals(model), other)


def test_settling_takes_out_what_is_left(float64):
    """A run cut short has the precisions that it would have had without a surplus, given the same messages."""
    store, plain = AveragedSites(), AveragedSites(anneal=False)
    (marginal, state), (other, its) = begun(store), begun(plain)
    for step in range(1, 4):
        word = Message(torch.randn(4, 3), torch.rand(4, 3))
        commit(store, marginal, state, word, progress=step / 20)
        commit(plain, other, its, word, progress=step / 20)
    with torch.no_grad():
        store.use_averaged_means(marginal, state)
    assert_close(marginal.precision.detach(), other.precision.detach(), rtol=1e-12, atol=0)
    commit(store, marginal, state, word, progress=0.25)
    commit(plain, other, its, word, progress=0.25)
    assert_close(marginal.precision.detach(), other.precision.detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("depth", [2.0, 10.0])
def test_precisions_stay_at_least_the_priors_for_two_thousand_steps_of_float32(depth):
    """A surplus a thousand times the prior, and messages that say next to nothing."""
    store = AveragedSites()
    marginal, state = begun(store, depth)
    for step in range(1, 2001):
        commit(store, marginal, state, Message(torch.randn(4, 3), 1e-6 * torch.rand(4, 3)), progress=step / 2000, batches=250.0)
        assert bool((marginal.precision >= marginal.prior_precision).all()), step
    assert_close(marginal.precision.detach(), marginal.prior_precision.expand(4, 3), rtol=1e-3, atol=0)


def test_priors_learned_in_the_middle_are_those_without_a_surplus(float64):
    """The surplus is no part of what a marginal says: neither the new variance nor the means know of it."""
    store, plain = AveragedSites(), AveragedSites(anneal=False)
    (marginal, state), (other, its) = begun(store), begun(plain)
    commit(store, marginal, state, (torch.randn(4, 3), torch.rand(4, 3)), progress=0.1)
    surplus = state["annealing"]["surplus"]
    with torch.no_grad():
        other.mean.copy_(marginal.mean)
        other.precision.copy_(marginal.precision - surplus)
        expected = empirical_variance(other.belief().mean.square() + other.belief().variance)
        store.learn_prior(marginal, state)
        plain.learn_prior(other, its)
    assert_close(marginal.prior_precision.reciprocal(), expected, rtol=1e-12, atol=0)
    assert_close(marginal.mean.detach(), other.mean.detach(), rtol=1e-12, atol=1e-12)
    assert_close(marginal.precision.detach(), other.precision.detach() + surplus, rtol=1e-12, atol=0)


def test_a_surplus_is_nothing_that_priors_could_be_learned_from():
    model = deep()
    propagate = MessagePassing(model.parameters(), 60)
    before = marginals(model)
    with pytest.raises(InvalidInput, match="nothing has been learnt"):
        propagate.learn_priors()
    assert not changed(before, model)


@pytest.mark.parametrize(("layers", "num_data", "depth"), [(5, 10**6, 1.0), (10, 10**6, 2.0), (3, 20, 1.0), (6, 20, 2.0)])
def test_the_default_rate_is_divided_by_the_depth(layers, num_data, depth):
    """Layers over 5, or over 3 where weights outnumber the examples."""
    model = deep(layers)
    propagate = MessagePassing(model.parameters(), num_data)
    assert propagate.depth == pytest.approx(depth)
    assert propagate.param_groups[0]["lr"] == pytest.approx(0.4 / depth)
    assert MessagePassing(model.parameters(), num_data, lr=0.4).param_groups[0]["lr"] == 0.4


@pytest.mark.parametrize(("depth", "deviations"), [(0.5, 2.0), (1.0, 2.0), (4.0, 0.5)])
def test_the_trust_region_is_divided_by_the_depth(depth, deviations, float64):
    """A message that agrees too strongly moves an output by 2 / max(1, depth) deviations, |d|^2 = sum of d^2 R."""
    store = AveragedSites(0.0)
    marginal = GaussianParameter((4, 3), Prior(0.5, 0.3))
    before, word = marginal.mean.detach().clone(), Message(torch.full((4, 3), 1e4), torch.ones(4, 3))
    with torch.no_grad():
        store.commit(marginal, {}, word, Step(0.4, 5.0, run=Run(depth)))
    moved = ((marginal.mean - before).square() * marginal.precision).sum(1).sqrt().detach()
    assert_close(moved, torch.full((4,), deviations), rtol=1e-9, atol=0)


def test_biases_and_frozen_layers_do_not_count_as_layers():
    model = deep(7)
    for layer in (model[0], model[2]):
        layer.requires_grad_(False)
    assert MessagePassing(model.parameters(), 60).layers == 5


def test_a_shallow_network_starts_at_the_prior_but_for_its_biases():
    model = mlp()
    MessagePassing(model.parameters(), 60)
    assert all(torch.equal(weight.precision, weight.prior_precision.expand_as(weight.precision)) for weight in weights(model))
    assert all(torch.equal(layer.bias.precision, torch.full_like(layer.bias.precision, 100.0)) for layer in (model[0], model[2]))


@pytest.mark.parametrize("store", [AveragedSites(), BatchSites()], ids=["averaged", "batch"])
def test_a_second_optimizer_starts_as_the_first_did(store):
    """As where a cell of a notebook is run again: the surplus of one that never took a step is nothing learnt."""
    model, other = deep(), deep()
    other.load_state_dict(model.state_dict())
    MessagePassing(other.parameters(), 60, store=store)
    for _ in range(2):
        MessagePassing(model.parameters(), 60)
    MessagePassing(model.parameters(), 60, store=store)
    assert not changed(marginals(other), model)


def test_releasing_leaves_what_prior_and_messages_say(float64):
    """The precisions of a settled run, at the means where they are."""
    model, data = deep(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, epochs=4)
    train(propagate, model, data, 5)
    last = marginals(model)
    propagate.release()
    released = precisions(copy.deepcopy(model))
    assert all(name.endswith("precision") for name in changed(last, model))
    propagate.use_averaged_means()
    assert_close(precisions(model), released, rtol=0, atol=0)


def test_weights_that_are_loaded_have_no_surplus_left_to_take_out():
    """A trained state over a network that an optimizer has narrowed."""
    trained, model = deep(), deep()
    train(MessagePassing(trained.parameters(), 60, epochs=2), trained, three_classes(), 6)
    MessagePassing(model.parameters(), 60)
    model.load_state_dict(trained.state_dict())
    MessagePassing(model.parameters(), 60)
    assert not changed(marginals(trained), model)


def test_a_run_of_the_trainer_that_fails_leaves_no_surplus():
    model = deep()
    before = marginals(model)
    with pytest.raises(InvalidInput, match="labels must lie in"):
        Trainer(model, Softmax(), progress=False).fit([(torch.randn(4, 3), torch.arange(4))])
    assert not changed(before, model)


@pytest.mark.parametrize(("examples", "factor"), [(1, 1.0), (6, 0.5), (60, math.sqrt(1 / 40))])
def test_the_stores_own_rate_falls_where_a_pass_has_fewer_than_forty_batches(examples, factor):
    """sqrt(B / 40) with B = 60 / examples batches; a rate that the user gives is used as given."""
    x, y = three_classes(examples)
    for lr, expected in ((None, 0.4 * factor), (0.3, 0.3)):
        model = mlp()
        propagate = MessagePassing(model.parameters(), 60, lr=lr, epochs=None, report_every=1)
        sweep(propagate, model, Softmax(), x, y)
        assert propagate.report.rate == pytest.approx(expected)


def test_other_stores_keep_their_rate_of_one_however_few_batches_there_are():
    x, y = three_classes(6)
    model = mlp()
    propagate = MessagePassing(model.parameters(), 60, store=Filtering(), epochs=None, report_every=1)
    sweep(propagate, model, Softmax(), x, y)
    assert propagate.report.rate == 1.0
