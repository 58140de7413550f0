"""Patches in the basis of their principal directions: a fixed map in front of the first convolution."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from torch_gbp import (
    Damping,
    FactorGraph,
    Gaussian,
    GBPConv2d,
    GBPLeakyReLU,
    GBPLinear,
    GBPNoise,
    InputBasis,
    Latent,
    PatchBasis,
    Regression,
)
from torch_gbp.errors import InvalidInput, MissingRule

pytestmark = pytest.mark.usefixtures("float64")


def images(n=60, channels=2, side=7):
    """Smooth and off centre, of unequal spread in the channels."""
    blurred = F.avg_pool2d(torch.randn(n, channels, side + 2, side + 2), 3, 1)
    return blurred * torch.linspace(0.5, 3, channels)[:, None, None] + 2


def patches(x, kernel):
    return F.unfold(x, kernel).transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize("power", [0.25, 0.0, -0.25, -0.5])
def test_features_are_uncorrelated_and_spread_as_the_patches(power):
    """Variances proportional to L^(1 + 2 power), mean square 1, mean 0; all far above the floor of negative powers."""
    x = images()
    features = PatchBasis.fit(x, (3, 2), power=power)(x).transpose(0, 1).flatten(1)
    variances = torch.linalg.eigvalsh(torch.cov(patches(x, (3, 2)).t(), correction=0)).flip(0)
    assert variances[-1] > 2e-4 * variances[0]
    expected = variances ** (1 + 2 * power)
    assert_close(torch.cov(features, correction=0), torch.diag(expected / expected.mean()), rtol=1e-8, atol=1e-8)
    assert_close(features.mean(1), torch.zeros(12), rtol=0, atol=1e-10)


def test_directions_without_variance_are_not_blown_up():
    x = images(channels=1).repeat(1, 2, 1, 1)
    assert PatchBasis.fit(x, 3, power=-0.5)(x).square().mean((0, 2, 3)).isfinite().all()


def test_a_convolution_behind_it_is_a_convolution_of_the_images():
    x, stride = images(), (2, 1)
    basis = PatchBasis.fit(x, (3, 2), stride)
    filters = torch.randn(4, 12, 1, 1)
    expected = F.conv2d(x, (filters.flatten(1) @ basis.basis.t()).view(4, 2, 3, 2), stride=stride)
    constant = filters.flatten(1) @ (basis.mean @ basis.basis)
    assert_close(F.conv2d(basis(x), filters), expected - constant[:, None, None])


def test_uncertain_images_pass_their_variance_on():
    x = images()
    basis, belief = PatchBasis.fit(x, 3, explained=0.9), Gaussian(x[:5], torch.rand(5, 2, 7, 7))
    unfolded = F.unfold(belief.variance, 3)
    exact = torch.einsum("ndp,dk->nkp", unfolded, basis.basis**2).view(5, -1, 5, 5)
    assert basis.basis.shape[1] < 18
    assert_close(tuple(basis(belief)), (basis(belief.mean), exact))


def network(first):
    """A learning graph behind `first`, whose features have 18 channels."""
    conv, dense = GBPConv2d(18, 3, 1, covariance="diagonal"), GBPLinear(75, 2, covariance="shared_full")
    return nn.Sequential(first, conv, GBPLeakyReLU(0.2), GBPNoise(0.1), nn.Flatten(), dense, GBPNoise(0.1))


def test_a_graph_learns_as_from_the_features_themselves():
    x, y = images(8), torch.randn(8, 2)
    net = network(PatchBasis.fit(x, 3))
    options = {"approximation": "linearised"}
    graphs = [FactorGraph(*own, Regression(0.1), y, **options) for own in ((net, x), (net[1:], net[0](x)))]
    for graph in graphs:
        graph.infer(20, Damping(0.5, 0.8))
    for one, other in zip(*(graph.nodes for graph in graphs), strict=True):
        for weight, same in zip(one.weights, other.weights, strict=True):
            assert_close((weight.mean, weight.precision), (same.mean, same.precision), rtol=0, atol=0)
    learned = graphs[0].nodes[0].weights[0]
    assert not torch.equal(learned.mean, learned.marginal.mean)


@pytest.mark.parametrize("known", [None, True])
def test_inputs_of_a_graph_must_be_observed(known):
    x = images(3)
    latent = Latent(x, 1.0, known=None if known is None else torch.rand_like(x) > 0.5)
    with pytest.raises(InvalidInput, match=r"PatchBasis.*Way out: leave the basis out"):
        FactorGraph(network(PatchBasis.fit(x, 3)), latent)


def test_a_basis_inside_a_graph_is_refused():
    net = nn.Sequential(GBPLinear(4, 6), InputBasis(6, 3), GBPLinear(3, 2))
    with pytest.raises(MissingRule, match=r"InputBasis has no factor node.*a basis behind another layer"):
        FactorGraph(net, torch.randn(5, 4))


def test_it_is_copied_moved_and_saved():
    x = images()
    basis = PatchBasis.fit(x, 3)
    again = PatchBasis(2, 18, 3)
    again.load_state_dict(copy.deepcopy(basis).state_dict())
    assert_close(again(x), basis(x), rtol=0, atol=0)
    assert basis.float()(x.float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (torch.zeros(4, 1, 8, 8), "two or more different, finite"),
        (torch.full((4, 1, 8, 8), torch.nan), "two or more different, finite"),
        (torch.arange(256).view(4, 1, 8, 8), "Got: 4 inputs of torch.int64"),
        (torch.rand(4, 8, 8), "no smaller than a patch"),
        (torch.rand(4, 1, 8, 2), "no smaller than a patch"),
    ],
)
def test_images_that_cannot_be_followed(bad, found):
    with pytest.raises(InvalidInput, match=found):
        PatchBasis.fit(bad, 3)


def test_other_channels_and_a_share_that_is_none():
    with pytest.raises(InvalidInput, match=r"2 channels.*Got: 3"):
        PatchBasis.fit(images(), 3)(torch.randn(1, 3, 8, 8))
    with pytest.raises(InvalidInput, match=r"explained must be in \(0, 1\]"):
        PatchBasis.fit(images(), 3, explained=0.0)
