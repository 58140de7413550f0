"""The watch over a run: it warns once where outputs say nothing about their inputs' targets, and not where a network learns."""

import math
import warnings

import pytest
import torch
from helpers import mlp, sweep, three_classes
from sklearn.datasets import load_digits
from torch import nn

from torch_gbp import AveragedSites, BatchSites, GBPLeakyReLU, GBPLinear, MessagePassing, Prior, Regression, Softmax
from torch_gbp.errors import DividedLoss, NotLearning


def run(model, likelihood, x, y, epochs=8, size=10, shuffled=False, **options):
    """Texts of the warnings of a hand-written loop; `shuffled` deals every batch another's targets."""
    propagate = MessagePassing(model.parameters(), len(x), epochs=epochs, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(epochs):
            for part in torch.randperm(len(x)).split(size):
                target = y[torch.randperm(len(y))[: len(part)]] if shuffled else y[part]
                sweep(propagate, model, likelihood, x[part], target)
    return [str(entry.message) for entry in caught if issubclass(entry.category, NotLearning)]


@pytest.mark.parametrize("seed", range(4))
def test_targets_in_another_order_are_warned_of_once(seed):
    torch.manual_seed(seed)
    found = run(mlp(), Softmax(), *three_classes(120), shuffled=True)
    assert len(found) == 1
    for part in ("not learning", "nats an example", "gbp.Standardise()", "check the targets"):
        assert part in found[0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [1, 10, 60])
def test_a_network_that_learns_is_not_warned_of(seed, size):
    torch.manual_seed(seed)
    assert run(mlp(), Softmax(), *three_classes(120), size=size) == []


def test_a_regression_that_learns_is_not_warned_of():
    x = torch.randn(120, 3)
    y = x[:, :1] * 2 + 0.3 * torch.randn(120, 1)
    assert run(mlp(outputs=1), Regression().fit_targets(y), x, y, epochs=12) == []


@pytest.mark.parametrize("seed", range(2))
def test_a_regression_on_noise_is_warned_of_once(seed):
    torch.manual_seed(seed)
    x, y = torch.randn(120, 3), torch.randn(120, 1)
    assert len(run(mlp(outputs=1), Regression().fit_targets(y), x, y, shuffled=True)) == 1


@pytest.mark.parametrize("likelihood", [Softmax(), Regression(0.1)], ids=["labels", "values"])
def test_targets_that_are_all_alike_say_nothing_either_way(likelihood):
    x = torch.randn(60, 3)
    y = torch.zeros(60).long() if isinstance(likelihood, Softmax) else torch.full((60, 3), 0.5)
    assert run(mlp(), likelihood, x, y) == []


def test_a_network_that_leaves_a_symmetric_point_late_is_not_warned_of():
    """BatchSites starts at means of 0, where all hidden units are alike, and gains nothing for a third of the passes."""
    x, y = three_classes(120)
    model = mlp(prior=Prior(scale=1.0))
    propagate = MessagePassing(model.parameters(), 120, store=BatchSites(), lr=0.4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(8):
            for batch in torch.randperm(12).tolist():
                part = torch.arange(10) + 10 * batch
                with propagate.visit(batch, x[part], y[part]):
                    sweep(propagate, model, Softmax(power=1.0), x[part], y[part])


def test_a_run_of_few_steps_is_not_judged():
    assert run(mlp(), Softmax(), *three_classes(60), epochs=1, shuffled=True) == []


# Depth: what the warning is about most often.


def digits(examples=1000):
    x, y = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
    x = x.float() / 8 - 1
    return x[:examples], y[:examples], x[examples:1400], y[examples:1400]


def plain(hidden=6, width=64):
    """A network of so many hidden layers, without skip connections."""
    layers = [part for _ in range(hidden - 1) for part in (GBPLinear(width, width), GBPLeakyReLU(0.1))]
    return nn.Sequential(GBPLinear(64, width), GBPLeakyReLU(0.1), *layers, GBPLinear(width, 10))


def learn_digits(store=None, lr=None, epochs=12):
    """Accuracy on held-out digits of a plain network of six hidden layers, and the warnings."""
    x, y, held_out, labels = digits()
    model = plain()
    found = run(model, Softmax(), x, y, epochs=epochs, size=50, store=store, lr=lr)
    with torch.no_grad():
        hits = Softmax().predictive(model(held_out)).probs.argmax(1) == labels
    return float(hits.double().mean()), found


def test_a_plain_network_of_six_hidden_layers_learns_digits():
    accuracy, found = learn_digits()
    assert accuracy >= 0.9
    assert found == []


@pytest.mark.parametrize("seed", range(4))
def test_without_annealing_and_trust_region_it_stays_at_chance_and_says_so(seed):
    """Some of these networks say nothing; some follow their last batches, wildly, and explain targets worse than at first."""
    torch.manual_seed(seed)
    accuracy, found = learn_digits(AveragedSites(anneal=False, trust_radius=math.inf), lr=0.4)
    assert accuracy < 0.3
    assert len(found) == 1
    assert "residual connections or fewer layers" in found[0]


@pytest.mark.parametrize("size", [5, 20])
def test_a_loss_that_is_divided_by_its_batch_is_warned_of_once(size):
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60)

    def steps():
        for _ in range(3):
            propagate.zero_grad()
            (Softmax()(model(x[:size]), y[:size]) / size).backward()
            propagate.step()

    with pytest.warns(DividedLoss, match="counts for less than one") as found:
        steps()
    assert len(found) == 1


@pytest.mark.parametrize(("factor", "accumulated"), [(1.0, 1), (0.5, 1), (1 / 20, 20)])
def test_other_factors_on_a_loss_are_not_warned_of(factor, accumulated):
    model, (x, y) = mlp(), three_classes()
    propagate = MessagePassing(model.parameters(), 60, accumulated=accumulated)
    (factor * Softmax()(model(x[:20]), y[:20])).backward()
    propagate.step()


def test_a_likelihood_that_learns_may_explain_its_targets_worse_on_the_way():
    """Its noise is held at a hundredth of the targets' variance at first."""
    x = torch.randn(200, 3)
    y = 6 * x[:, :1] + 2 * torch.randn(200, 1)
    assert run(mlp(outputs=1), Regression().fit_targets(y), x, y, epochs=12) == []
