"""`Regression()`: targets of any units, noise learned from the data, in a loop, by the Trainer and under Lightning."""

import math

import pytest
import torch
from helpers import marginals, sweep
from lightning_helpers import IGNORED, trainer
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from lightning_modules import GBPRegressor
from torch_gbp import (
    Gaussian,
    GBPLeakyReLU,
    GBPLinear,
    Inference,
    MessagePassing,
    Regression,
    Trainer,
    configure_optimizers,
    from_torch,
)
from torch_gbp.errors import InvalidInput

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]


def curve(n=200, noise=0.1):
    x = torch.rand(n, 1) * 4 - 2
    return x, torch.sin(2 * x) + noise * torch.randn(n, 1)


def small(outputs=1):
    return nn.Sequential(GBPLinear(1, 32), GBPLeakyReLU(0.1), GBPLinear(32, outputs))


def loop(model, likelihood, x, y, epochs=40, size=20):
    """A hand-written loop."""
    torch.manual_seed(1)
    propagate = MessagePassing(model.parameters(), len(x), epochs=epochs)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(size):
            sweep(propagate, model, likelihood, x[part], y[part])


def test_a_loop_finds_curve_and_noise_in_the_units_of_the_targets(float64):
    x, y = curve()
    model, likelihood = small(), Regression().fit_targets(300 + 20 * y)
    loop(model, likelihood, x, 300 + 20 * y)
    found = likelihood.predictive(model(x))
    rest = (300 + 20 * y - found.mean).square().mean()
    assert rest.sqrt() < 0.15 * 20  # the targets' own deviation is 0.7 x 20
    assert 0.7 < likelihood.target_noise_variance.item() / (0.01 * 400) < 1.3


@pytest.mark.parametrize("seed", range(3))
def test_the_trainer_finds_the_noise_of_a_curve(seed, float64):
    torch.manual_seed(seed)
    x, y = curve()
    likelihood = Regression()
    Trainer(small(), likelihood, epochs=40, progress=False).fit(DataLoader(TensorDataset(x, y), 20, shuffle=True))
    assert 0.7 < likelihood.target_noise_variance.item() / 0.01 < 1.3


def test_the_regressor_predicts_in_the_units_of_the_targets():
    x, y = curve()
    regressor = GBPRegressor(small())
    trainer(30).fit(regressor, DataLoader(TensorDataset(x, 300 + 20 * y), 20, shuffle=True))
    mean, variance = (part.detach() for part in regressor.predictive_moments(x))
    assert (mean - 300 - 20 * torch.sin(2 * x)).square().mean().sqrt() < 0.15 * 20
    assert (variance > regressor.likelihood.target_noise_variance).all()


def fitted(outputs=1):
    """A likelihood whose statistics and noise are no round numbers, beliefs and targets in their units."""
    units = torch.linspace(0.5, 30.0, outputs)
    y = 7 + units * torch.randn(50, outputs)
    likelihood = Regression().fit_targets(y)
    likelihood.noise_variance.fill_(0.07)
    return likelihood, Gaussian(torch.randn(50, outputs), torch.rand(50, outputs)), y


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_log_evidence_is_the_log_density_of_the_predictive(outputs, float64):
    likelihood, belief, y = fitted(outputs)
    density = likelihood.distribution(belief).log_prob(y).sum(1)
    assert_close(likelihood.log_evidence(belief, y), density, rtol=1e-10, atol=1e-10)


def test_the_message_is_the_derivative_of_the_log_evidence(float64):
    likelihood, belief, y = fitted(3)
    mean = belief.mean.requires_grad_()
    found = likelihood.evidence(mean, belief.variance, y)
    (score,) = torch.autograd.grad(found.log.sum(), mean, create_graph=True)
    (second,) = torch.autograd.grad(score.sum(), mean)
    assert_close((found.score, found.precision), (score, -second))


@pytest.mark.parametrize(("scale", "shift"), [(1000.0, -5e4), (1e-3, 2.0)])
def test_other_units_of_the_targets_scale_all_that_is_predicted(scale, shift, float64):
    """y -> a y + b: means follow, the noise times a^2, the log evidence less log a."""
    x, y = curve(100)
    found = []
    start = small().state_dict()
    for targets in (y, scale * y + shift):
        model, likelihood = small(), Regression()
        model.load_state_dict(start)
        torch.manual_seed(3)
        own = Trainer(model, likelihood, epochs=30, progress=False)
        own.fit(DataLoader(TensorDataset(x, targets), 10, shuffle=True))
        found.append((own.predict(x), likelihood.target_noise_variance, own.evaluate([(x, targets)]).log_evidence))
    (one, noise, evidence), (other, other_noise, other_evidence) = found
    assert_close(other.mean, scale * one.mean + shift, rtol=1e-4, atol=1e-4 * scale)
    assert_close(other.stddev, scale * one.stddev, rtol=1e-4, atol=0)
    assert_close(other_noise, scale**2 * noise, rtol=1e-4, atol=0)
    assert_close(other_evidence, evidence - math.log(scale), rtol=0, atol=1e-4)


def test_targets_of_different_scales_are_learned_alike(float64):
    """One noise variance for all standardised targets, a noise in its own units for each."""
    x, y = curve()
    y = y * torch.tensor([1e3, 1e-2]) + torch.tensor([0.0, 5.0])
    model, likelihood = small(2), Regression()
    Trainer(model, likelihood, epochs=40, progress=False).fit(DataLoader(TensorDataset(x, y), 20, shuffle=True))
    noise = likelihood.target_noise_variance
    assert noise.shape == (2,)
    assert_close(noise, torch.tensor([1e4, 1e-6]), rtol=0.3, atol=0)
    rest = (likelihood.predictive(model(x)).mean - y).square().mean(0).sqrt() / y.std(0)
    assert (rest < 0.25).all()


def test_statistics_and_noise_are_saved_and_loaded(tmp_path):
    likelihood, belief, y = fitted(2)
    torch.save(likelihood.state_dict(), tmp_path / "likelihood.pt")
    other = Regression()
    other.load_state_dict(torch.load(tmp_path / "likelihood.pt", weights_only=True))
    assert torch.equal(other.log_evidence(belief, y), likelihood.log_evidence(belief, y))
    assert torch.equal(other.target_noise_variance, likelihood.target_noise_variance)


def test_the_noise_is_held_for_a_quarter_of_the_passes():
    x, y = curve(40)
    model, likelihood = small(), Regression().fit_targets(y)
    propagate, noises = MessagePassing(model.parameters(), 40, epochs=8), []
    for _ in range(4):
        for part in torch.arange(40).split(20):
            sweep(propagate, model, likelihood, x[part], y[part])
            noises.append(float(likelihood.noise_variance))
    first = next(step for step, noise in enumerate(noises, start=1) if noise != noises[0])
    assert noises[0] == pytest.approx(0.01)
    assert first == 4  # of 16


def test_the_default_rate_is_that_of_the_store_times_two_and_a_half():
    """In the first step without warm-up the precision grows by rate x G: 0.4 x 2.5."""
    x, y = curve(20)
    grown = []
    for lr in (None, 1.0):
        torch.manual_seed(0)
        model, likelihood = GBPLinear(1, 1), Regression().fit_targets(y)
        sweep(MessagePassing(model.parameters(), 20, lr=lr, warmup=0.0), model, likelihood, x, y)
        grown.append(marginals(model)["weight.precision"])
    assert_close(grown[0], grown[1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("moments", [True, False])
@pytest.mark.parametrize(
    ("layers", "frozen", "wanted"), [(1, 0, 1.0), (2, 0, 1.0), (3, 0, (2 / 3) ** 4), (4, 0, 1 / 16), (4, 1, (2 / 3) ** 4)]
)
def test_more_layers_learn_at_a_smaller_rate(layers, frozen, wanted, moments):
    """0.4 x 2.5 (2 / layers)^4 in the first step without warm-up; frozen layers do not count."""
    x, y = curve(200)
    y = y.expand(-1, 2)
    plain = nn.Sequential(nn.Linear(1, 2), *(nn.Linear(2, 2) for _ in range(layers - 1)))
    for layer in plain[:frozen]:
        layer.requires_grad_(False)
    model, likelihood = from_torch(plain, fresh=True, moments=moments), Regression().fit_targets(y)
    learner = configure_optimizers(model, 200, warmup=0.0, report_every=1)
    sweep(learner, model, likelihood, x, y)
    assert learner.report.rate == pytest.approx(wanted, rel=1e-6)


def test_a_rate_of_the_inference_is_the_users_own():
    """No factor of the likelihood on a rate that was asked for."""
    x, y = curve(20)
    grown = []
    for inference, options in ((Inference(), {"lr": 0.2}), (Inference(rate=lambda _: 0.2), {})):
        torch.manual_seed(0)
        model, likelihood = GBPLinear(1, 1), Regression().fit_targets(y)
        inference(model, likelihood, MessagePassing(model.parameters(), 20, epochs=None, **options), x, y)
        grown.append(marginals(model)["weight.precision"])
    assert torch.equal(*grown)


def test_a_given_noise_is_bayes_rule_in_the_targets_units():
    likelihood = Regression(0.3)
    assert (likelihood.power, likelihood.learns, likelihood.targets, likelihood.automatic) == (1.0, False, None, False)
    with pytest.raises(InvalidInput, match="not standardised where the noise is given"):
        likelihood.fit_targets(torch.randn(5, 1))
    with pytest.raises(InvalidInput, match="either given or learned"):
        Regression(learn_noise=False)


@pytest.mark.parametrize("shape", [(4, 1), (4,), (4, 3, 3)])
def test_targets_of_another_shape_than_those_of_the_fit_are_refused(shape):
    """Statistics of three targets must not be broadcast to others."""
    likelihood = Regression().fit_targets(torch.randn(9, 3))
    belief = Gaussian(torch.zeros(shape), torch.ones(shape))
    with pytest.raises(InvalidInput, match="other values than those of the fit"):
        likelihood(belief, torch.randn(shape))
    with pytest.raises(InvalidInput, match="other values than those of the fit"):
        likelihood.predictive(belief)
