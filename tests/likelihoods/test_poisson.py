"""Poisson: its closed forms, counts that are refused, and networks that learn rates by either sweep."""

import math

import pytest
import torch
from helpers import mlp
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput


def test_an_unlikely_count_is_worth_a_precision_of_its_own_size():
    """Of a wide belief a count of 10^6 leaves variance 1 / y, the Fisher information of the log rate."""
    belief = gbp.Gaussian(torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), 25.0, dtype=torch.float64))
    _, score, precision = gbp.Poisson().evidence(*belief, torch.tensor([[1e6]], dtype=torch.float64))
    after = belief.variance * (1 - belief.variance * precision)
    assert_close(after, torch.tensor([[1e-6]]).double(), rtol=1e-5, atol=0)
    assert_close(belief.mean + belief.variance * score, torch.tensor([[math.log(1e6)]]).double(), rtol=1e-6, atol=0)


def test_uncertainty_of_a_rate_is_that_of_a_lognormal():
    m, v = torch.tensor([[0.3, -1.0]]).double(), torch.tensor([[0.5, 1.5]]).double()
    found = gbp.Poisson().predictive(gbp.Gaussian(m, v))
    rate = (m + v / 2).exp()
    assert_close(found.mean, rate, rtol=1e-8, atol=0)
    assert_close(found.variance, rate + rate.square() * v.expm1(), rtol=1e-8, atol=0)
    assert_close(gbp.Poisson().variance_of_means(gbp.Gaussian(m, v)), rate.square() * v.expm1(), rtol=1e-8, atol=0)


@pytest.mark.parametrize("how", ["moments", "samples", "linear", "means"])
def test_predictions_tell_what_more_data_would(how):
    network = gbp.from_torch(nn.Linear(2, 1), fresh=True)
    found = gbp.predict(network, gbp.Poisson(), torch.randn(5, 2), how=how)
    assert (found.epistemic >= 0).all() and ((found.epistemic > 0).all() or how == "means")
    assert_close(found.epistemic + found.aleatoric, found.distribution.variance)


@pytest.mark.filterwarnings("ignore::torch_gbp.errors.NotLearning")  # by means it takes a third of the passes to show
@pytest.mark.parametrize(("sweep", "epochs"), [("moments", 12), ("means", 30)])
def test_a_network_learns_a_rate(sweep, epochs):
    """log rate 1 + sin(2 x), from 600 counts: half of its deviation (0.7) is explained, or more."""
    x = torch.rand(600, 1) * 4 - 2
    data = torch.utils.data.TensorDataset(x, torch.poisson((1 + torch.sin(2 * x)).exp()))
    model = mlp(1, 32, 1, prior=gbp.Prior(scale=1.0))
    trainer = gbp.Trainer(model, gbp.Poisson(power=16.0), epochs=epochs, progress=False, sweep=sweep)
    trainer.fit(torch.utils.data.DataLoader(data, 20, shuffle=True))
    at = torch.linspace(-1.8, 1.8, 19)[:, None]
    with torch.no_grad():
        found = model.eval()(at)
    assert float((found.mean - 1 - torch.sin(2 * at)).square().mean().sqrt()) < 0.35


def test_counts_may_be_integers():
    output, y = gbp.Gaussian(torch.randn(4, 1), torch.rand(4, 1)), torch.tensor([[0], [1], [2], [9]])
    assert_close(gbp.Poisson()(output, y), gbp.Poisson()(output, y.float()))


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (torch.tensor([[-1.0], [2.0]]), "targets must be counts.*lowest -1"),
        (torch.tensor([[0.5], [2.0]]), "1 not whole"),
        (torch.tensor([[math.nan], [2.0]]), "1 targets are NaN"),
        (torch.tensor([1.0, 2.0]), "the outputs' shape"),
        (torch.tensor([[True], [False]]), "must be numbers.*torch.bool"),
    ],
)
def test_targets_that_are_no_counts_are_refused(target, text):
    with pytest.raises(InvalidInput, match=text):
        gbp.Poisson()(gbp.Gaussian(torch.zeros(2, 1), torch.ones(2, 1)), target)
