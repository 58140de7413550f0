"""Visits of iterated inference: one sweep is the plain loop, nothing is left behind, learned noise, what is refused."""

import pytest
import torch
from helpers import changed, lenet, marginals, mlp, run, sweep, three_classes, visit, wide
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp
from torch_gbp import BatchSites, ExampleByExample, GBPLinear, Inference, MessagePassing, OneHotRegression, Regression, memory
from torch_gbp.errors import Diverged, ImproperMarginal, InvalidInput, NotLearning, OutOfMemory
from torch_gbp.factors import max_pool
from torch_gbp.likelihoods.noise import expected_square
from torch_gbp.optim.stores import Step

pytestmark = pytest.mark.usefixtures("float64")
SCHEDULES = {"all at once": Inference(3, damping=0.5), "example by example": Inference(3, schedule=ExampleByExample())}
each_schedule = pytest.mark.parametrize("inference", SCHEDULES.values(), ids=SCHEDULES)


@pytest.mark.parametrize("store", [None, BatchSites()], ids=["averaged", "batch"])
def test_one_parallel_iteration_is_the_plain_loop_bit_for_bit(store):
    x, y = three_classes()
    plain, told = mlp(), mlp()
    told.load_state_dict(plain.state_dict())
    for model in (plain, told):
        propagate = MessagePassing(model.parameters(), 60, epochs=2, store=store)
        for batch in (0, 1, 0):
            part = slice(30 * batch, 30 * batch + 30)
            with propagate.visit(batch, x[part], y[part]):
                if model is plain:
                    sweep(propagate, model, gbp.Softmax(), x[part], y[part])
                else:
                    Inference()(model, gbp.Softmax(), propagate, x[part], y[part])
    assert changed(marginals(plain), told) == []


@each_schedule
@pytest.mark.parametrize("at", [2, 3])
def test_failure_between_inner_sweeps_leaves_the_marginals_as_they_were(inference, at):
    model, (x, y) = mlp(covariance="diagonal"), three_classes(12)
    likelihood = OneHotRegression(0.5, power=1)
    propagate = run(model, likelihood, inference, x, y, 4, 1)
    before, calls, evidence = marginals(model), [], likelihood.evidence

    def failing(*arguments):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return evidence(*arguments)

    likelihood.evidence = failing
    with pytest.raises(KeyboardInterrupt):
        visit(propagate, inference, model, likelihood, 0, x[:4], y[:4])
    assert changed(before, model) == []


@each_schedule
@pytest.mark.parametrize("store", [gbp.AveragedSites(), BatchSites(), gbp.Filtering()], ids=lambda store: type(store).__name__)
def test_messages_that_are_not_finite_leave_the_marginals_as_they_were(inference, store):
    model, (x, y) = mlp(covariance="diagonal"), three_classes(12)
    likelihood = OneHotRegression(0.5, power=1)
    propagate, before = MessagePassing(model.named_parameters(), 12, store=store), marginals(model)
    evidence = likelihood.evidence
    likelihood.evidence = lambda *arguments: evidence(*arguments)._replace(score=torch.full((len(arguments[2]), 3), torch.nan))
    with pytest.raises((ImproperMarginal, Diverged), match=r"(?i)nan"):
        visit(propagate, inference, model, likelihood, 0, x, y)
    assert changed(before, model) == []


def test_a_diverging_iteration_is_found_and_leaves_the_marginals_as_they_were():
    """All examples of a batch answer at once: undamped and at Bayes' rule they overshoot further with every sweep."""
    x = torch.linspace(-1.0, 1.0, 40)[:, None]
    model = nn.Sequential(wide(1, 16), gbp.GBPLeakyReLU(0.1), wide(16, 1))
    propagate, before = MessagePassing(model.named_parameters(), 40, store=BatchSites()), marginals(model)
    with pytest.raises(
        Diverged, match=r"energy diverged in iteration \d+, most of it in layer 2.*Way out: use damping 0\.5 .*smaller batches"
    ):
        visit(propagate, Inference(40), model, Regression(0.01), 0, x, torch.sin(3 * x))
    assert changed(before, model) == []
    visit(propagate, Inference(1000, damping=0.95), model, Regression(0.01), 0, x, torch.sin(3 * x))
    assert (model(x).mean - torch.sin(3 * x)).square().mean().sqrt() < 0.2


def test_a_visit_that_overshoots_but_does_not_run_away_in_time_is_warned_of():
    """24 sweeps are too few for the energy to be out of bounds: the network is far off its own targets all the same."""
    x = torch.linspace(-1.0, 1.0, 40)[:, None]
    model = nn.Sequential(wide(1, 16), gbp.GBPLeakyReLU(0.1), wide(16, 1))
    propagate = MessagePassing(model.named_parameters(), 40, store=BatchSites())
    told = r"worse at its own targets.*gain in log evidence of -.*Way out: damp the first messages too, damping=Damping\(0\.9\)"
    with pytest.warns(NotLearning, match=told):
        visit(propagate, Inference(24, damping=0.5), model, Regression(0.01), 0, x, torch.sin(3 * x))
    assert (model(x).mean - torch.sin(3 * x)).square().mean().sqrt() > 10


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_distance_is_told_in_prior_deviations_on_either_side(sign):
    """Prior N(0, 1), evidence of precision 3 that alone would put the mean at 8 or -8: together at 6 or -6."""
    weight = GBPLinear(2, 1, prior=gbp.Prior(variance=1.0), covariance="diagonal").weight
    weight.mean.data.zero_()
    message = gbp.Message(torch.tensor([[sign * 24.0, 0.0]]), torch.full((1, 2), 3.0))
    with torch.no_grad():
        found = BatchSites().distance(weight, {"sites": {}}, message, Step(rate=1.0, batches=1.0, batch=0))
    assert found == pytest.approx(6.0)


@each_schedule
def test_nothing_of_a_visit_is_kept_but_its_sites(inference):
    """The same visit twice, from the same marginals, sites and random numbers, ends in the same marginals."""
    model, (x, y) = mlp(covariance="diagonal"), three_classes(12)
    likelihood = OneHotRegression(0.5, power=1)
    propagate = MessagePassing(model.parameters(), 12, store=gbp.Filtering(), epochs=None)
    start, results = marginals(model), []
    for _ in range(2):
        model.load_state_dict(start)
        torch.manual_seed(3)
        visit(propagate, inference, model, likelihood, 0, x, y)
        results.append(marginals(model))
    assert results[0].keys() == results[1].keys() and changed(results[0], model) == []


@each_schedule
@pytest.mark.parametrize("shared", [False, True])
def test_rebuild_equals_the_running_marginal(inference, shared):
    model, (x, y) = mlp(covariance="shared" if shared else "diagonal"), three_classes(12)
    propagate = run(model, OneHotRegression(0.5, power=1), inference, x, y, 4, 3)
    running = marginals(model)
    propagate.rebuild()
    for name, value in model.state_dict().items():
        assert_close(value, running[name], rtol=1e-10, atol=1e-10)
    assert all((p.precision >= p.prior_precision).all() for layer in (model[0], model[2]) for p in (layer.weight, layer.bias))


def test_trainer_runs_the_published_schedule_on_a_convolution_free_pool():
    """Max-pool in its EP form and flatten between the layers; sequential order from the Trainer."""
    x, y = torch.randn(24, 1, 4, 4), torch.arange(24) % 3
    x[torch.arange(24), 0, y] += 2.0
    pool = gbp.GBPMaxPool2d(2, rule=max_pool.EP)
    model = nn.Sequential(
        nn.Flatten(), wide(16, 16), nn.Unflatten(1, (1, 4, 4)), pool, nn.Flatten(), gbp.GBPLeakyReLU(0.1), wide(4, 3)
    )
    inference = Inference(gbp.thesis_iterations(4), gbp.thesis_rate, schedule=ExampleByExample())
    batches = DataLoader(gbp.FixedBatches(TensorDataset(x, y), 8), batch_size=None, shuffle=True)
    trainer = gbp.Trainer(
        model, OneHotRegression(0.1, power=1), epochs=4, store=BatchSites(), inference=inference, progress=False
    )
    history = trainer.fit(batches)
    assert history[-1].log_evidence > history[0].log_evidence
    assert trainer.evaluate([(x, y)]).accuracy > 0.8
    assert trainer.optimizer.param_groups[0]["lr"] == gbp.thesis_rate(4)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Inference(0), "iterations must be an integer, at least 1"),
        (lambda: Inference(()), "iterations must be an integer, at least 1"),
        (lambda: Inference(damping=1.0), "damping must be in"),
    ],
)
def test_impossible_settings_are_refused(make, match):
    with pytest.raises(InvalidInput, match=match):
        make()


@pytest.mark.parametrize(
    ("inference", "likelihood", "match"),
    [
        (Inference(2, damping=0.5, schedule=ExampleByExample()), OneHotRegression(power=1), "undamped"),
        (Inference(schedule=ExampleByExample()), OneHotRegression(), "power of 1"),
        (Inference(approximation="linearised", schedule=ExampleByExample()), OneHotRegression(power=1), "no other approximation"),
    ],
)
def test_the_sequential_order_says_what_it_needs(inference, likelihood, match):
    model, (x, y) = mlp(), three_classes(12)
    before, propagate = marginals(model), MessagePassing(model.parameters(), 12, store=BatchSites())
    with pytest.raises(InvalidInput, match=match):
        visit(propagate, inference, model, likelihood, 0, x, y)
    assert changed(before, model) == []


def test_messages_of_a_batch_that_do_not_fit_are_refused(monkeypatch):
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, store=BatchSites())
    monkeypatch.setattr(memory, "available_memory", lambda device: 1000)
    with pytest.raises(OutOfMemory, match=r"messages of 60 examples do not fit into memory.*smaller batches"):
        visit(propagate, Inference(schedule=ExampleByExample()), model, OneHotRegression(power=1), 0, x, y)


def test_a_layer_used_twice_in_a_sweep_is_refused():
    inner = wide(3, 3)
    model, (x, y) = nn.Sequential(wide(3, 3), inner, inner), three_classes(12)
    propagate = MessagePassing(model.parameters(), 12, store=BatchSites())
    with pytest.raises(InvalidInput, match="twice in one sweep"):
        visit(propagate, Inference(2), model, OneHotRegression(power=1), 0, x, y)


@each_schedule
def test_convolutions_iterate_in_both_orders(inference):
    model, x, y = lenet(), torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    propagate = MessagePassing(model.parameters(), 6, store=BatchSites(), lr=0.1, epochs=None)
    before, likelihood = marginals(model), OneHotRegression(0.5, power=1)
    visit(propagate, inference, model, likelihood, 0, x, y)
    assert len(changed(before, model)) == 8


@each_schedule
def test_a_kernel_as_large_as_the_image_is_a_linear_layer(inference):
    """Same marginals, seeds and batches: the convolution's one position speaks as the layer's row does."""
    x, y = torch.randn(9, 2, 3, 3), torch.arange(9) % 3
    linear, kernel = wide(18, 3), gbp.GBPConv2d(2, 3, 3, prior=gbp.Prior(variance=1.0), covariance="diagonal")
    kernel.weight.set_prior_mean(linear.weight.mean.detach().view(3, 2, 3, 3))
    for layer in (linear, kernel):
        torch.manual_seed(5)
        model = nn.Sequential(*(nn.Flatten(), layer) if layer is linear else (layer, nn.Flatten()))
        run(model, OneHotRegression(0.5, power=1), inference, x, y, 3, 2)
    for part in ("mean", "precision"):
        assert_close(getattr(kernel.weight, part).flatten(1), getattr(linear.weight, part), rtol=1e-10, atol=1e-12)
        assert_close(getattr(kernel.bias, part), getattr(linear.bias, part), rtol=1e-10, atol=1e-12)


STORES = {"averaged": gbp.AveragedSites, "batch": BatchSites, "filtering": gbp.Filtering}


@each_schedule
@pytest.mark.parametrize("make", STORES.values(), ids=STORES)
def test_noise_is_learned_from_weights_that_know_the_targets_once(inference, make):
    """After the visit for stores of cavities (rate 1), before it for the averaged sites, which hold the whole data set."""
    model, x, y = mlp(3, 4, 1, covariance="diagonal"), torch.randn(6, 3), torch.randn(6, 1)
    likelihood = Regression(0.6, learn_noise=True)
    propagate = MessagePassing(model.parameters(), 12, lr=1.0, epochs=None, store=make())
    before = expected_square(*model(x).detach(), y)
    visit(propagate, inference, model, likelihood, 0, x, y)
    expected = expected_square(*model(x).detach(), y) if propagate.store.cavity else before
    assert_close(likelihood.noise_variance.double(), 0.5 * 0.6 + 0.5 * expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("inference", [Inference(20, damping=0.7), SCHEDULES["example by example"]], ids=SCHEDULES)
def test_a_linear_layer_learns_the_noise_of_most_evidence(inference):
    """Orthogonal inputs, where factorised marginals lose nothing; all data in one batch, whose cavity is the prior."""
    x = torch.linalg.qr(torch.randn(60, 4))[0] * 60**0.5
    y = x @ torch.randn(4, 1) + 0.3**0.5 * torch.randn(60, 1)
    residual = (y - x @ (x.T @ y / 60)).square().sum() / (60 - 4)  # the maximum of the evidence for a wide prior
    model = GBPLinear(4, 1, bias=False, prior=gbp.Prior(variance=100.0), covariance="diagonal")
    likelihood = Regression(2.0, learn_noise=True)
    run(model, likelihood, inference, x, y, 60, 6)
    assert_close(likelihood.noise_variance.double(), residual, rtol=0.03, atol=0)
