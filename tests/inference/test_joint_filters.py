"""Filters with one joint Gaussian each: Bayesian regression exactly, and what the marginals keep."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import Damping, FactorGraph, LayerSweeps
from torch_gbp.errors import InvalidInput
from torch_gbp.inference.filters import FilterBelief

pytestmark = pytest.mark.usefixtures("float64")


def regression(stride=1, covariance="full"):
    """A convolution without biases and its data: images that are all bright, so that a filter's weights answer as one."""
    layer = gbp.GBPConv2d(1, 2, 3, stride, bias=False, prior=gbp.Prior(variance=1.0), covariance=covariance)
    x = torch.randn(3, 1, 7, 7) + 2
    return layer, x, torch.randn(3, 2, *layer(x).shape[2:])


def noisy(layer):
    return nn.Sequential(layer, gbp.GBPNoise(0.1))


def dense(layer, x, y, variance):
    """Mean (o, d) and precision (d, d) of the filters, from a prior of variance 1."""
    patches = F.unfold(x, 3, stride=layer.options.stride).transpose(0, 1).flatten(1)
    precision = torch.eye(9) + patches @ patches.T / variance
    return torch.linalg.solve(precision, patches @ y.transpose(0, 1).flatten(1).T / variance).T, precision


@pytest.mark.parametrize("rate", [1.0, 0.4])
@pytest.mark.parametrize("stride", [1, 2])
def test_joint_filters_are_bayesian_linear_regression(rate, stride):
    """Mean and covariance, without damping too."""
    layer, x, y = regression(stride)
    graph = FactorGraph(noisy(layer), x, gbp.Regression(0.05), y)
    trace = graph.infer(300, 1 - rate, tolerance=1e-13)
    mean, precision = dense(layer, x, y, 0.1**2 + 0.05)
    weight = graph.nodes[0].weights[0]
    assert trace.iterations < 300
    assert_close(weight.mean.flatten(1), mean, rtol=1e-10, atol=1e-10)
    assert_close(weight.variance, torch.linalg.inv(precision).expand(2, 9, 9), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_the_marginals_keep_the_means_and_the_precisions_diagonal(shared):
    layer, x, y = regression(covariance="shared_full" if shared else "full")
    propagate = gbp.MessagePassing(layer.parameters(), num_data=3, store=gbp.Filtering(), epochs=None)
    inference = gbp.Inference(100, schedule=LayerSweeps(), check=100)
    inference(noisy(layer), gbp.Regression(0.05), propagate, x, y)
    mean, precision = dense(layer, x, y, 0.1**2 + 0.05)
    told = precision.diagonal().mean().expand(1, 1, 1, 1) if shared else precision.diagonal().view(3, 3).expand(2, 1, 3, 3)
    assert_close(layer.weight.mean.flatten(1), mean, rtol=1e-8, atol=1e-8)
    assert_close(layer.weight.precision, told, rtol=1e-8, atol=0)


def test_dropout_takes_a_filter_or_nothing():
    """Else a message's matrix would be none of a Gaussian's."""
    layer, x, y = regression()
    graph = FactorGraph(noisy(layer), x, gbp.Regression(0.05), y)
    graph.infer(20, Damping(0.5, 0.5, dropout=0.5))
    (weight,) = graph.nodes[0].weights
    assert_close(weight.variance, weight.variance.mT, rtol=1e-12, atol=0)
    assert bool((torch.linalg.eigvalsh(weight.variance) > 0).all())


def test_known_weights_need_no_joint_belief():
    layer, x, y = regression()
    graph = FactorGraph(noisy(layer), x, gbp.Regression(0.05), y, learn=False)
    graph.infer(5)
    assert not isinstance(graph.nodes[0].weights[0], FilterBelief)
    assert_close(graph.nodes[0].weights[0].mean, layer.weight.mean.detach())


def test_filters_of_several_groups_are_refused():
    with pytest.raises(InvalidInput, match="full covariance of filters takes all input channels"):
        gbp.GBPConv2d(4, 4, 3, groups=2, covariance="full")
