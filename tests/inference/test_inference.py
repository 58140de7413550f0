"""Iterated inference: exact on trees, the right fixed point on loops."""

import pytest
import torch
from helpers import run, visit, wide
from oracle import condition
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import BatchSites, ExampleByExample, FactorGraph, Inference, Latent, MessagePassing, Regression
from torch_gbp.gaussian import Message
from torch_gbp.inference.damping import Damping, Iteration
from torch_gbp.inference.exact import ExactBuilder, ExampleWeights
from torch_gbp.inference.weights import WeightBelief

pytestmark = pytest.mark.usefixtures("float64")
NOISE = 0.3


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
    run(layer, Regression(NOISE), Inference(iterations, schedule=ExampleByExample()), x, y, 1, 2)
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
    run(Net(), Regression(NOISE), Inference(schedule=ExampleByExample()), x, y, 1, 2)
    row = torch.cat([(gain * torch.cat([x, torch.ones(1, 1)], 1)).flatten(), torch.ones(1)])[None]
    prior = torch.cat([mean.flatten(), bias]), torch.cat([variance.flatten(), spread])
    want = condition(*prior, row, NOISE, y.flatten() - 0.5)
    found = joined(first)
    assert_close(torch.cat([found[0].flatten(), second.bias.mean.detach()]), want[0], rtol=1e-10, atol=1e-10)
    assert_close(torch.cat([found[1].flatten(), second.bias.belief().variance]), want[1], rtol=1e-10, atol=0)


LOOPY = {
    "exact, batches of one": (Inference(schedule=ExampleByExample()), 1, 40),
    "exact, batches": (Inference(25, schedule=ExampleByExample()), 4, 12),
    "exact, damped": (Inference(schedule=ExampleByExample(), rate=lambda _: 0.8), 1, 60),
    "all at once, batches": (Inference(100, damping=0.5), 4, 14),
    "all at once, one batch": (Inference(200, damping=0.6), 8, 1),
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
        visit(propagate, Inference(schedule=ExampleByExample()), layer, Regression(NOISE), n, x[n : n + 1], y[n : n + 1])
        for moment, wanted in zip(joined(layer), want[:2], strict=True):
            assert_close(moment[0], wanted, rtol=1e-10, atol=1e-10)


def test_with_one_weight_a_pass_is_the_exact_posterior():
    layer, (x, y) = wide(1, 1, bias=False), regression(10, 1, 1)
    belief = layer.weight.belief()
    want = condition(belief.mean[0].clone(), belief.variance[0].clone(), x, NOISE, y.flatten())
    run(layer, Regression(NOISE), Inference(2, schedule=ExampleByExample()), x, y, 5, 2)
    assert_close(layer.weight.belief().mean[0], want[0], rtol=1e-10, atol=0)
    assert_close(layer.weight.belief().variance[0], want[1], rtol=1e-10, atol=0)


@pytest.mark.parametrize("centre", [0.0, "start"], ids=["known prior mean", "random prior mean"])
def test_an_example_that_moves_a_weight_without_making_it_sharper_is_kept(centre):
    """An activation may send a score with no precision: the weight's precision stays the prior's, but it was told something."""
    layer = gbp.GBPLinear(2, 1, bias=False, prior=gbp.Prior(scale=1.0, mean=centre), covariance="diagonal")
    weights, told = ExampleWeights(layer.weight), [(0.7, 0.0), (0.2, 3.0), (-0.4, 0.0)]
    messages = [Message(*(torch.full((1, 2), part) for part in parts)) for parts in told]
    for example, message in enumerate(messages):
        weights.replace(example, message)
    before = layer.weight.batch_prior()
    precision = before.precision + 3.0
    assert_close(weights.moments()[0], (before.information + 0.5) / precision, rtol=1e-12, atol=0)
    weights.replace(0, Message(2 * messages[0].information, messages[0].precision))
    assert_close(weights.moments()[0], (before.information + 1.2) / precision, rtol=1e-12, atol=0)


def test_messages_that_disagree_by_any_number_of_deviations_still_speak():
    """In linear space the masses underflow at 38 deviations, and the example would send nothing."""
    act, belief = gbp.GBPLeakyReLU(0.1), Latent(torch.tensor([[-60.0, 200.0]]), 1.0)
    graph = FactorGraph(act, belief, Regression(1e-4), torch.tensor([[50.0, -30.0]]), builder=ExactBuilder({}, 0))
    for _ in range(3):
        for send in ExampleByExample().visits(graph.nodes, first=False):
            with torch.no_grad():
                send(Iteration(Damping()))
        information, precision = (part[0] for part in graph.nodes[0].lower.above.parts)
        score = information - precision * belief.mean[0]
        assert score.isfinite().all() and (score.sign() == torch.tensor([1.0, -1.0])).all() and (precision > 0.5).all()


def test_messages_to_weights_may_be_damped_from_the_first_means() -> None:
    marginal = gbp.GBPLinear(3, 2, prior=gbp.Prior(0.5, start_deviation=1.0)).weight
    silence = torch.zeros_like(marginal.mean), torch.zeros_like(marginal.precision)
    for from_start, left in ((False, 0.0), (True, 0.9 * 0.9)):
        belief = WeightBelief(marginal)
        for number in range(2):
            belief.receive(*silence, Iteration(Damping(0.5, 0.9, from_start=from_start), number))
        torch.testing.assert_close(belief.mean, left * marginal.mean.detach())
