"""The noise variance learned in closed form: its formulas, where they end, and that every way of training learns it."""

import copy
import math

import lightning
import oracle
import pytest
import torch
from helpers import mlp, sweep
from lightning_helpers import IGNORED, trainer
from scipy.optimize import minimize_scalar
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from lightning_modules import GBPRegressor
from torch_gbp import AveragedSites, BatchSites, Filtering, Gaussian, GBPLinear, MessagePassing, Prior, Regression, Trainer
from torch_gbp.errors import ImproperMarginal, InvalidInput
from torch_gbp.likelihoods.noise import average, expected_square, tilted_square

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]


def linear_data(n=40, weights=5, noise=0.3):
    x = torch.randn(n, weights)
    return x, x @ torch.randn(weights, 1) + math.sqrt(noise) * torch.randn(n, 1)


def dense(x, y, noise, prior=1.0):
    """Mean and covariance of the outputs x w given all targets, w ~ N(0, prior)."""
    precision = torch.eye(x.shape[1]) / prior + x.T @ x / noise
    return x @ torch.linalg.solve(precision, x.T @ y / noise), x @ torch.linalg.solve(precision, x.T)


def best_noise(x, y):
    """The noise variance of most dense log evidence."""
    start = torch.zeros(x.shape[1])

    def loss(log):
        return -oracle.condition(start, start + 1, x, math.exp(log), y[:, 0])[2].item()

    return math.exp(minimize_scalar(loss, (-3.0, 0.0), tol=1e-12).x)


def test_em_with_the_dense_posterior_ends_at_the_maximum_of_the_evidence(float64):
    x, y = linear_data()
    noise = torch.tensor(5.0)
    for _ in range(60):
        mean, covariance = dense(x, y, noise)
        noise = expected_square(mean, covariance.diagonal()[:, None], y)
    assert_close(noise.item(), best_noise(x, y), rtol=1e-7, atol=0)


@pytest.mark.parametrize("noise", [0.01, 0.3, 20.0])
def test_at_exact_cavities_the_tilted_form_is_the_marginal_form(noise, float64):
    """The cavity of an output is its belief given all targets but its own: the marginal divided by N(y; z, noise)."""
    x, y = linear_data()
    mean, covariance = dense(x, y, noise)
    variance = covariance.diagonal()[:, None]
    cavity = 1 / (1 / variance - 1 / noise)
    centre = cavity * (mean / variance - y / noise)
    keep = torch.arange(40) != 7  # the same by leaving example 7 out
    known = torch.eye(5) + x[keep].T @ x[keep] / noise
    assert_close(centre[7], x[7] @ torch.linalg.solve(known, x[keep].T @ y[keep] / noise), rtol=1e-9, atol=1e-9)
    assert_close(tilted_square(centre, cavity, y, noise), expected_square(mean, variance, y), rtol=1e-9, atol=0)


@pytest.mark.parametrize("power", [1.0, 8.0])
def test_tilted_square_against_quadrature(power, float64):
    mean, variance, target = 3 * torch.randn(30, 1), 10 ** (2 * torch.rand(30, 1) - 1), torch.randn(30, 1)
    noise = torch.tensor(0.7)

    def log_factor(z):
        return -0.5 * power * (target.unsqueeze(-1) - z) ** 2 / noise

    centre, spread = oracle.tilted_moments(mean, variance, log_factor, mean - 40, mean + 40)
    likelihood = Regression(0.7, power, learn_noise=True)
    likelihood.learn(mean, variance, target, seen=False, share=1.0)
    assert_close(likelihood.noise_variance, ((target - centre) ** 2 + spread).mean(), rtol=1e-9, atol=0)


def test_the_tilted_form_ends_at_the_best_predictive_likelihood(float64):
    mean, variance = torch.randn(200, 1), torch.rand(200, 1)
    target = mean + (variance + 0.4).sqrt() * torch.randn(200, 1)
    noise = torch.tensor(3.0)
    for _ in range(400):
        noise = tilted_square(mean, variance, target, noise)
    logs = {f: Regression(noise.item() * f).log_evidence(Gaussian(mean, variance), target).sum() for f in (0.999, 1.0, 1.001)}
    assert logs[1.0] > max(logs[0.999], logs[1.001])


def test_a_batch_moves_the_average_by_its_share(float64):
    likelihood = Regression(2.0, learn_noise=True)
    zero, y = torch.zeros(4, 1), torch.full((4, 1), 3.0)
    likelihood.learn(zero, zero + 1, y, seen=True, share=0.25)
    assert_close(likelihood.noise_variance.item(), 0.75 * 2 + 0.25 * 10)


STORES = {"averaged": AveragedSites, "batch": BatchSites, "filtering": Filtering}


@pytest.mark.parametrize("make", STORES.values(), ids=STORES)
def test_every_store_says_whether_the_marginals_know_the_targets(make, float64):
    """The noise after the first step is the marginal form for averaged sites and the tilted one for the others."""
    x, y = linear_data()
    model, likelihood = GBPLinear(5, 1), Regression(0.6, learn_noise=True)
    propagate = MessagePassing(model.parameters(), 80, store=make())
    mean, variance = model(x).detach()
    expected = expected_square(mean, variance, y) if make is AveragedSites else tilted_square(mean, variance, y, 0.6)
    with propagate.visit(0, x, y):
        sweep(propagate, model, likelihood, x, y)
    assert_close(likelihood.noise_variance, 0.5 * 0.6 + 0.5 * expected)


@pytest.mark.parametrize("batch", [1000, 50])
def test_a_linear_layer_learns_the_noise_of_most_evidence(batch, float64):
    """Orthogonal inputs, where factorised marginals lose nothing; messages are exact to the order of weights / examples."""
    x = torch.linalg.qr(torch.randn(1000, 8))[0] * math.sqrt(1000)
    y = x @ torch.randn(8, 1) + math.sqrt(0.3) * torch.randn(1000, 1)
    residual = (y - x @ (x.T @ y / 1000)).square().sum() / (1000 - 8)  # the maximum of the evidence for a wide prior
    model = GBPLinear(8, 1, bias=False, prior=Prior(variance=1e3), covariance="diagonal")
    likelihood = Regression(4.0, learn_noise=True)
    propagate = MessagePassing(model.parameters(), 1000, epochs=30 * batch**0.5 / 4)
    for _ in range(30 if batch < 1000 else 200):
        for part in torch.randperm(1000).split(batch):
            sweep(propagate, model, likelihood, x[part], y[part])
    assert_close(likelihood.noise_variance, residual, rtol=1e-3 if batch == 1000 else 0.03, atol=0)


def wave(n=256, noise=0.01):
    x = torch.rand(n, 1) * 4 - 2
    return x, torch.sin(2 * x) + math.sqrt(noise) * torch.randn(n, 1)


def test_a_network_learns_the_noise_with_the_trainer():
    data = TensorDataset(*wave())
    likelihood = Regression(1.0, power=4.0, learn_noise=True)
    learner = Trainer(mlp(1, 32, 1, prior=Prior(scale=1.0)), likelihood, epochs=60, progress=False)
    learner.fit(DataLoader(data, 16, shuffle=True))
    assert 0.005 < float(likelihood.noise_variance) < 0.03
    assert learner.evaluate(DataLoader(data, 256)).rmse < 0.15
    spread = learner.predict(torch.zeros(1, 1)).variance
    assert float(spread) > float(likelihood.noise_variance)


def test_lightning_learns_the_noise_of_a_loop_by_hand(tmp_path):
    x, y = wave(48)
    torch.manual_seed(2)
    module = GBPRegressor(mlp(1, 8, 1), Regression(1.0, learn_noise=True), num_data=48)
    model, likelihood = copy.deepcopy(module.model), copy.deepcopy(module.likelihood)
    fit = trainer(3)
    fit.fit(module, DataLoader(TensorDataset(x, y), batch_size=16))
    propagate = MessagePassing(model.parameters(), 48, epochs=3)
    for _ in range(3):
        for part in range(0, 48, 16):
            sweep(propagate, model, likelihood, x[part : part + 16], y[part : part + 16])
    assert torch.equal(module.likelihood.noise_variance, likelihood.noise_variance)
    assert likelihood.noise_variance != 1.0
    fit.save_checkpoint(tmp_path / "model.ckpt")
    again = GBPRegressor(mlp(1, 8, 1), Regression(1.0, learn_noise=True))
    again.load_state_dict(torch.load(tmp_path / "model.ckpt", weights_only=True)["state_dict"])
    assert torch.equal(again.likelihood.noise_variance, likelihood.noise_variance)
    assert isinstance(fit, lightning.Trainer)


def test_accumulated_batches_share_the_step(float64):
    x, y = wave(40)
    model, likelihood = mlp(1, 4, 1), Regression(1.0, learn_noise=True)
    propagate = MessagePassing(model.parameters(), 80)
    statistics = [expected_square(*model(x[part]).detach(), y[part]) for part in (slice(0, 30), slice(30, 40))]
    for part in (slice(0, 30), slice(30, 40)):
        likelihood(model(x[part]), y[part]).backward()
    propagate.step()
    first = 1.0 + 30 / 80 * (statistics[0] - 1.0)
    assert_close(likelihood.noise_variance, first + 10 / 80 * (statistics[1] - first))


def test_early_stopping_goes_back_to_the_noise_of_the_best_pass():
    data = TensorDataset(*wave(64))
    likelihood = Regression(1.0, learn_noise=True)
    learner = Trainer(mlp(1, 4, 1), likelihood, epochs=3, patience=3, progress=False)
    noises = []

    def falling(_):
        noises.append(float(likelihood.noise_variance))
        return result._replace(log_evidence=-len(noises))

    result = learner.evaluate(DataLoader(data, 64))
    learner.evaluate = falling
    learner.fit(DataLoader(data, 16), DataLoader(data, 64))
    assert len(set(noises)) == 3
    assert float(likelihood.noise_variance) == noises[0]


def test_copies_and_saved_states_keep_the_noise(tmp_path):
    likelihood = Regression(0.5, learn_noise=True)
    likelihood.learn(torch.zeros(3, 1), torch.ones(3, 1), torch.ones(3, 1), seen=True, share=0.5)
    twin = copy.deepcopy(likelihood)
    torch.save(likelihood.state_dict(), tmp_path / "likelihood.pt")
    again = Regression(9.0, learn_noise=True)
    again.load_state_dict(torch.load(tmp_path / "likelihood.pt", weights_only=True))
    assert float(likelihood.noise_variance) == float(twin.noise_variance) == float(again.noise_variance) == 1.25
    twin.learn(torch.zeros(3, 1), torch.ones(3, 1), torch.ones(3, 1), seen=True, share=0.5)
    assert float(likelihood.noise_variance) == 1.25
    assert "noise_variance=1.25" in repr(likelihood)
    assert "noise_variance" not in Regression(0.5).state_dict()


def test_a_step_that_fails_leaves_noise_and_marginals():
    x, y = wave(16)
    model, likelihood = mlp(1, 4, 1), Regression(1.0, learn_noise=True)
    propagate = MessagePassing(model.parameters(), 16)
    before = copy.deepcopy(model.state_dict())
    likelihood(model(x), y).backward()
    model[0].weight.mean.grad[0, 0] = math.nan
    model[0].weight.arrive()  # as if it had come so
    with pytest.raises(ImproperMarginal, match="NaN or Inf"):
        propagate.step()
    propagate.zero_grad()
    likelihood(model(x), 1e25 * y).backward()  # squares that float32 cannot hold
    with pytest.raises(ImproperMarginal, match="noise variance would not be positive and finite"):
        propagate.step()
    assert float(likelihood.noise_variance) == 1.0
    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_a_noise_of_nothing_raises():
    with pytest.raises(ImproperMarginal, match="give the noise variance instead"):
        average(torch.tensor(1.0), torch.tensor(0.0), 1.0)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("learn_noise", [False, True])
def test_noise_variances_that_are_no_variances_raise(bad, learn_noise):
    with pytest.raises(InvalidInput, match="noise_variance must be positive and finite in float32"):
        Regression(bad, learn_noise=learn_noise)
