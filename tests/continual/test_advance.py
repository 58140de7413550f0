"""Posteriors that become priors: two halves of the data are the whole, and what nobody spoke to stays as it was."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers import changed, marginals, mlp, sweep, three_classes
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput

NOISE, PRIOR = 0.3, 0.8


class Known(gbp.Regression):
    """Known noise, whose probes have the size that they have on average: the curvature of a means sweep is exact then."""

    def probe(self, output, generator):
        return torch.full_like(output, float(self.noise_variance) ** -0.5)


def joint(x, y, mean=0.0):
    """Mean and variance of one weight from all data, by Bayes' rule: x (n, 1), y (n, 1)."""
    precision = 1 / PRIOR + float((x * x).sum()) / NOISE
    return (mean / PRIOR + float((x * y).sum()) / NOISE) / precision, 1 / precision


def close(found, wanted):
    """The same belief, but for rounding."""
    assert_close([found.mean, found.variance], [wanted.mean, wanted.variance])


def one_weight():
    return gbp.GBPLinear(1, 1, bias=False, prior=gbp.Prior(variance=PRIOR), covariance="diagonal")


def stores():
    return {"filtering": gbp.Filtering(), "batch sites": gbp.BatchSites()}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", stores())
@pytest.mark.parametrize("goes_on", [True, False], ids=["the same optimizer", "another optimizer"])
def test_two_halves_one_after_the_other_give_the_joint_posterior(name, goes_on):
    """A linear-Gaussian model, one example at a time: messages do not depend on anybody else's marginal."""
    x, y, layer = torch.randn(8, 1), torch.randn(8, 1), one_weight()
    inference = gbp.Inference(2, schedule=gbp.ExampleByExample())
    optimizer = None
    for half in range(2):
        if optimizer is None or not goes_on:
            optimizer = gbp.MessagePassing(layer.parameters(), num_data=4, epochs=None, store=stores()[name])
        for epoch in range(3 if name == "batch sites" else 1):
            for batch in range(2):
                rows = slice(4 * half + 2 * batch, 4 * half + 2 * batch + 2)
                with optimizer.visit(batch, x[rows], y[rows]):
                    inference(layer, gbp.Regression(NOISE), optimizer, x[rows], y[rows], epoch)
        gbp.advance(layer, optimizer if goes_on else None)
    mean, variance = joint(x, y)
    assert_close(layer.weight.belief().mean.item(), mean, rtol=1e-10, atol=1e-12)
    assert_close(layer.weight.belief().variance.item(), variance, rtol=1e-10, atol=0)
    close(layer.weight.prior_message().belief(), layer.weight.belief())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("passes", [1, 3])
def test_an_average_site_counts_for_what_it_would_be_when_all_was_heard(passes):
    """After few passes it is but a part of the sum over the data; advance makes it whole: R0 + n / noise for inputs +-1."""
    torch.manual_seed(0)
    network = gbp.from_torch(nn.Linear(1, 1, bias=False), fresh=True, prior=gbp.Prior(variance=PRIOR), covariance="diagonal")
    x, likelihood = torch.randn(20, 1).sign(), Known(NOISE)
    for task in range(1, 3):
        optimizer = gbp.configure_optimizers(network, 20, epochs=passes)
        for _ in range(passes):
            for i in range(20):
                sweep(optimizer, network, likelihood, x[i : i + 1], x[i : i + 1])
        (own,) = gbp.marginals(network).values()
        assert 0.1 < optimizer.heard(own) < 0.9 and own.precision.item() < 1 / PRIOR + (task - 0.1) * 20 / NOISE
        gbp.advance(network, optimizer)
        assert_close(own.prior_precision.item(), 1 / PRIOR + task * 20 / NOISE, rtol=1e-10, atol=0)
        assert optimizer.heard(own) == 1.0


def trained(model=None, epochs=2, **settings):
    torch.manual_seed(0)
    model = mlp() if model is None else model
    x, y = three_classes()
    optimizer = gbp.configure_optimizers(model, len(x), epochs=epochs, **settings)
    for _ in range(epochs):
        for rows in torch.arange(len(x)).split(10):
            sweep(optimizer, model, gbp.Softmax(), x[rows], y[rows])
    return model, optimizer, x, y


def test_means_and_predictions_stay_and_the_prior_is_where_they_are():
    model, _, _, _ = trained()
    before = {name: copy.deepcopy(own.belief()) for name, own in gbp.marginals(model).items()}
    gbp.advance(model)  # without the optimizer precisions are taken as they are
    for name, own in gbp.marginals(model).items():
        close(own.belief(), before[name])
        assert_close(own.prior_message().belief().mean, before[name].mean)
        assert own.prior_precision.shape == own.precision.shape


def converted():
    return gbp.from_torch(nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3)), fresh=True)


@pytest.mark.filterwarnings("ignore::torch_gbp.errors.NotLearning")  # held where they are, weights cannot
@pytest.mark.parametrize("make", [mlp, converted], ids=["moment sweep", "means sweep"])
def test_old_tasks_hold_the_means_and_strength_holds_them_more(make):
    moved = []
    for strength in (1.0, 10.0, 100.0):
        torch.manual_seed(0)  # the same start and data for all
        model, optimizer, x, y = trained(make())
        gbp.advance(model, optimizer, strength=strength, plain="freeze")
        before = {name: own.mean.detach().clone() for name, own in gbp.marginals(model).items()}
        for rows in torch.arange(len(x)).split(10) * 4:
            sweep(optimizer, model, gbp.Softmax(), x[rows], (y[rows] + 1) % 3)
        moved.append(sum(float((own.mean.detach() - before[name]).square().sum()) for name, own in gbp.marginals(model).items()))
    assert moved[0] > moved[1] > moved[2]


@pytest.mark.usefixtures("float64")
def test_drift_leads_variances_to_the_first_priors_and_leaves_means():
    model, _, _, _ = trained()
    before = {name: copy.deepcopy(own.belief()) for name, own in gbp.marginals(model).items()}
    gbp.advance(model, drift=0.25)
    for name, own in gbp.marginals(model).items():
        mean, variance = before[name]
        assert_close(own.belief().mean, mean)
        assert_close(own.belief().variance, 0.75 * variance + 0.25 * own.prior.width)
    gbp.advance(model, drift=1.0)
    for own in gbp.marginals(model).values():
        assert_close(own.prior_precision, torch.full_like(own.prior_precision, 1 / own.prior.width))


def test_weights_that_no_example_reached_keep_their_prior():
    """A head that was not asked, and inputs that are always 0: the random start says nothing, so it is no prior mean."""
    heads = nn.ModuleList([mlp(), mlp()])
    x, y = three_classes()
    x[:, 2] = 0
    optimizer = gbp.MessagePassing(heads.parameters(), num_data=len(x), epochs=1)
    for rows in torch.arange(len(x)).split(10):
        sweep(optimizer, heads[0], gbp.Softmax(), x[rows], y[rows])
    start = heads[1][0].weight.mean.clone()
    gbp.advance(heads, optimizer)
    assert torch.equal(heads[1][0].weight.mean, start)
    assert all(own.prior_mean is None and own.prior_precision == 1 / own.prior.width for own in gbp.marginals(heads[1]).values())
    weight = heads[0][0].weight
    assert (weight.prior_mean[:, 2] == 0).all() and (weight.prior_mean[:, :2] == weight.mean[:, :2]).all()
    assert_close(weight.prior_precision[0, 2].item(), 1 / weight.prior.width)


def test_no_surplus_of_precision_stays_in_a_prior():
    """An optimizer that anneals was cut short."""
    x, y = three_classes()
    deep = nn.Sequential(*(layer for _ in range(6) for layer in (gbp.GBPLinear(3, 3), gbp.GBPLeakyReLU(0.1))))
    optimizer = gbp.MessagePassing(deep.parameters(), num_data=len(x), epochs=100)
    sweep(optimizer, deep, gbp.Softmax(), x[:10], y[:10])
    own = deep[0].weight
    assert own.surplus > own.floor.mean()
    rest = own.without_surplus().clone()
    gbp.advance(deep)
    assert own.surplus == 0 and (own.precision == rest).all()
    gbp.MessagePassing(deep.parameters(), num_data=len(x))
    assert own.surplus == 0  # the next optimizer takes nothing for a start


def test_a_saved_network_goes_on_as_if_it_had_not_been_saved():
    model, optimizer, x, y = trained()
    gbp.advance(model, optimizer)
    other = mlp()
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    runs = []
    for network in (model, other):
        torch.manual_seed(1)
        passing = gbp.MessagePassing(network.parameters(), num_data=60, epochs=1)
        for rows in torch.arange(60).split(20):
            sweep(passing, network, gbp.Softmax(), x[rows], y[rows])
        gbp.advance(network, passing)
        runs.append(marginals(network))
    assert runs[0].keys() == runs[1].keys() and all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_a_saved_optimizer_knows_what_its_sites_have_heard():
    model, optimizer, _, _ = trained()
    other = gbp.configure_optimizers(model, 60)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    own = optimizer.marginals[0]
    assert other.heard(other.marginals[0]) == optimizer.heard(own) < 0.6
    assert other.heard(gbp.GBPLinear(2, 1).weight) == 1.0  # not its own


def test_groups_of_other_rates_have_heard_other_shares():
    network = mlp()
    layers = [layer for layer in network if isinstance(layer, gbp.GBPLinear)]
    groups = [{"params": layer.parameters(), "lr": lr} for layer, lr in zip(layers, (0.1, 0.4, 0.4), strict=False)]
    optimizer, x, y = gbp.MessagePassing(groups, num_data=60, epochs=None), torch.randn(60, 3), torch.arange(60) % 3
    for rows in torch.arange(60).split(20):
        sweep(optimizer, network, gbp.Softmax(), x[rows], y[rows])
    shares = [optimizer.heard(layer.weight) for layer in layers[:2]]
    assert shares == pytest.approx([1 - (1 - 0.1 / 3) ** 3, 1 - (1 - 0.4 / 3) ** 3])
    old = optimizer.state_dict() | {"unheard": 0.7}  # as an earlier version saved it
    optimizer.load_state_dict(copy.deepcopy(old))
    assert optimizer.heard(layers[1].weight) == pytest.approx(0.3)


def test_the_optimizer_begins_anew_with_its_own_schedule():
    model, optimizer, _, _ = trained(converted())
    gbp.advance(model, optimizer, plain="learn", num_data=40)
    group = optimizer.param_groups[0]
    assert (group["steps"], group["examples_seen"], group["num_data"], optimizer.heard(optimizer.marginals[0])) == (0, 0, 40, 1.0)
    assert not any(optimizer.state.values())


def test_plain_parameters_are_frozen_or_learn_on_as_was_said():
    make = lambda: gbp.from_torch(nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)), fresh=True)  # noqa: E731
    model, optimizer, x, _ = trained(make())
    with pytest.raises(InvalidInput, match="4 parameters have no posterior"):
        gbp.advance(model, optimizer)
    assert gbp.advance(model, optimizer, plain="learn")[1].weight.requires_grad
    gbp.advance(model, optimizer, plain="freeze")
    before = model[1].running_mean.clone()
    model.train()(x)
    assert torch.equal(model[1].running_mean, before)
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learning == ["0.weight", "2.weight"]


def test_frozen_marginals_stay_what_they_are():
    model, *_ = trained()
    model[0].requires_grad_(False)
    before = marginals(model[0])
    gbp.advance(model)
    assert not changed(before, model[0])


def test_what_cannot_be_is_refused_before_anything_changes():
    model, optimizer, *_ = trained()
    before = marginals(model)
    other = trained()[1]
    bad: list[tuple[dict, str]] = [
        ({"drift": 1.5}, "drift"),
        ({"drift": math.nan}, "drift"),
        ({"strength": 0.0}, "strength"),
        ({"strength": -1}, "strength"),
        ({"strength": 1e300}, "strength"),
        ({"plain": "drop"}, "plain"),
        ({"optimizer": "adam"}, "optimizer"),
        ({"optimizer": other}, "another network"),
        ({"optimizer": optimizer, "num_data": 0}, "num_data"),
        ({"num_data": 5}, "optimizer"),
        ({"model": nn.Linear(2, 2)}, "no marginals"),
        ({"model": 3}, "model"),
        ({"model": mlp(prior=gbp.LaplacePrior())}, "LaplacePrior"),
    ]
    for arguments, what in bad:
        with pytest.raises(InvalidInput, match=what):
            gbp.advance(**{"model": model, **arguments})
    assert not changed(before, model)


def test_an_optimizer_that_was_not_told_is_refused_at_its_next_step():
    model, optimizer, x, y = trained()
    gbp.advance(model)
    with pytest.raises(InvalidInput, match="would count twice"):
        sweep(optimizer, model, gbp.Softmax(), x[:10], y[:10])


def test_one_variance_for_a_layer_cannot_take_the_place_of_a_posterior():
    model, optimizer, x, y = trained()
    gbp.advance(model, optimizer)
    sweep(optimizer, model, gbp.Softmax(), x[:10], y[:10])
    with pytest.raises(InvalidInput, match="posteriors of earlier tasks"):
        optimizer.learn_priors()


@pytest.mark.parametrize(
    "prior", [gbp.Prior(), gbp.Prior(mean="start"), gbp.Prior(mean=0.1)], ids=["at 0", "at the start", "given"]
)
def test_a_reset_goes_back_to_the_last_task(prior):
    model, optimizer, x, y = trained(mlp(prior=prior))
    gbp.advance(model, optimizer)
    before = copy.deepcopy(model[0].weight.belief())
    sweep(optimizer, model, gbp.Softmax(), x[:10], y[:10])
    model[0].reset_parameters()
    close(model[0].weight.belief(), before)
