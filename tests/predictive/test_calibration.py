"""Widening and temperature of predictions: what they multiply and divide, and how held-out examples choose them."""

import copy
from itertools import product

import pytest
import torch
from helpers import changed, marginals, mlp
from torch import nn
from torch.testing import assert_close

import torch_gbp.predictive.calibration
from torch_gbp import (
    Argmax,
    Gaussian,
    GBPLinear,
    IntegratedSoftmax,
    OneHotRegression,
    Regression,
    Softmax,
    SquaredSoftmax,
    calibrate,
    predict,
)
from torch_gbp.errors import InvalidInput
from torch_gbp.predictive import Outputs
from torch_gbp.predictive.calibration import _score, _search
from torch_gbp.predictive.examples import log_probability
from torch_gbp.weights.attached import attach
from torch_gbp.weights.priors import Prior

pytestmark = pytest.mark.usefixtures("float64")
EXAMPLES = 4000
CLASSES = ["softmax", "softmax_bayes", "argmax", "one_hot"]


class Known(nn.Module):
    """Outputs that are the first half of the inputs, their variances the exponentials of the second."""

    def forward(self, x):
        mean, log_variance = x.chunk(2, -1)
        return Gaussian(mean, log_variance.exp())


def truthful(likelihood, variance_factor, temperature=1.0, n=EXAMPLES, outputs=4):
    """Outputs that scatter by that factor times the variance told, around `temperature` times a truth, and targets of it."""
    mean, variance = 3 * torch.randn(n, outputs), torch.randn(n, 1).exp().expand(n, outputs)
    y = likelihood.distribution(Gaussian(mean, variance_factor * variance)).sample()
    return torch.cat([temperature * mean, (temperature**2 * variance).log()], -1), y


def loss(likelihood, x, y):
    """Average -log p(y) of the predictions."""
    return -float(log_probability(likelihood.predictive(Known()(x)), y).mean())


@pytest.mark.parametrize("variance_factor", [0.5, 8.0, 40.0])
def test_the_variance_factor_that_made_real_targets_is_found(variance_factor):
    likelihood = Regression(0.3)
    x, y = truthful(likelihood, variance_factor)
    found = calibrate(Known(), likelihood, [(x[:1000], y[:1000]), (x[1000:], y[1000:])])
    assert found.variance_factor / variance_factor == pytest.approx(1.0, rel=0.1)
    assert found == (likelihood.variance_factor.item(), None)


@pytest.mark.parametrize("variance_factor", [0.5, 8.0, 40.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("make", [Softmax, lambda: Softmax(power=1.0), Argmax, OneHotRegression], ids=CLASSES)
def test_variance_factor_and_temperature_predict_as_well_as_those_that_made_the_classes(make, variance_factor, temperature):
    """On other examples. How they share the task is another matter: both soften."""
    likelihood, truth = make(), make()
    truth.variance_factor.fill_(variance_factor)
    truth.temperature.fill_(temperature)
    (x, y), (fresh, labels) = (truthful(likelihood, variance_factor, temperature) for _ in range(2))
    before = loss(likelihood, fresh, labels)
    found = calibrate(Known(), likelihood, [(x[:1000], y[:1000]), (x[1000:], y[1000:])])
    assert found == (likelihood.variance_factor.item(), likelihood.temperature.item())
    assert loss(likelihood, fresh, labels) < min(loss(truth, fresh, labels) + 2e-3, before + 1e-3)


def test_the_search_finds_the_best_of_all_points():
    """Against every sixteenth of an octave."""
    likelihood = Softmax()
    (x, y), names = truthful(likelihood, 20.0, 0.6, n=300), ["variance_factor", "temperature"]
    outputs = Outputs(*Known()(x))
    best = _search(names, lambda point: _score(likelihood, outputs, y, names, point))
    grid = product(torch.arange(0, 8.01, 0.125).tolist(), torch.arange(-3, 2.01, 0.125).tolist())
    assert (
        _score(likelihood, outputs, y, names, best) > max(_score(likelihood, outputs, y, names, point) for point in grid) - 1e-3
    )


@pytest.mark.parametrize("how", ["samples", "linear", "means", "moments"])
def test_every_way_of_predicting_can_be_calibrated(how):
    """Labels that the network's outputs say too much about, on plain and GBP networks."""
    x = torch.randn(1500, 3)
    y = torch.distributions.Categorical(logits=x @ torch.randn(3, 4)).sample()
    layer = nn.Linear(3, 4)
    with torch.no_grad():
        layer.weight.copy_(nn.functional.one_hot(y[:400], 4).double().T @ x[:400] / 20)
    model = GBPLinear.from_torch(layer) if how == "moments" else layer
    if how != "moments":
        attach(layer, "weight", Prior(0.05, 0.0))
    likelihood, part = Softmax(), [(x[400:900], y[400:900])]
    likelihood.variance_factor.fill_(5.0)

    def score():
        return -float(predict(model, likelihood, x[900:], how).distribution.log_prob(y[900:]).mean())

    before = score()
    found = calibrate(model, likelihood, part, how=how)
    assert score() < before - 0.05
    assert found.temperature > 1.2
    assert found.variance_factor == 5.0 or how != "means"  # which has no variance to widen


@pytest.mark.parametrize("how", ["samples", "linear"])
def test_the_widening_of_samples_is_that_of_the_weights(how):
    """Each target from weights of its own, with 5 times the variance that the marginals tell."""
    layer = nn.Linear(3, 2)
    attach(layer, "weight", Prior(0.2, 0.0))
    x = torch.randn(2000, 3)
    weights = layer.weight.detach() + torch.randn(2000, 2, 3)  # variance 1 = 5 * 0.2
    y = (weights @ x[:, :, None])[:, :, 0] + layer.bias.detach() + 0.1**0.5 * torch.randn(2000, 2)
    likelihood = Regression(0.1)
    found = calibrate(layer, likelihood, [(x, y)], how=how, samples=2000)  # few samples fill a wide mixture badly
    assert found.variance_factor == pytest.approx(5.0, rel=0.15)


def test_predictions_take_the_widened_variance():
    output, likelihood = Gaussian(torch.randn(5, 3), torch.rand(5, 3)), Regression(0.2)
    likelihood.variance_factor.fill_(3.0)
    assert_close(likelihood.predictive(output).variance, 3 * output.variance + 0.2)
    assert_close(likelihood.predictive(output).mean, output.mean)
    y = torch.randn(5, 3)
    assert_close(likelihood.log_evidence(output, y), Regression(0.2).log_evidence(output, y))  # training knows nothing of it


@pytest.mark.parametrize("make", [Softmax, Argmax, OneHotRegression, SquaredSoftmax, IntegratedSoftmax])
def test_the_temperature_divides_the_outputs_in_predictions_alone(make):
    output, likelihood, plain = Gaussian(torch.randn(5, 3), torch.rand(5, 3)), make(1.0), make(1.0)
    likelihood.temperature.fill_(2.5)
    colder = Gaussian(output.mean / 2.5, output.variance / 6.25)
    assert_close(likelihood.predictive(output).probs, plain.predictive(colder).probs)
    samples = torch.randn(7, 5, 3)
    assert_close(likelihood.mixture(samples).probs, plain.mixture(samples / 2.5).probs)
    y = torch.arange(5) % 3
    assert_close(likelihood.log_evidence(output, y), plain.log_evidence(output, y))
    assert "temperature=2.5" in repr(likelihood) and "temperature" not in repr(plain)


def test_only_an_automatic_power_widens_by_itself():
    factors = [
        float(likelihood.variance_factor) for likelihood in (Softmax(), Softmax(64.0), Softmax(1.0), Argmax(), Regression(1.0))
    ]
    assert factors == [4.0, 1.0, 1.0, 1.0, 1.0]
    assert "variance_factor=4" in repr(Softmax()) and "variance_factor" not in repr(Softmax(1.0))


def test_few_examples_leave_them_near_where_they_were():
    """Targets that ask for much softer predictions: six examples cannot decide, thousands do."""
    likelihood = Softmax()
    x, y = truthful(likelihood, 4.0, 8.0)
    few = calibrate(Known(), likelihood, [(x[:6], y[:6])])
    assert 1 < few.variance_factor < 16 and 0.5 < few.temperature < 4
    assert calibrate(Known(), likelihood, [(x, y)]).temperature > 6


def test_weights_and_mode_stay_and_the_widening_is_saved():
    model, likelihood = mlp().train(), Softmax()
    before = marginals(model)
    calibrate(model, likelihood, [(torch.randn(20, 3), torch.arange(20) % 3)])
    assert not changed(before, model) and model.training
    likelihood.variance_factor.fill_(5.0)
    likelihood.temperature.fill_(0.5)
    loaded = Softmax()
    loaded.load_state_dict(likelihood.state_dict())
    assert (float(loaded.variance_factor), float(copy.deepcopy(loaded).temperature)) == (5.0, 0.5)


class Diverged(nn.Module):
    """Outputs that are not numbers."""

    def forward(self, x):
        return Gaussian(torch.full((len(x), 2), torch.nan), torch.ones(len(x), 2))


@pytest.mark.parametrize(
    ("model", "examples", "told"),
    [(mlp(), [], "no examples"), (Diverged(), [(torch.ones(4, 3), torch.zeros(4, dtype=torch.long))], "finite")],
    ids=["none", "diverged"],
)
def test_bad_examples_are_named_and_change_nothing(model, examples, told):
    likelihood = Softmax()
    before = marginals(likelihood)
    with pytest.raises(InvalidInput, match=told):
        calibrate(model, likelihood, examples)
    assert changed(before, likelihood) == []


def test_an_error_on_the_way_puts_both_back(monkeypatch):
    likelihood = Softmax()
    x, y = truthful(likelihood, 4.0, n=20)
    monkeypatch.setattr(
        torch_gbp.predictive.calibration, "_score", lambda likelihood, *_: likelihood.variance_factor.fill_(9.0) and 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        calibrate(Known(), likelihood, [(x, y)])
    assert (float(likelihood.variance_factor), float(likelihood.temperature)) == (4.0, 1.0)
