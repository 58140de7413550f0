"""A smooth prior of the weights behind feature maps: a fixed map to stretched cosines."""

import copy
import math

import pytest
import torch
from scipy.fft import dctn
from torch import nn
from torch.testing import assert_close

from torch_gbp import CosineBasis, FactorGraph, Gaussian, GBPConv2d, GBPLinear, GBPNoise, Latent, Prior, Regression
from torch_gbp.errors import InvalidInput, MissingRule

pytestmark = pytest.mark.usefixtures("float64")
CHANNELS, SIZE = 2, (3, 4)
WIDTH = 24


def basis(length=1.5, smoothness=1.0):
    return CosineBasis(CHANNELS, SIZE, length, smoothness)


def linear():
    return GBPLinear(WIDTH, 2, covariance="full", prior=Prior(variance=1.0))


def test_features_are_the_transform_of_scipy_times_prior_deviations():
    maps = torch.randn(5, CHANNELS, *SIZE)
    found = basis()(maps.flatten(1)).view(5, CHANNELS, *SIZE)
    rows, columns = torch.arange(3.0)[:, None] * math.pi / 3, torch.arange(4.0) * math.pi / 4
    spectrum = (1 + 1.5**2 * (rows**2 + columns**2)) ** -2
    expected = torch.from_numpy(dctn(maps.numpy(), axes=(2, 3), norm="ortho")) * (spectrum / spectrum.mean()).sqrt()
    assert_close(found, expected)


def test_prior_of_the_weights_is_smooth_and_as_wide_as_told():
    """Covariance B B': variance 1 on the average of positions, more alike the nearer and the longer the correlation."""
    at = {}
    for length in (0.0, 1.0, 3.0):
        one = CosineBasis(1, 6, length)
        covariance = one.pull(one.basis).view(6, 6, 6, 6)  # of weights at (row, column, row, column)
        assert_close(covariance.view(36, 36).diagonal().mean(), torch.tensor(1.0))
        at[length] = (covariance[2, 2, 2] / covariance[2, 2, 2, 2])[2:5]
    assert_close(at[0.0], torch.tensor([1.0, 0.0, 0.0]), rtol=0, atol=1e-12)
    assert at[1.0][0] > at[1.0][1] > at[1.0][2] > 0
    assert bool((at[3.0][1:] > at[1.0][1:]).all())


def test_uncertain_maps_pass_their_variance_on():
    own, belief = basis(), Gaussian(torch.randn(5, WIDTH), torch.rand(5, WIDTH))
    maps = belief.variance.view(5, CHANNELS, -1)
    exact = torch.einsum("ncp,pk->nck", maps, own.basis**2).flatten(1)
    assert_close(tuple(own(belief)), (own(belief.mean), exact))


def test_a_graph_finds_the_posterior_of_regression_with_a_smooth_prior():
    """On the maps themselves: weights with covariance B B', bias 1 / 2, noises of factor and observation."""
    own, layer = basis(), linear()
    x, y = torch.randn(30, CHANNELS, *SIZE), torch.randn(30, 2)
    graph = FactorGraph(nn.Sequential(nn.Flatten(), own, layer, GBPNoise(0.3)), x, Regression(0.1), y)
    graph.infer(300, 0.5, tolerance=1e-13)
    weight, bias = graph.nodes[0].weights
    wide = torch.block_diag(*[own.basis @ own.basis.t()] * CHANNELS, torch.tensor([[0.5]]))
    rows = torch.cat([x.flatten(1), torch.ones(30, 1)], 1)
    inner = rows @ wide @ rows.t() + (0.3**2 + 0.1) * torch.eye(30)
    expected = wide @ rows.t() @ torch.linalg.solve(inner, y)
    found = torch.cat([own.pull(weight.mean), bias.mean[:, None]], 1)
    assert_close(found.t(), expected, rtol=1e-8, atol=1e-8)
    features = torch.cat([own(x.flatten(1)), torch.ones(30, 1)], 1)
    system = torch.diag(torch.tensor([1.0] * WIDTH + [2.0])) + features.t() @ features / (0.3**2 + 0.1)
    assert_close(weight.variance[0], torch.linalg.inv(system).diagonal()[:-1], rtol=1e-6, atol=0)
    assert float((expected - torch.linalg.lstsq(rows, y).solution).abs().max()) > 0.1


def test_messages_to_the_maps_are_those_of_the_weights_on_the_maps():
    """Unknown inputs behind known weights: the same beliefs as without the basis, exact on this tree."""
    own, behind, plain = basis(), linear(), linear()
    behind.weight.mean.data.normal_()
    plain.weight.mean.data.copy_(own.pull(behind.weight.mean.detach()))
    inputs, target = torch.randn(3, CHANNELS, *SIZE), torch.randn(3, 2)
    nets = (nn.Sequential(nn.Flatten(), *layers, GBPNoise(0.3)) for layers in ((own, behind), (plain,)))
    graphs = [FactorGraph(net, Latent(inputs, 0.7), target=target, learn=False) for net in nets]
    for graph in graphs:
        graph.infer(30, 0.3)
    assert_close(tuple(graphs[0].input_belief()), tuple(graphs[1].input_belief()), rtol=1e-9, atol=1e-9)
    assert_close(graphs[0].energy(), graphs[1].energy())
    assert float((graphs[0].input_belief().mean - inputs).abs().max()) > 0.01


def test_a_single_sweep_goes_through():
    """Without a graph it is a layer like others: (g, G) come back through B and its squares."""
    own = basis()
    mean, variance = (part.requires_grad_() for part in (torch.randn(4, WIDTH), torch.rand(4, WIDTH)))
    features = own(Gaussian(mean, variance))
    score, precision = torch.randn(4, WIDTH), torch.rand(4, WIDTH)
    back = torch.autograd.grad(tuple(features), (mean, variance), (score, precision))
    both = torch.block_diag(own.basis, own.basis)
    assert_close(back, (score @ both.t(), precision @ both.square().t()))


def test_a_graph_needs_a_joint_layer_behind_it():
    conv = GBPConv2d(1, 2, (2, 1))
    for after in [GBPLinear(WIDTH, 2)], []:
        with pytest.raises(MissingRule, match=r"CosineBasis has no factor node.*layer 2.*full covariance"):
            FactorGraph(nn.Sequential(conv, nn.Flatten(), basis(), *after), torch.randn(3, 1, 4, 4))


def test_it_is_copied_moved_and_saved():
    own, x = basis(), torch.randn(2, WIDTH)
    again = basis(length=0.0)
    again.load_state_dict(copy.deepcopy(own).state_dict())
    assert_close(again(x), own(x), rtol=0, atol=0)
    assert own.float()(x.float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"channels": 0, "size": 3}, "channels must be an integer, at least 1.*Got: 0"),
        ({"channels": 1, "size": (3, 0)}, "size must be an integer, at least 1"),
        ({"channels": 1, "size": 3, "length": -1.0}, "length must be 0, or positive.*Got: -1.0"),
        ({"channels": 1, "size": 3, "length": math.inf}, "length must be 0, or positive and finite"),
        ({"channels": 1, "size": 3, "smoothness": -1.0}, "smoothness must be above -1"),
        ({"channels": 1, "size": 3, "smoothness": math.nan}, "smoothness must be above -1 and finite"),
    ],
)
def test_spectra_that_are_none(options, found):
    with pytest.raises(InvalidInput, match=r"(?s)" + found):
        CosineBasis(**options)


def test_another_width():
    with pytest.raises(InvalidInput, match=r"24 features.*Got: 12"):
        basis()(torch.randn(1, 12))
