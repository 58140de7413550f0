"""The step of a means sweep against its formula, written out in loops over steps without a shortcut."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.gaussian import Message
from torch_gbp.optim.schedule import LONGEST
from torch_gbp.optim.stores import AveragedSites
from torch_gbp.optim.stores.base import Run, Step
from torch_gbp.optim.stores.bounded import LEAST, LOOK, MEANS, MEMORY, NOISE, PEAK, RADIAL, _radial
from torch_gbp.weights.attached import attach
from torch_gbp.weights.priors import Prior
from torch_gbp.weights.sharing import Sharing

pytestmark = pytest.mark.usefixtures("float64")
BETA, TRUST, TAIL, BATCHES, POWER = 0.9, 16.0, 0.125, 50.0, 64.0


class Reference:
    """m, R, U, V and the average of the means of one weight tensor, as the docstrings of the two stores say."""

    def __init__(self, mean, prior, centre):
        self.m, self.r, self.prior, self.centre = mean.clone(), torch.full_like(mean[:1], prior), prior, centre
        self.u, self.v, self.known, self.t = torch.zeros_like(mean), torch.zeros_like(mean), 1.0, 0
        self.average, self.free = None, False

    def step(self, g, curvature, rate, depth, crowding, steady, progress, scheduled, weights):
        self.t += 1
        self.r = self.r + rate / BATCHES * (self.prior - self.r) + rate * POWER * curvature
        self.u = BETA * self.u + (1 - BETA) * g
        self.v = MEMORY * self.v + (1 - MEMORY) * g.square()
        u = POWER * self.u / (1 - BETA**self.t)
        longer = 1.0 if steady else (BATCHES / 32) ** ((2 - crowding) * min(1.0, max(0.0, 2 - weights / 8)))
        if not steady and not self.centre.any():
            longer *= (160 / BATCHES) ** (crowding - 1)
        share = (longer * min(1.0, MEANS * rate) / crowding / self.r).expand_as(u)
        if not steady:
            limit = NOISE * scheduled / PEAK * self.longer(progress, depth) / math.sqrt(max(1.0, depth))
            share = torch.minimum(share, limit * math.sqrt(1 - MEMORY**self.t) / (POWER * self.v.sqrt()))
        d = u * share
        length = (d.square() * self.r).sum(1, keepdim=True).sqrt()
        share = self.prior / self.r
        least = LEAST * min(1.0, weights)
        share = share if steady or self.centre.any() else share.clamp_min(least)
        patience = progress ** (crowding - 1) / math.sqrt(max(1.0, depth))
        if not steady and patience < 1 and self.t % LOOK == 1:
            self.free = self.invariant(g)
        if not steady and self.free and not self.centre.any():
            share = share ** (crowding - 1) * least ** (2 - crowding)
        pull = min(1.0, MEANS * rate) / crowding * share / BATCHES * (self.m - self.centre)
        if not steady and not self.free:
            pull = pull * patience
        scale = (min(2.0, TRUST / math.sqrt(BATCHES)) / length).clamp_max(1.0)
        self.m = self.m - pull + d * scale ** (1.0 if steady else crowding - 1)
        if self.t % 4 == 0:
            self.average = self.m if self.average is None else self.average
            self.average = self.average + (self.m - self.average) * min(1.0, 4 / (TAIL * self.t))

    def longer(self, progress, depth):
        steps, inputs = self.t / progress, self.m.shape[1]
        return 1.0 if self.centre.any() else max(1.0, min(4.0, 2000 / steps) * min(1.0, 64 / inputs) / max(0.2, depth))

    def invariant(self, g):
        along = sum(float(row @ weights) ** 2 for row, weights in zip(g, self.m, strict=True))
        most = sum(float(row @ row) * float(weights @ weights) for row, weights in zip(g, self.m, strict=True))
        return g.shape[1] * along < RADIAL * most


@pytest.mark.parametrize("directions", [False, True], ids=["lengths_matter", "at_first_directions_alone"])
@pytest.mark.parametrize("steady", [False, True], ids=["bounded", "steady"])
@pytest.mark.parametrize("centred", [False, True], ids=["around_zero", "around_the_start"])
@pytest.mark.parametrize(
    ("size", "depth", "crowding", "in_all", "weights"),
    [
        *[(1e-4, 0.5, 1.0, 40, 0.5), (1e-2, 4.0, 2.0, 40, 0.5), (10.0, 4.0, 1.0, 40, 5.0)],
        *[(0.1, 0.5, 1.0, 900, 12.0), (1e-2, 4.0, 1.3, 1600, 0.5), (0.1, 4.0, 1.0, 40, 20.0)],
    ],
)
def test_a_run_of_steps_is_that_of_the_formula(directions, steady, centred, size, depth, crowding, in_all, weights):
    layer = nn.Linear(4, 3)
    marginal = attach(layer, "weight", Prior(0.05, 0.0))
    if centred:
        marginal.set_prior_mean(layer.weight)
    centre = layer.weight.detach().clone() if centred else torch.zeros(3, 4)
    reference, store, state = Reference(layer.weight.detach(), 20.0, centre), AveragedSites(), {}
    for i in range(40):
        g, curvature = size * torch.randn(3, 4) * torch.tensor([1e-3, 1.0, 1.0, 30.0]), size**2 * torch.rand(1, 4)
        if directions and i < 20:
            m = reference.m
            g = g - m * (g * m).sum(1, keepdim=True) / m.square().sum(1, keepdim=True)
        rate, progress = 0.1 + 0.3 * torch.rand(()).item(), (i + 1) / in_all
        run = Run(depth, progress, in_all, crowding, weights)
        step = Step(rate, BATCHES, None, POWER, run, True, steady, 1.5 * rate)
        with torch.no_grad():
            store.commit(marginal, state, Message(g.clone(), curvature), step)
        reference.step(g, curvature, rate, depth, crowding, steady, progress, 1.5 * rate, weights)
        assert_close(layer.weight.detach(), reference.m, rtol=1e-9, atol=1e-12)
        assert_close(marginal.precision, reference.r, rtol=1e-12, atol=0)
    assert_close(state["average"], reference.average, rtol=1e-9, atol=1e-12)


def test_a_weight_that_nobody_speaks_to_stays_and_a_rate_of_0_moves_nothing():
    layer = nn.Linear(4, 3)
    marginal = attach(layer, "weight", Prior(0.05, 0.0), Sharing())
    marginal.set_prior_mean(layer.weight)
    before, store, state = layer.weight.detach().clone(), AveragedSites(), {}
    with torch.no_grad():
        store.commit(marginal, state, Message(torch.zeros(3, 4), torch.zeros(3, 4)), Step(0.4, BATCHES, probed=True))
        assert torch.equal(layer.weight, before)
        store.commit(marginal, state, Message(torch.ones(3, 4), torch.ones(3, 4)), Step(0.0, BATCHES, probed=True))
    assert torch.equal(layer.weight, before)


def test_a_score_far_above_the_usual_makes_no_step_beyond_the_bound():
    layer = nn.Linear(4, 3)
    marginal, store, state = attach(layer, "weight", Prior(0.05, 0.0), Sharing()), AveragedSites(trust_radius=math.inf), {}
    for size in [1e-3] * 100 + [1e3] + [1e-3] * 6:
        before = layer.weight.detach().clone()
        with torch.no_grad():
            store.commit(marginal, state, Message(torch.full((3, 4), size), torch.zeros(3, 4)), Step(0.4, 1e6, probed=True))
        assert (layer.weight.detach() - before).abs().max() <= LONGEST * NOISE * (1 + 1e-6)


def far_beyond_the_trust_region(step, precision=1e6):
    """The means after a step from 0, where nothing is pulled, with scores of 1e9."""
    layer = nn.Linear(100, 2)
    marginal = attach(layer, "weight", Prior(0.05, 0.0), Sharing())
    layer.weight.detach().zero_()
    marginal.precision.fill_(precision)
    with torch.no_grad():
        AveragedSites().commit(marginal, {}, Message(torch.full((2, 100), 1e9), torch.zeros(2, 100)), step)
    return layer.weight.detach()


@pytest.mark.parametrize("crowding", [1.0, 1.5, 2.0])
def test_the_trust_region_acts_by_as_much_as_weights_outnumber_examples(crowding):
    moved = far_beyond_the_trust_region(Step(0.4, 1600, run=Run(crowding=crowding, steps=1e6), probed=True))
    share = TRUST / math.sqrt(1600) / (NOISE * math.sqrt(100 * 1e6))  # D / |d|, of steps at their bound
    assert share < 0.1
    assert_close(moved, torch.full((2, 100), NOISE * share ** (crowding - 1)), rtol=1e-3, atol=0)


def test_the_trust_region_acts_in_full_where_curvature_is_constant():
    moved = far_beyond_the_trust_region(Step(0.4, 1600, probed=True, steady=True))
    wanted = TRUST / math.sqrt(1600) / math.sqrt(100 * 1e6)  # D over the root of the sum of precisions
    assert_close(moved, torch.full((2, 100), wanted), rtol=1e-3, atol=0)


def test_a_likelihood_that_wants_less_for_few_batches_gets_it_of_the_newton_step_alone():
    layer = gbp.from_torch(nn.Linear(3, 2))
    optimizer = gbp.configure_optimizers(layer, 20, epochs=1)
    gbp.Softmax()(layer(torch.randn(10, 3)), torch.arange(10) % 2).backward()
    step = optimizer._step_of(optimizer.param_groups[0], 10, own_rate=True)
    assert step.rate == pytest.approx(step.scheduled * math.sqrt(2 / 40))


def test_the_prior_pulls_by_its_share_of_the_precision_however_noisy_the_scores():
    layer = nn.Linear(4, 3)
    marginal, store = attach(layer, "weight", Prior(0.05, 0.0), Sharing()), AveragedSites(trust_radius=math.inf)
    before, state, step = layer.weight.detach().clone(), {}, Step(0.4, BATCHES, probed=True, run=Run(steps=1))
    with torch.no_grad():
        marginal.precision.mul_(4)
        store.commit(marginal, state, Message(torch.full((3, 4), 1e9), torch.zeros(3, 4)), step)
    share = min(1.0, MEANS * 0.4) * 20.0 / BATCHES / marginal.precision
    assert_close(layer.weight.detach(), before * (1 - share) + LONGEST * NOISE, rtol=1e-9, atol=0)


def test_likelihoods_with_constant_curvature_are_steady():
    steady = {name for name in gbp.__all__ if getattr(getattr(gbp, name), "steady", False) is True}
    assert steady == {"Regression", "OneHotRegression"}
    output = torch.randn(5, 3)
    for likelihood in (gbp.Regression(0.3), gbp.OneHotRegression()):
        targets = [output + far for far in (0.0, 5.0)] if isinstance(likelihood, gbp.Regression) else [torch.arange(5) % 3] * 2
        near, far = (likelihood.evidence(output, torch.zeros_like(output), y).precision for y in targets)
        assert torch.equal(near, far)


def test_before_a_normalisation_scores_do_not_lie_along_the_weights_but_before_a_rectifier_they_do():
    x, found = torch.randn(64, 3, 6, 6) + 0.5, []
    for after in (nn.BatchNorm2d(8), nn.Identity()):
        convolution = nn.Conv2d(3, 8, 3, bias=False)
        model = nn.Sequential(convolution, after, nn.ReLU(), nn.Flatten(), nn.Linear(128, 4))
        nn.functional.cross_entropy(model(x), torch.arange(64) % 4).backward()
        found.append(float(_radial(convolution.weight.grad.flatten(1), convolution.weight.detach().flatten(1))))
    assert found[0] < RADIAL / 10 and found[1] > RADIAL
    assert _radial(torch.zeros(3, 4), torch.ones(3, 4)) == 1.0


def test_the_prior_pulls_weights_whose_length_matters_with_patience_and_others_at_once():
    pulls = {}
    for name, direction in (("length", (1.0, 1.0)), ("direction", (1.0, -1.0))):
        layer = nn.Linear(2, 1)
        with torch.no_grad():
            layer.weight.fill_(1.0)
            marginal, store, state = attach(layer, "weight", Prior(0.05, 0.0), Sharing()), AveragedSites(), {}
            step = Step(0.4, BATCHES, run=Run(depth=5.0, progress=0.5, crowding=2.0), probed=True)
            store.commit(marginal, state, Message(1e-30 * torch.tensor([direction]), torch.zeros(1, 2)), step)
        pulls[name] = float(1 - layer.weight.detach().mean())
    assert pulls["length"] == pytest.approx(pulls["direction"] * 0.5 / math.sqrt(5), rel=1e-2)


@pytest.mark.parametrize(("crowding", "shares"), [(1.0, [0.2, 0.2]), (1.5, [0.2**0.5, 0.2]), (2.0, [1.0, 0.2])])
def test_directions_of_many_examples_are_pulled_alike_and_unknown_ones_of_few_are_given_up(crowding, shares):
    """The first weight has the prior's precision, the second a thousand times as much."""
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        marginal, store, state = attach(layer, "weight", Prior(0.05, 0.0), Sharing()), AveragedSites(), {}
        marginal.precision[:, 1] *= 1e3
        run = Run(depth=5.0, steps=90 * BATCHES, crowding=crowding, weights=4.0)
        store.commit(
            marginal,
            state,
            Message(1e-30 * torch.tensor([[1.0, -1.0]]), torch.zeros(1, 2)),
            Step(0.4, BATCHES, run=run, probed=True),
        )
    pulled = [share / crowding / BATCHES for share in shares]
    assert_close(1 - layer.weight.detach()[0], torch.tensor(pulled), rtol=1e-2, atol=0)


def test_the_optimizer_tells_how_many_weights_there_are_for_an_example(monkeypatch):
    model, told = gbp.from_torch(nn.Linear(4, 3), fresh=True), []
    optimizer = gbp.configure_optimizers(model, 6, epochs=1)
    monkeypatch.setattr(optimizer.store, "commit_all", lambda entries: told.extend(entry.step for entry in entries))
    gbp.Softmax()(model(torch.randn(2, 4)), torch.tensor([0, 2])).backward()
    optimizer.step()
    assert [step.run.weights for step in told] == [12 / 6]


@pytest.mark.parametrize(("run", "factor"), [(125, 0.25), (500, 1.0), (9000, 1.0)])
def test_weights_that_are_the_centre_of_their_prior_make_shorter_steps_in_short_runs(run, factor):
    steps = []
    for as_prior in (False, True):
        layer = gbp.from_torch(nn.Linear(8, 2), as_prior=as_prior)
        own, before = gbp.marginals(layer)["weight"], layer.weight.detach().clone()
        step = Step(0.1, 1e6, run=Run(steps=run), probed=True, scheduled=0.4)
        with torch.no_grad():
            AveragedSites(trust_radius=math.inf).commit(own, {}, Message(torch.full((2, 8), 1e9), torch.zeros(1, 8)), step)
        steps.append(layer.weight.detach() - before)
    assert_close(steps[1], factor * steps[0], rtol=1e-2, atol=1e-9)  # the prior's pull is another


def test_plain_parameters_of_such_a_network_do_likewise():
    rates = []
    for as_prior in (False, True):
        model = gbp.from_torch(nn.Linear(3, 2), as_prior=as_prior)
        optimizer = gbp.configure_optimizers(model, 60, epochs=10)
        gbp.Softmax()(model(torch.randn(6, 3)), torch.arange(6) % 2).backward()
        optimizer.step()
        rates.append(optimizer._plain.optimizer.param_groups[0]["lr"])
    assert rates[1] == pytest.approx(rates[0] * 100 / 500)
