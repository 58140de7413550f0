"""Priors: the variance formulas and random prior means."""

import math
import pickle
from copy import deepcopy
from dataclasses import FrozenInstanceError

import numpy as np
import oracle
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import GBPConv2d, GBPLinear, Prior, from_torch
from torch_gbp.errors import InvalidInput
from torch_gbp.weights import variances
from torch_gbp.weights.attached import attach

TABLE = [  # fan-in, fan-out, variances by FORMULAS
    (256, 256, 0.00600, 0.00217, 0.00179),
    (256, 10, 0.01267, 0.00458, 0.00379),
    (1600, 512, 0.00173, 0.00062, 0.00051),
    (84, 10, 0.03641, 0.01334, 0.01103),
    (16, 16, 0.08702, 0.03470, 0.02871),
]
FORMULAS = (variances.offset_scaled, variances.fan_in_scaled, variances.variance_preserving)


def _leaky(z):
    return torch.where(z > 0, z, 0.1 * z)


@pytest.mark.parametrize(("fan_in", "fan_out", "offset", "plain", "preserving"), TABLE)
def test_formulas_give_the_tabulated_variances(fan_in, fan_out, offset, plain, preserving):
    for formula, expected in zip(FORMULAS, (offset, plain, preserving), strict=True):
        found = GBPLinear(fan_in, fan_out, prior=Prior(scale=1.0, variance=formula)).weight
        assert_close(found.prior_precision.reciprocal().item(), expected, rtol=0, atol=5.1e-6)
        assert found.prior_mean is None


def test_the_preserving_formula_keeps_the_variance_of_a_hidden_layer():
    """E[v_z] = 1.5 by quadrature over u ~ N(0, 1), z ~ N(u, 2), a = LeakyReLU(z); the other two do not."""
    u, weight = oracle.grid(torch.tensor([-9.0]).double(), torch.tensor([9.0]).double())
    chance = (weight * torch.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)).squeeze(0)
    u, two = u.squeeze(0)[::4], torch.tensor(2.0).double()
    chance = chance[::4] / chance[::4].sum()
    mean = oracle.expectation(_leaky, u, two.expand_as(u))
    variance = oracle.expectation(lambda z: _leaky(z) ** 2, u, two.expand_as(u)) - mean**2
    squared, spread = float((chance * mean**2).sum()), float((chance * variance).sum())
    for fan_in, fan_out in ((30, 30), (400, 400), (256, 10)):
        ratio = min(1, fan_out / fan_in)
        found = {f: fan_in * (f(fan_in, ratio) * (squared + spread) + ratio / fan_in * spread) for f in FORMULAS}
        assert_close(found[variances.variance_preserving], 1.5, rtol=1e-4, atol=0)
        assert found[variances.offset_scaled] > found[variances.fan_in_scaled] > 1.55


def test_every_layer_has_a_prior_of_its_own():
    network = nn.Sequential(
        GBPLinear(6, 4, prior=Prior(variance=variances.first_layer, scale=1.0)),
        GBPLinear(4, 3, prior=Prior(variance=0.2)),
        GBPLinear(3, 3, prior=Prior(variance=lambda fan_in, ratio: ratio / fan_in**2, scale=2.0)),
    )
    assert_close([1 / layer.weight.prior_precision.item() for layer in network], [0.25, 0.2, 2 / 9])
    twin = from_torch(
        nn.Sequential(nn.Linear(40, 5), nn.Flatten()),
        fresh=True,
        prior=Prior(variance=variances.variance_preserving, scale=1.0),
        moments=True,
    )
    assert_close(1 / twin[0].weight.prior_precision.item(), variances.variance_preserving(40, 5 / 40))
    kernel = GBPConv2d(32, 8, 3, prior=Prior(variance=variances.fan_in_scaled, scale=1.0)).weight
    assert_close(1 / kernel.prior_precision.item(), 0.00193, rtol=0, atol=5.1e-6)


def test_random_prior_means_have_the_spectral_scale_and_are_saved():
    layer = GBPLinear(400, 100, prior=Prior(mean="start"))
    assert torch.equal(layer.weight.mean, layer.weight.prior_mean)
    assert_close(layer.weight.prior_mean.std().item(), math.sqrt(0.25 / 400), rtol=0.02, atol=0)
    assert layer.bias.prior_mean is None
    other = GBPLinear(400, 100)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.weight.prior_mean, layer.weight.prior_mean)
    before = layer.weight.prior_mean
    layer.reset_parameters()
    assert torch.equal(layer.weight.mean, layer.weight.prior_mean)
    assert not torch.equal(layer.weight.prior_mean, before)


def test_known_weights_take_the_place_of_random_prior_means():
    torch_layer = nn.Linear(5, 4)
    twin = GBPLinear.from_torch(torch_layer, as_prior=True, prior=Prior(mean="start"))
    twin.reset_parameters()
    assert torch.equal(twin.weight.prior_mean, torch_layer.weight)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_prior_variances_that_are_no_variances_raise(bad):
    for options in ({"variance": bad}, {"scale": bad}, {"variance": lambda fan_in, ratio: bad}):
        with pytest.raises(InvalidInput, match="must be positive and finite"):
            GBPLinear(3, 2, prior=Prior(**options))
        with pytest.raises(InvalidInput, match="must be positive and finite"):
            GBPConv2d(3, 2, 3, prior=Prior(**options))


def test_a_given_mean_is_the_prior_mean_and_the_start():
    given = torch.randn(2, 3)
    for mean, expected in ((0.7, torch.full((2, 3), 0.7)), (given, given)):
        weight = GBPLinear(3, 2, prior=Prior(mean=mean)).weight
        assert torch.equal(weight.prior_mean, expected) and torch.equal(weight.mean, expected)
    spread = GBPLinear(300, 200, prior=Prior(start_deviation=0.2, mean=0.7)).weight
    assert_close(spread.mean.mean().item(), 0.7, rtol=0, atol=0.01)
    assert_close((spread.mean - spread.prior_mean).std().item(), 0.2, rtol=0.02, atol=0)


def test_a_given_mean_comes_back_with_the_memory():
    layer = GBPLinear(3, 2, prior=Prior(mean=0.7), device="meta").to_empty(device="cpu")
    assert torch.equal(layer.weight.mean, torch.full((2, 3), 0.7)) and torch.equal(layer.weight.mean, layer.weight.prior_mean)


def test_biases_have_a_variance_or_a_prior_of_their_own():
    layer = GBPLinear(3, 2, prior=Prior(bias=0.25))
    assert layer.bias.prior_precision.item() == 4 and not layer.bias.mean.any()
    own = GBPLinear(3, 2, prior=Prior(bias=Prior(2.0, mean=-1.0))).bias
    assert own.prior_precision.item() == 0.5 and torch.equal(own.mean, torch.full((2,), -1.0))


def test_the_start_is_as_wide_as_the_prior_says():
    assert_close(GBPLinear(300, 200, prior=Prior(start_deviation=0.3)).weight.mean.std().item(), 0.3, rtol=0.02, atol=0)
    assert not GBPLinear(3, 2, prior=Prior(start_deviation=0.0)).weight.mean.any()


def test_a_prior_that_is_attached_sees_the_fans_of_its_weights():
    marginal = attach(nn.Linear(40, 5), "weight", Prior(variances.first_layer, scale=1.0))
    assert_close(marginal.prior_precision.item(), 40 / 1.5)
    centred = attach(nn.Linear(40, 5), "weight", Prior(mean="start"))
    assert torch.equal(centred.prior_mean, centred.mean)


def test_a_prior_stays_what_it_is():
    prior = Prior(scale=0.5)
    resolved = prior.resolved(8, 8)
    assert resolved.resolved(2, 1) == resolved and prior == Prior(scale=0.5) != Prior()
    with pytest.raises(FrozenInstanceError):
        prior.scale = 1.0
    assert pickle.loads(pickle.dumps(resolved)) == resolved


def test_a_prior_mean_is_no_function_of_parameters():
    layer = gbp.GBPLinear(6, 3, prior=gbp.Prior(1.0, mean=nn.Linear(6, 3).weight * 2))
    assert torch.equal(deepcopy(layer).weight.mean, layer.weight.mean)
    assert isinstance(gbp.to_torch(layer), nn.Linear)


def test_a_prior_mean_of_numpy_and_the_class_of_a_store_are_refused():
    with pytest.raises(InvalidInput, match="mean must be"):
        gbp.Prior(mean=np.ones((3, 6)))
    with pytest.raises(InvalidInput, match="store must be"):
        gbp.MessagePassing(gbp.GBPLinear(2, 1).parameters(), num_data=4, store=gbp.Filtering)
