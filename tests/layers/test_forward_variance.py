"""Variance of the outputs over the Monte Carlo variance from the same marginals: exact where beliefs are independent.

The ratios are recorded, so that a change is seen: every variable is taken as independent of the others, which one weight that
many positions share, or one input that many units share, makes wrong. Sums of what is positively correlated come out too
certain, and a maximum is taken for the entry with the largest mean.
"""

import math

import pytest
import torch
from helpers import sweep, three_classes
from monte_carlo import ratio
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp

pytestmark = pytest.mark.usefixtures("float64")


def linear(*size):
    return gbp.GBPLinear(*size, prior=gbp.Prior(scale=1.0))


def conv(*size, **options):
    return gbp.GBPConv2d(*size, prior=gbp.Prior(scale=1.0), **options)


def rectifier():
    return gbp.GBPLeakyReLU(0.1)


def pooled(side):
    """A convolution and a global average, on images of so many pixels a side."""
    return nn.Sequential(conv(1, 2, 3, padding=1), gbp.GBPAdaptiveAvgPool2d(1), nn.Flatten()), torch.rand(2, 1, side, side)


def chain(depth, width=16):
    blocks = [layer for _ in range(depth) for layer in (linear(width, width), rectifier())]
    return nn.Sequential(*blocks), torch.randn(3, width)


def perceptron():
    """Trained on three classes, so that its weights and activations agree on the same few directions."""
    layers = [gbp.GBPLinear(*size, prior=gbp.Prior(scale=0.1)) for size in ((3, 16), (16, 16), (16, 3))]
    network = nn.Sequential(layers[0], rectifier(), layers[1], rectifier(), layers[2])
    (x, y), likelihood = three_classes(), gbp.Softmax(power=64)
    store = gbp.AveragedSites(momentum=0.9, trust_radius=16.0, tail=0.125)
    propagate = gbp.MessagePassing(network.parameters(), 60, lr=0.4, epochs=None, store=store)
    for _ in range(60):
        sweep(propagate, network, likelihood, x, y)
    return network, x[:6]


CASES = {  # network and inputs, recorded ratio
    "linear": (lambda: (nn.Sequential(linear(8, 4)), torch.randn(3, 8)), 1.0),
    "convolution, every position": (lambda: (nn.Sequential(conv(2, 3, 3)), torch.randn(2, 2, 6, 6)), 1.0),
    "linear, leaky relu": (lambda: chain(1), 1.0),
    "two linear layers": (lambda: (nn.Sequential(linear(8, 8), linear(8, 4)), torch.randn(3, 8)), 1.0),
    "chain of 2": (lambda: chain(2), 0.994),
    "chain of 4": (lambda: chain(4), 0.912),
    "logits of a trained perceptron": (perceptron, 0.838),
    "global average, 8 pixels": (lambda: pooled(8), 0.01846),
    "global average, 16 pixels": (lambda: pooled(16), 0.00459),
    "convolution, max-pool": (lambda: (nn.Sequential(conv(1, 3, 3), gbp.GBPMaxPool2d(2)), torch.randn(2, 1, 6, 6)), 1.2357),
}


@pytest.mark.parametrize("name", CASES)
def test_the_variance_over_that_of_the_draws_is_as_recorded(name):
    make, recorded = CASES[name]
    assert ratio(*make()) == pytest.approx(recorded, rel=0.05)


@torch.no_grad()
def test_a_skip_connection_takes_its_two_branches_as_independent():
    """h + f(h) with f the identity is 2 h: its variance is 4 v, and 2 v is what comes out."""
    h = gbp.Gaussian(torch.randn(5), 0.5 + torch.rand(5))
    same = gbp.GBPLeakyReLU(1.0)
    draws = h.mean + h.variance.sqrt() * torch.randn(50_000, 5)
    found = (h + same(h)).variance / (2 * draws).var(0)
    assert_close(found, torch.full((5,), 0.5), rtol=0.05, atol=0)
    assert_close((h + h).variance / (2 * draws).var(0), torch.ones(5), rtol=0.05, atol=0)  # the same tensor is recognised


@torch.no_grad()
def test_a_max_pool_has_the_moments_of_the_entry_with_the_largest_mean():
    """Of four N(0, 1) the maximum has mean 1.03 and variance 0.49; the default says 0 and 1."""
    belief = gbp.Gaussian(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    draws = torch.randn(100_000, 4).amax(1)
    assert draws.mean().item() == pytest.approx(1.029, abs=0.01)
    assert draws.var().item() == pytest.approx(0.492, abs=0.01)
    mean, variance = gbp.GBPMaxPool2d(2)(belief)
    assert (mean.item(), variance.item()) == (0.0, 1.0)


def test_the_first_message_to_a_shared_kernel_counts_its_own_uncertainty_at_every_position():
    """1 x 1 kernel, 16 positions: 16 x^2 / (x^2 v + noise), exact 16 x^2 / noise."""
    x, noise = 1 - 2 * (torch.arange(16.0).view(1, 1, 4, 4) % 2), 0.15  # 1 and -1: x^2 is 1
    kernel = gbp.GBPConv2d(1, 1, 1, bias=False, prior=gbp.Prior(variance=1.0), covariance="diagonal")
    gbp.Regression(noise)(kernel(x), torch.randn(1, 1, 4, 4)).backward()
    found, exact = 2 * kernel.weight.precision.grad.item(), 16 / noise
    assert found == pytest.approx(16 / (1 + noise), rel=1e-12)
    assert found / exact == pytest.approx(0.1304, rel=1e-3) and math.isclose(exact, 106.67, rel_tol=1e-3)
