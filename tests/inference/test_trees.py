"""Linear-Gaussian trees: every marginal equals the dense posterior, mean and variance, and the loss is -log p(y)."""

import pytest
import torch
from helpers import messages
from oracle import condition
from torch import nn
from torch.testing import assert_close

from torch_gbp import Gaussian, GBPAdaptiveAvgPool2d, GBPAvgPool2d, GBPConv2d, GBPLinear, Regression

pytestmark = pytest.mark.usefixtures("float64")
NOISE = 0.3
SCALES = pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])


def leaf(*shape):
    """A variable of the tree: its belief, which collects the message."""
    return Gaussian(torch.randn(shape).requires_grad_(), torch.rand(shape).add_(0.1).requires_grad_())


def scramble(layer, precision=None):
    """Gives a layer's marginals uneven means and precisions (or one huge precision: known weights)."""
    for parameter in (layer.weight, layer.bias):
        if parameter is not None:
            with torch.no_grad():
                parameter.mean.normal_()
                parameter.precision.mul_(1 + 3 * torch.rand_like(parameter.precision))
                if precision is not None:
                    parameter.precision.fill_(precision)
    return layer


def beliefs(layer):
    return [(p.belief(), *messages(p.mean.grad, p.precision.grad)) for p in (layer.weight, layer.bias) if p is not None]


def collected(variable):
    return [(variable.detach(), *messages(variable.mean.grad, variable.variance.grad))]


def check(variables, matrix, target, loss):
    """Compares the posteriors of all variables, joined in order, with the dense answer for y = A u + e."""
    means, variances = torch.cat([torch.stack(list(belief.flatten())) for belief, _, _ in variables], 1)
    mean, variance, log_evidence = condition(means, variances, matrix, NOISE, target.flatten())
    posteriors = [belief.posterior(score, precision) for belief, score, precision in variables]
    assert_close(torch.cat([p.mean.flatten() for p in posteriors]), mean, rtol=1e-10, atol=1e-10)
    assert_close(torch.cat([p.variance.flatten() for p in posteriors]), variance, rtol=1e-10, atol=0)
    assert_close(-loss, log_evidence, rtol=1e-10, atol=1e-10)


@SCALES
@pytest.mark.parametrize("bias", [True, False])
def test_star_of_weights(scale, bias):
    layer, x, y = scramble(GBPLinear(4, 1, bias)), scale * torch.randn(1, 4), scale * torch.randn(1, 1)
    loss = Regression(NOISE)(layer(x), y)
    loss.backward()
    check(beliefs(layer), torch.cat([x, torch.ones(1, int(bias))], 1), y, loss.detach())


@SCALES
def test_sum_of_stars(scale):
    """Three outputs with weights of their own, joined by a sum with known coefficients."""
    layer, x, y = scramble(GBPLinear(2, 3, covariance="diagonal")), scale * torch.randn(1, 2), torch.randn(1, 1)
    z = layer(x)
    output = z[:, :1] * 2.0 + z[:, 1:2] - 0.5 * z[:, 2:3] + 3.0
    loss = Regression(NOISE)(output, y - 1)
    loss.backward()
    coefficients = torch.tensor([2.0, 1.0, -0.5])
    matrix = torch.cat([(coefficients[:, None] * x).flatten(), coefficients])[None]
    check(beliefs(layer), matrix, y - 4, loss.detach())


def test_shape_operations_carry_the_message():
    """Reshape, permute, cat, flip, pad and slice on the way: the tree is the same."""
    layer, other, x, y = scramble(GBPLinear(3, 4, covariance="diagonal")), leaf(1, 2), torch.randn(1, 3), torch.randn(1, 8)
    z = layer(x).unflatten(1, (2, 2)).permute(0, 2, 1).reshape(1, 4)  # z0 z2 z1 z3
    joined = torch.flip(torch.cat([z, other], 1), (1,))  # o1 o0 z3 z1 z2 z0
    output = nn.functional.pad(joined, (1, 1))
    loss = Regression(NOISE)(output, y)
    loss.backward()
    own = torch.zeros(8, 4 * 3 + 4 + 2)
    for row, name in enumerate(("o1", "o0", "z3", "z1", "z2", "z0"), start=1):
        k = int(name[1])
        if name[0] == "o":
            own[row, 16 + k] = 1
        else:
            own[row, 3 * k : 3 * k + 3], own[row, 12 + k] = x[0], 1
    check([*beliefs(layer), *collected(other)], own, y, loss.detach())


def test_average_pool_of_uncertain_pixels():
    image, y = leaf(1, 1, 4, 6), torch.randn(1, 6)
    loss = Regression(NOISE)(GBPAvgPool2d(2)(image).flatten(1), y)
    loss.backward()
    matrix = torch.zeros(6, 4, 6)
    for k in range(6):
        row, column = 2 * (k // 3), 2 * (k % 3)
        matrix[k, row : row + 2, column : column + 2] = 0.25
    check(collected(image), matrix.flatten(1), y, loss.detach())


def test_adaptive_average_pool_of_uncertain_pixels():
    image, y = leaf(1, 1, 5, 3), torch.randn(1, 3)
    loss = Regression(NOISE)(GBPAdaptiveAvgPool2d((1, 3))(image).flatten(1), y)
    loss.backward()
    check(collected(image), torch.eye(3).repeat(1, 5) / 5, y, loss.detach())


@SCALES
def test_uncertain_inputs_of_known_weights(scale):
    layer, a, y = scramble(GBPLinear(4, 1), precision=1e15), leaf(1, 4), scale * torch.randn(1, 1)
    loss = Regression(NOISE)(layer(a), y)
    loss.backward()
    check(collected(a), layer.weight.mean.detach(), y - layer.bias.mean.detach(), loss.detach())


def test_chain_of_known_layers():
    """Two known layers and a scaling above uncertain inputs; the branch inputs meet in a sum."""
    first, second = (scramble(GBPLinear(*size, bias=False), precision=1e15) for size in ((3, 1), (1, 1)))
    a, b, y = leaf(1, 3), leaf(1, 1), torch.randn(1, 1)
    loss = Regression(NOISE)(second(first(a) * 1.5) + b, y)
    loss.backward()
    gain = 1.5 * second.weight.mean.detach() * first.weight.mean.detach()
    check([*collected(a), *collected(b)], torch.cat([gain, torch.ones(1, 1)], 1), y, loss.detach())


@pytest.mark.parametrize("channels", [1, 2])
def test_convolution_with_one_position(channels):
    layer, x, y = (
        scramble(GBPConv2d(2, channels, (3, 2), covariance="diagonal")),
        torch.randn(1, 2, 3, 2),
        torch.randn(1, channels),
    )
    loss = Regression(NOISE)(layer(x).flatten(1), y)
    loss.backward()
    eye = torch.eye(channels)
    check(beliefs(layer), torch.cat([torch.kron(eye, x.flatten()[None]), eye], 1), y, loss.detach())


def test_missing_minus_sign_would_show():
    """A subtraction sends the negative score and the same precision."""
    a, b, y = leaf(1, 3), leaf(1, 3), torch.randn(1, 3)
    loss = Regression(NOISE)(a - b, y)
    loss.backward()
    check([*collected(a), *collected(b)], torch.cat([torch.eye(3), -torch.eye(3)], 1), y, loss.detach())
