"""The bounds that numerics.py and factors/leaky_relu.py state, over all tails.

REFERENCE was computed once with mpmath at 60 digits: Phi = erfc(-t / sqrt 2) / 2, v = phi / Phi, h = v + t,
r = 1 - v h, printed to 20 digits.
"""

import math

import oracle
import pytest
import torch
from torch.testing import assert_close

from torch_gbp.factors import leaky_relu
from torch_gbp.factors.leaky_relu import LeakyReLUOptions
from torch_gbp.factors.numerics import floored, inverse_mills, log_normal_cdf, truncated_moments

REFERENCE = [  # t, log Phi, v, h, r
    (-100, -5005.5242086942050886, 100.00999800099926071, 0.0099980009992607051849, 0.000099940049948263450361),
    (-60, -1805.0135606805671387, 60.01665742024112493, 0.016657420241124929871, 0.00027731588341476922695),
    (-30, -454.32124395634319711, 30.033259667433677037, 0.033259667433677037071, 0.0011037715118900910011),
    (-10, -53.231285150512470578, 10.098093233962511963, 0.098093233962511962844, 0.0094453778256562611641),
    (-5, -15.064998393988725736, 5.1865039671258421156, 0.18650396712584211562, 0.032696434617112225345),
    (-2.5, -5.0816482772786904984, 2.8227447976639072505, 0.32274479766390725047, 0.088973801421115442811),
    (-2, -3.7831843336820319488, 2.3732155328228408673, 0.3732155328228408673, 0.11427910041408125664),
    (-1.5, -2.705944400823889807, 1.9386771666225431895, 0.43867716662254318945, 0.14954659355020269531),
    (-1, -1.8410216450092635058, 1.5251352761609812091, 0.52513527616098120909, 0.19909766557034879155),
    (0, -0.69314718055994530942, 0.79788456080286535588, 0.79788456080286535588, 0.36338022763241865692),
    (1, -0.17275377902344988953, 0.28759997093917836123, 1.2875999709391783612, 0.62968628577660540086),
    (3, -0.0013508099647481937988, 0.0044378390421256637933, 3.0044378390421256638, 0.98666678845825919379),
    (8, -6.2209605742717860585e-16, 5.0522710835368954309e-15, 8.0000000000000050523, 0.99999999999995958183),
    (30, 0.0, 1.473646134878547519e-196, 30.0, 1.0),
]
T, LOG_CDF, MILLS, MEAN, VARIANCE = torch.tensor(REFERENCE, dtype=torch.float64).T.contiguous()
DENSE = torch.linspace(-100, 100, 200_001).double()  # every point a float32 number


def relative(got, want):
    return float(((got.double() - want) / want).abs().max())


def test_float64_equals_the_reference():
    mean, variance = truncated_moments(T)
    assert_close(mean, MEAN, rtol=1e-13, atol=0)
    assert_close(variance, VARIANCE, rtol=1e-13, atol=0)
    assert_close(inverse_mills(T), MILLS, rtol=1e-13, atol=0)
    below = T <= 0
    assert_close(log_normal_cdf(T)[below], LOG_CDF[below], rtol=1e-15, atol=0)
    assert_close(log_normal_cdf(T), LOG_CDF, rtol=1e-15, atol=1e-15)


def test_float32_bound_of_the_truncated_moments():
    expected = truncated_moments(DENSE)
    found = truncated_moments(DENSE.float())
    assert relative(found[0], expected[0]) < 4e-6
    assert relative(found[1], expected[1]) < 2e-5


@pytest.mark.parametrize(("low", "high", "bound"), [(-100, 0, 1e-6), (0, 13, 2e-5)])
def test_float32_bound_of_the_inverse_mills_ratio(low, high, bound):
    t = DENSE[(low <= DENSE) & (high >= DENSE)]
    assert relative(inverse_mills(t.float()), inverse_mills(t)) < bound


def test_inverse_mills_ratio_ends_in_zero():
    assert inverse_mills(torch.tensor([14.0, 100.0])).tolist() == [0.0, 0.0]


def test_float32_bound_of_log_cdf():
    found, expected = log_normal_cdf(DENSE.float()), log_normal_cdf(DENSE)
    below = DENSE <= 0
    assert relative(found[below], expected[below]) < 5e-7
    assert_close(found.double()[~below], expected[~below], rtol=0, atol=5e-7)


def test_truncated_moments_agree_with_quadrature():
    t = torch.linspace(-8, 8, 65, dtype=torch.float64)
    mass = oracle.expectation(lambda z: (z > 0).double(), t, torch.ones_like(t))
    first = oracle.expectation(lambda z: z.clamp_min(0), t, torch.ones_like(t)) / mass
    gap = oracle.expectation(lambda z: (z > 0) * (z - first.unsqueeze(-1)) ** 2, t, torch.ones_like(t)) / mass
    mean, variance = truncated_moments(t)
    assert_close(mean, first, rtol=1e-12, atol=0)
    assert_close(variance, gap, rtol=1e-12, atol=0)


def test_truncated_variance_lies_between_0_and_1():
    for dtype in (torch.float32, torch.float64):
        mean, variance = truncated_moments(DENSE.to(dtype))
        assert (mean > 0).all() and (variance > 0).all() and (variance <= 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floor_keeps_a_known_variable_finite(dtype):
    variance = torch.tensor([0.0, 1e-30, 2.0], dtype=dtype)
    assert (torch.tensor(50.0, dtype=dtype) / floored(variance).sqrt()).isfinite().all()
    assert floored(variance)[1:].equal(variance[1:])


SLOPES = (0.0, 0.01, 0.1, 0.5, 0.9, 1.0)


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("variance", [1e-6, 1.0, 1e6])
def test_float32_bound_of_the_rectifier(slope, variance):
    """2e-6 of max(|m|, s) and of v over |x| <= 100, x = m / sqrt(2 v); messages alike."""
    v = torch.full_like(DENSE, variance).float()
    m = (DENSE * math.sqrt(2 * variance)).float()
    low, high = (leaky_relu.forward(LeakyReLUOptions(slope), m.to(d), v.to(d)) for d in (torch.float32, torch.float64))
    scale = torch.maximum(m.double().abs(), v.double().sqrt())
    assert float(((low[0][0] - high[0][0]).abs() / scale).max()) < 2e-6
    assert float(((low[0][1] - high[0][1]).abs() / v.double()).max()) < 2e-6
    assert (low[0][1] >= 0).all()
    units = (torch.ones_like(m), torch.ones_like(m))
    found = leaky_relu.score_backward(LeakyReLUOptions(slope), low[1], *units)
    expected = leaky_relu.score_backward(LeakyReLUOptions(slope), high[1], *(u.double() for u in units))
    assert float(((found[0] - expected[0]).abs() / (1 + scale)).max()) < 2e-6
    assert float((found[1] - expected[1]).abs().max()) < 2e-6
    assert (found[1] >= 0).all()


@pytest.mark.parametrize("slope", SLOPES)
def test_rectifier_tails(slope):
    """100 deviations from the kink the rectifier is a line: mean, variance and messages are those of the line."""
    mean, variance = torch.tensor([-100.0, 100.0], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    lines = torch.tensor([slope, 1.0], dtype=torch.float64)
    moments, saved = leaky_relu.forward(LeakyReLUOptions(slope), mean, variance)
    back = torch.tensor([0.7, 1.3], dtype=torch.float64)
    score, precision = leaky_relu.score_backward(LeakyReLUOptions(slope), saved, *back)
    for got, want in zip((*moments, score, precision), (lines * mean, lines**2, 0.7 * lines, 1.3 * lines**2), strict=True):
        assert_close(got, want, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rectifier_of_a_known_variable(slope, dtype):
    mean = torch.tensor([-50.0, -1e-3, 0.0, 1e-3, 50.0], dtype=dtype)
    moments, saved = leaky_relu.forward(LeakyReLUOptions(slope), mean, torch.zeros_like(mean))
    assert_close(moments[0], torch.nn.functional.leaky_relu(mean, slope), rtol=1e-7, atol=1e-18)
    assert moments[1].tolist() == [0.0] * 5
    back = leaky_relu.score_backward(LeakyReLUOptions(slope), saved, torch.ones_like(mean), torch.ones_like(mean))
    assert all(part.isfinite().all() for part in back)


@pytest.mark.parametrize("slope", SLOPES)
def test_score_equals_autograd_of_the_moments(slope):
    """g = g' dE/dm - G'/2 dVar/dm, with the derivatives taken by autograd of the closed-form moments."""
    deviation = torch.rand(50, dtype=torch.float64).exp()
    mean = (5 * torch.randn(50, dtype=torch.float64) * deviation).requires_grad_()
    back_score, back_precision = torch.randn(50, dtype=torch.float64), torch.rand(50, dtype=torch.float64)
    x = mean / deviation / math.sqrt(2)
    gain = torch.erfc(-x) / 2
    bell = deviation * torch.exp(-(x**2)) / math.sqrt(2 * math.pi)
    first = slope * mean + (1 - slope) * (mean * gain + bell)
    second = slope**2 * (mean**2 + deviation**2) + (1 - slope**2) * ((mean**2 + deviation**2) * gain + mean * bell)
    functional = (back_score * first).sum() - 0.5 * (back_precision * (second - first**2)).sum()
    (expected,) = torch.autograd.grad(functional, mean)
    (_, saved) = leaky_relu.forward(LeakyReLUOptions(slope), mean.detach(), deviation**2)
    score, _ = leaky_relu.score_backward(LeakyReLUOptions(slope), saved, back_score, back_precision)
    assert_close(score, expected, rtol=1e-11, atol=1e-11)
