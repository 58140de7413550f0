"""Iterated inference: exact on trees, the right fixed point on loops, one sweep is the plain loop, nothing left behind."""

import pytest
import torch
from helpers import changed, lenet, marginals, mlp, sweep, three_classes
from oracle import condition
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp
from torch_gbp import BatchSites, GBPLinear, Inference, MessagePassing, OneHotRegression, Parallel, Regression, Sequential
from torch_gbp.errors import ImproperMarginal, InvalidInput, MissingRule, OutOfMemory
from torch_gbp.memory import NO_MEMORY, ExactMemory
from torch_gbp.rules import max_pool
from torch_gbp.stores import batch_sites

pytestmark = pytest.mark.usefixtures("float64")
NOISE = 0.3
ORDERS = {"parallel": Inference(3, damping=0.5), "sequential": Inference(3, order=Sequential())}
each_order = pytest.mark.parametrize("inference", ORDERS.values(), ids=ORDERS)


def wide(*size, **options):
    return GBPLinear(*size, prior_variance=1.0, shared_precision=False, **options)


def visit(propagate, inference, model, likelihood, batch, x, y, epoch=1):
    with propagate.visit(batch, x, y):
        return inference(model, likelihood, propagate, x, y, epoch)


def run(model, likelihood, inference, x, y, size, passes, store=None):
    """Visits fixed batches pass by pass."""
    propagate = MessagePassing(model.parameters(), len(x), store=store or BatchSites(), epochs=None)
    for epoch in range(1, passes + 1):
        for batch, part in enumerate(torch.arange(len(x)).split(size)):
            visit(propagate, inference, model, likelihood, batch, x[part], y[part], epoch)
    return propagate


def joined(layer):
    """Means and variances of a layer's weights and biases, one row an output."""
    beliefs = [layer.weight.belief(), layer.bias.belief()]
    return [
        torch.cat([getattr(b, moment).reshape(len(layer.bias.mean), -1) for b in beliefs], 1) for moment in ("mean", "variance")
    ]


def regression(n, features, outputs=2):
    x = torch.randn(n, features)
    return x, x @ torch.randn(features, outputs) + NOISE**0.5 * torch.randn(n, outputs)


def ridge(mean, variance, x, y):
    """Posterior means of Bayesian linear regression, one row an output."""
    design, answers = torch.cat([x, torch.ones(len(x), 1)], 1), []
    for m, v, target in zip(mean, variance, y.T, strict=True):
        answers.append(condition(m, v, design, NOISE, target)[0])
    return torch.stack(answers)


@pytest.mark.parametrize("iterations", [1, 3])
def test_star_of_one_example_is_the_dense_posterior(iterations):
    """The cavity of the only example is the prior in every sweep."""
    layer, x, y = wide(3, 1), torch.randn(1, 3), torch.randn(1, 1)
    (mean, variance), row = joined(layer), torch.cat([x, torch.ones(1, 1)], 1)
    want = condition(mean[0], variance[0], row, NOISE, y[0])
    run(layer, Regression(NOISE), Inference(iterations, order=Sequential()), x, y, 1, 2)
    assert_close([part[0] for part in joined(layer)], list(want[:2]), rtol=1e-10, atol=1e-10)


def test_tree_of_one_example_is_the_dense_posterior():
    """Two uncertain outputs, known weights above them, an average, a sum: weights and biases after the step."""
    first, second = wide(3, 4), wide(2, 1)
    with torch.no_grad():
        second.weight.precision.fill_(1e15)
        first.weight.precision.mul_(1 + torch.rand(4, 3))
    x, y = torch.randn(1, 3), torch.randn(1, 1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = first, second

        def forward(self, x):
            z = gbp.GBPAvgPool2d((1, 2))(self.first(x).reshape(1, 1, 2, 2)).flatten(1)
            return self.second(z) + 0.5

    (mean, variance), (bias, spread) = joined(first), map(torch.clone, second.bias.belief())
    gain = (second.weight.mean.detach() / 2).repeat_interleave(2)[:, None]
    run(Net(), Regression(NOISE), Inference(order=Sequential()), x, y, 1, 2)
    row = torch.cat([(gain * torch.cat([x, torch.ones(1, 1)], 1)).flatten(), torch.ones(1)])[None]
    prior = torch.cat([mean.flatten(), bias]), torch.cat([variance.flatten(), spread])
    want = condition(*prior, row, NOISE, y.flatten() - 0.5)
    found = joined(first)
    assert_close(torch.cat([found[0].flatten(), second.bias.mean.detach()]), want[0], rtol=1e-10, atol=1e-10)
    assert_close(torch.cat([found[1].flatten(), second.bias.belief().variance]), want[1], rtol=1e-10, atol=0)


LOOPY = {
    "sequential, batches of one": (Inference(order=Sequential()), 1, 40),
    "sequential, batches": (Inference(25, order=Sequential()), 4, 12),
    "sequential, damped": (Inference(order=Sequential(), rate=lambda _: 0.8), 1, 60),
    "parallel, batches": (Inference(100, damping=0.5), 4, 14),
    "parallel, one batch": (Inference(200, damping=0.6), 8, 1),
}


@pytest.mark.parametrize(("inference", "size", "passes"), LOOPY.values(), ids=LOOPY)
def test_means_converge_to_bayesian_linear_regression(inference, size, passes):
    layer, (x, y) = wide(2, 2), regression(8, 2)
    want = ridge(*joined(layer), x, y)
    run(layer, Regression(NOISE), inference, x, y, size, passes)
    assert_close(joined(layer)[0], want, rtol=1e-8, atol=1e-8)


def test_first_pass_over_single_examples_is_recursive_least_squares():
    """Every example conditions the diagonal belief exactly: means and variances after each visit."""
    layer, (x, y) = wide(4, 1), regression(10, 4, outputs=1)
    propagate = MessagePassing(layer.parameters(), 10, store=BatchSites(), epochs=None)
    for n in range(10):
        mean, variance = (part[0] for part in joined(layer))
        row = torch.cat([x[n], torch.ones(1)])[None]
        want = condition(mean, variance, row, NOISE, y[n])
        visit(propagate, Inference(order=Sequential()), layer, Regression(NOISE), n, x[n : n + 1], y[n : n + 1])
        for moment, wanted in zip(joined(layer), want[:2], strict=True):
            assert_close(moment[0], wanted, rtol=1e-10, atol=1e-10)


def test_with_one_weight_a_pass_is_the_exact_posterior():
    layer, (x, y) = wide(1, 1, bias=False), regression(10, 1, 1)
    belief = layer.weight.belief()
    want = condition(belief.mean[0].clone(), belief.variance[0].clone(), x, NOISE, y.flatten())
    run(layer, Regression(NOISE), Inference(2, order=Sequential()), x, y, 5, 2)
    assert_close(layer.weight.belief().mean[0], want[0], rtol=1e-10, atol=0)
    assert_close(layer.weight.belief().variance[0], want[1], rtol=1e-10, atol=0)


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


@each_order
@pytest.mark.parametrize("at", [2, 3])
def test_failure_between_inner_sweeps_leaves_the_marginals_as_they_were(inference, at):
    model, (x, y) = mlp(shared_precision=False), three_classes(12)
    likelihood = OneHotRegression(0.5, power=1)
    propagate = run(model, likelihood, inference, x, y, 4, 1)
    before, calls, evidence = marginals(model), [], likelihood.evidence

    def failing(*arguments):
        calls.append(1)
        if len(calls) == at:
            assert changed(before, model) != []
            raise KeyboardInterrupt
        return evidence(*arguments)

    likelihood.evidence = failing
    with pytest.raises(KeyboardInterrupt):
        visit(propagate, inference, model, likelihood, 0, x[:4], y[:4])
    assert changed(before, model) == []
    assert all(layer.memory is NO_MEMORY for layer in model)


@each_order
@pytest.mark.parametrize("store", [gbp.AveragedSites(), BatchSites(), gbp.Filtering()], ids=lambda store: type(store).__name__)
def test_messages_that_are_not_finite_leave_the_marginals_as_they_were(inference, store):
    model, (x, y) = mlp(shared_precision=False), three_classes(12)
    likelihood = OneHotRegression(0.5, power=1)
    propagate, before = MessagePassing(model.named_parameters(), 12, store=store), marginals(model)
    evidence = likelihood.evidence
    likelihood.evidence = lambda *arguments: evidence(*arguments)._replace(score=torch.full((len(arguments[2]), 3), torch.nan))
    with pytest.raises(ImproperMarginal, match=r"(?i)nan"):
        visit(propagate, inference, model, likelihood, 0, x, y)
    assert changed(before, model) == []


@each_order
def test_nothing_of_a_visit_is_kept_but_its_sites(inference):
    """The same visit twice, from the same marginals, sites and random numbers, ends in the same marginals."""
    model, (x, y) = mlp(shared_precision=False), three_classes(12)
    likelihood = OneHotRegression(0.5, power=1)
    propagate = MessagePassing(model.parameters(), 12, store=gbp.Filtering(), epochs=None)
    start, results = marginals(model), []
    for _ in range(2):
        model.load_state_dict(start)
        torch.manual_seed(3)
        visit(propagate, inference, model, likelihood, 0, x, y)
        results.append(marginals(model))
    assert results[0].keys() == results[1].keys() and changed(results[0], model) == []


@each_order
@pytest.mark.parametrize("shared", [False, True])
def test_rebuild_equals_the_running_marginal(inference, shared):
    model, (x, y) = mlp(shared_precision=shared), three_classes(12)
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
    inference = Inference(gbp.thesis_iterations(4), gbp.thesis_rate, order=Sequential())
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
        (lambda: Inference(0), "iterations must be at least 1"),
        (lambda: Inference(()), "iterations must be at least 1"),
        (lambda: Inference(damping=1.0), "damping in"),
    ],
)
def test_impossible_settings_are_refused(make, match):
    with pytest.raises(InvalidInput, match=match):
        make()


@pytest.mark.parametrize(
    ("inference", "likelihood", "match"),
    [
        (Inference(2, damping=0.5, order=Sequential()), OneHotRegression(power=1), "undamped"),
        (Inference(order=Sequential()), OneHotRegression(), "power of 1"),
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
    monkeypatch.setattr(batch_sites, "available_memory", lambda device: 1000)
    with pytest.raises(OutOfMemory, match=r"messages of 60 examples do not fit into memory.*smaller batches"):
        visit(propagate, Inference(order=Sequential()), model, OneHotRegression(power=1), 0, x, y)


def test_a_layer_used_twice_in_a_sweep_is_refused():
    inner = wide(3, 3)
    model, (x, y) = nn.Sequential(wide(3, 3), inner, inner), three_classes(12)
    propagate = MessagePassing(model.parameters(), 12, store=BatchSites())
    with pytest.raises(InvalidInput, match="twice in one sweep"):
        visit(propagate, Inference(2, order=Parallel()), model, OneHotRegression(power=1), 0, x, y)


def test_a_convolution_iterates_in_parallel_and_is_refused_in_sequence():
    model, x, y = lenet(), torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    propagate = MessagePassing(model.parameters(), 6, store=BatchSites(), lr=0.1, epochs=None)
    before, likelihood = marginals(model), OneHotRegression(0.5, power=1)
    with pytest.raises(MissingRule, match="convolution has no exact scalar messages"):
        visit(propagate, Inference(order=Sequential()), model, likelihood, 0, x, y)
    assert changed(before, model) == []
    visit(propagate, Inference(3, damping=0.5), model, likelihood, 0, x, y)
    assert len(changed(before, model)) == 8


def test_messages_that_disagree_by_any_number_of_deviations_still_speak():
    """In linear space the masses underflow at 38 deviations, and the example would send nothing."""
    act = gbp.GBPLeakyReLU(0.1)
    belief = gbp.Gaussian(torch.tensor([-60.0, 200.0]).requires_grad_(), torch.ones(2).requires_grad_())
    act.memory, sites = ExactMemory({}), []
    for _ in range(3):
        belief.mean.grad = belief.variance.grad = None
        output = act(belief)
        Regression(1e-4)(output[None], torch.tensor([[50.0, -30.0]])).backward()
        sites.append((belief.mean.grad.clone(), belief.variance.grad.clone()))
    for score, precision in sites:
        assert score.isfinite().all() and (score.sign() == torch.tensor([1.0, -1.0])).all() and (precision > 0.5).all()
