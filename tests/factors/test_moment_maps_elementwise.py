"""Elementwise maps against sums of thirty digits: asymmetric and extreme means, variances from 0 over tiny to huge."""

import itertools
from functools import cache

import mpmath as mp
import pytest
import torch
import torch.nn.functional as F
from moment_helpers import belief
from torch import nn
from torch.testing import assert_close

from torch_gbp import Gaussian

MEANS = (-20.0, -3.0, -0.4, 1.7, 6.0, 25.0)
VARIANCES = (1e-14, 0.04, 0.9, 2.9, 100.0, 1e6)
MEANS_AND_VARIANCES = [(mean, variance) for mean in MEANS for variance in VARIANCES]
FUNCTIONS = {  # torch's function, the same in mpmath, and the places where its slope jumps
    "relu": (F.relu, lambda z: max(z, 0), [0]),
    "leaky_relu": (nn.LeakyReLU(0.1), lambda z: z if z > 0 else z * mp.mpf(0.1), [0]),
    "abs": (torch.abs, abs, [0]),
    "sigmoid": (nn.Sigmoid(), lambda z: 1 / (1 + mp.exp(-z)), []),
    "tanh": (nn.Tanh(), mp.tanh, []),
    "gelu": (nn.GELU(), lambda z: z * mp.ncdf(z), []),
    "gelu by tanh": (
        nn.GELU("tanh"),
        lambda z: z / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (z + mp.mpf("0.044715") * z**3))),
        [],
    ),
    "silu": (nn.SiLU(), lambda z: z / (1 + mp.exp(-z)), []),
    "mish": (nn.Mish(), lambda z: z * mp.tanh(mp.log1p(mp.exp(z))), []),
    "softplus": (nn.Softplus(), lambda z: mp.log1p(mp.exp(z)), []),
    "logsigmoid": (nn.LogSigmoid(), lambda z: -mp.log1p(mp.exp(-z)), []),
    "relu6": (nn.ReLU6(), lambda z: min(max(z, 0), 6), [0, 6]),
    "hardtanh": (nn.Hardtanh(-2.0, 1.0), lambda z: min(max(z, -2), 1), [-2, 1]),
    "clamp": (lambda x: torch.clamp(x, -1, 0.5), lambda z: min(max(z, -1), mp.mpf(0.5)), [-1, 0.5]),
    "clamp from below": (lambda x: x.clamp(min=1.0), lambda z: max(z, 1), [1]),
    "clamp from above": (lambda x: torch.clamp(x, max=-1.0), lambda z: min(z, -1), [-1]),
    "hardswish": (nn.Hardswish(), lambda z: z * min(max(z + 3, 0), 6) / 6, [-3, 3]),
    "hardsigmoid": (nn.Hardsigmoid(), lambda z: min(max(z + 3, 0), 6) / 6, [-3, 3]),
    "elu": (nn.ELU(0.7), lambda z: z if z > 0 else mp.mpf(0.7) * mp.expm1(z), [0]),
    "celu": (nn.CELU(2.0), lambda z: z if z > 0 else 2 * mp.expm1(z / 2), [0]),
    "prelu": (nn.PReLU(1, 0.25), lambda z: z if z > 0 else z / 4, [0]),
}


@cache
def gauss_legendre(count=12):
    """Nodes and weights on (-1, 1) to thirty digits."""
    guesses = [mp.cos(mp.pi * (4 * k - 1) / (4 * count + 2)) for k in range(1, count + 1)]
    nodes = [mp.findroot(lambda t: mp.legendre(count, t), (guess, guess + 1e-3)) for guess in guesses]
    slopes = [count * (t * mp.legendre(count, t) - mp.legendre(count - 1, t)) / (t * t - 1) for t in nodes]
    return [(t, 2 / ((1 - t * t) * slope**2)) for t, slope in zip(nodes, slopes, strict=True)]


def exact(function, kinks, mean, variance):
    """Moments of f by Gauss-Legendre sums between all places where f or the density changes, about f(m)."""
    m, s = mp.mpf(mean), mp.sqrt(mp.mpf(variance))
    bends = [place * sign for place in (1, 2, 4, 8, 16, 32) for sign in (-1, 1)]
    own = [(place - m) / s for place in (*kinks, 0, *bends)]
    edges = sorted({mp.mpf(k) for k in range(-12, 13)} | {u for u in own if abs(u) < 12})
    mass = first = second = mp.mpf(0)
    for low, high in itertools.pairwise(edges):
        for node, weight in gauss_legendre():
            u = (low + high) / 2 + (high - low) / 2 * node
            share, rise = weight * (high - low) * mp.exp(-u * u / 2), function(m + s * u) - function(m)
            mass, first, second = mass + share, first + share * rise, second + share * rise * rise
    return function(m) + first / mass, second / mass - (first / mass) ** 2


@pytest.mark.parametrize(("own", "function", "kinks"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_moments_of_every_elementwise_function(own, function, kinks):
    """Float64: 1e-6 of the mean (of 0.01 s at least), and of the variance (of 1e-6 v at least); float32 as moment_maps says."""
    with mp.workdps(30):
        wanted = [exact(function, kinks, *point) for point in MEANS_AND_VARIANCES]
        mean, variance = (torch.tensor([float(pair[k]) for pair in wanted], dtype=torch.float64) for k in (0, 1))
    own = own.double() if isinstance(own, nn.Module) else own
    m, v = torch.tensor(MEANS_AND_VARIANCES, dtype=torch.float64).unbind(1)
    found = own(Gaussian(m[:, None], v[:, None]))[:, 0]
    assert_errors(found, mean, variance, 1e-6, mean.abs().clamp_min(1e-2 * v.sqrt()), variance.clamp_min(1e-6 * v))
    own = own.float() if isinstance(own, nn.Module) else own
    found = own(Gaussian(m[:, None].float(), v[:, None].float()))[:, 0]
    wide = m.abs().maximum(v.sqrt())
    assert_errors(found, mean, variance, 3e-6, mean.abs() + wide, variance + 1e-2 * v)


def assert_errors(found, mean, variance, bound, mean_scale, variance_scale):
    assert ((found.mean - mean).abs() / mean_scale).max() < bound
    assert ((found.variance - variance).abs() / variance_scale).max() < bound


@pytest.mark.parametrize("own", [case[0] for case in FUNCTIONS.values()], ids=FUNCTIONS)
def test_a_known_input_stays_known(own):
    m = torch.tensor([[-30.0], [-3.0], [-0.4], [0.0], [1.4], [3.0], [6.0], [80.0]], dtype=torch.float64, requires_grad=True)
    v = torch.zeros(8, 1, dtype=torch.float64, requires_grad=True)
    own = own.double() if isinstance(own, nn.Module) else own
    found = own(Gaussian(m, v))
    assert_close(tuple(found), (own(m), torch.zeros_like(v)))
    gradients = [g for part in found for g in torch.autograd.grad(part.sum(), (m, v), retain_graph=True)]
    assert all(bool(g.isfinite().all()) for g in gradients)
    slope = torch.autograd.grad(own(m).sum(), m)[0]
    smooth = [0, 2, 4, 7]  # away from the kinks: dE/dm = f', dVar/dv = f'^2
    assert_close((gradients[0][smooth], gradients[3][smooth]), (slope[smooth], slope[smooth].square()))


@pytest.mark.parametrize(
    "own", [*(case[0] for case in FUNCTIONS.values()), torch.square, nn.SELU()], ids=[*FUNCTIONS, "square", "selu"]
)
def test_gradients_by_mean_and_variance(own):
    own = own.double() if isinstance(own, nn.Module) else own
    m = torch.tensor([[-5.0], [-1.2], [-0.1], [0.3], [2.0], [6.1], [30.0]], dtype=torch.float64, requires_grad=True)
    v = torch.tensor([[0.3], [3.6], [0.01], [0.97], [30.0], [0.2], [1e-3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *moments: tuple(own(Gaussian(*moments))), (m, v), atol=1e-6, rtol=1e-5)


def test_prelu_has_one_slope_a_channel_and_a_gradient_for_it(float64):
    x, slope = belief(2, 3, 2), torch.tensor([0.1, 0.5, -0.2], requires_grad=True)
    found = F.prelu(x, slope)
    for channel, own in enumerate(slope.tolist()):
        assert_close(tuple(found[:, channel]), tuple(F.leaky_relu(x[:, channel], own)))
    assert torch.autograd.gradcheck(lambda own: tuple(F.prelu(x, own)), (slope,))


def test_prelu_with_a_gaussian_slope_by_two_points(float64):
    x, slope = belief(2, 3), belief(3, shift=1)
    ends = [F.prelu(x, slope.mean + sign * slope.standard_deviation) for sign in (-1, 1)]  # two points of the slope's moments
    mean = sum(end.mean for end in ends) / 2
    second = sum(end.variance + end.mean.square() for end in ends) / 2
    assert_close(tuple(F.prelu(x, slope)), (mean, second - mean.square()))


def test_many_entries_in_blocks_are_those_of_few(float64):
    x = belief(3, 20_000)
    x = Gaussian(4 * x.mean, x.variance)  # some entries away from the kink, some near it
    whole, part = F.elu(x), F.elu(x[1, 15_000:15_100])
    assert_close(tuple(whole[1, 15_000:15_100]), tuple(part))


def test_shapes_stay_and_empty_and_scalar_inputs_pass():
    for shape in ((), (0, 3), (2, 1, 3)):
        x = Gaussian(torch.zeros(shape), torch.ones(shape))
        assert torch.tanh(x).shape == F.relu(x).shape == shape


def test_moments_are_found_in_inference_mode_too():
    with torch.inference_mode():
        x = Gaussian(torch.tensor([0.5, 2.0]), torch.tensor([0.1, 3.0]))
        inside = F.gelu(x)
    outside = F.gelu(Gaussian(torch.tensor([0.5, 2.0]), torch.tensor([0.1, 3.0])))
    assert_close(tuple(inside), tuple(outside), rtol=0, atol=0)


def test_an_activation_in_place_leaves_its_input_alone():
    x = belief(3)
    before = x.mean.clone()
    nn.ReLU(inplace=True)(x), nn.SiLU(inplace=True)(x)
    assert_close(x.mean, before, rtol=0, atol=0)
