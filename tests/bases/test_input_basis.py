"""The prior that follows the covariance of the inputs: a fixed map in front of the first linear layer."""

import copy

import pytest
import torch
from helpers import sweep, three_classes
from torch import nn
from torch.testing import assert_close

from torch_gbp import Gaussian, GBPConv2d, GBPLinear, InputBasis, MessagePassing, Prior, Softmax, from_torch
from torch_gbp.errors import InvalidInput

pytestmark = pytest.mark.usefixtures("float64")


def inputs(n=400, features=6):
    """Correlated, off centre, of unequal spread."""
    return torch.randn(n, features) @ torch.randn(features, features) * torch.linspace(0.1, 3, features) + 5


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5])
def test_features_are_uncorrelated_and_spread_as_the_inputs(power):
    """Variances proportional to L^(1 + 2 power) along the principal directions, mean square 1, mean 0."""
    x = inputs()
    features = InputBasis.fit(x, explained=1.0, power=power)(x)
    variances = torch.linalg.eigvalsh(torch.cov(x.t(), correction=0)).flip(0)
    expected = variances ** (1 + 2 * power)
    assert_close(torch.cov(features.t(), correction=0), torch.diag(expected / expected.mean()), rtol=1e-8, atol=1e-8)
    assert_close(features.mean(0), torch.zeros(6), rtol=0, atol=1e-10)


def test_prior_covariance_of_the_weights_on_the_inputs():
    """B B' is proportional to C^(2 power)."""
    x = inputs()
    basis = InputBasis.fit(x, explained=1.0, power=0.5).basis
    covariance = torch.cov(x.t(), correction=0)
    assert_close(basis @ basis.t() / (basis @ basis.t()).trace(), covariance / covariance.trace(), rtol=1e-8, atol=1e-10)


def test_as_many_directions_as_explain_the_share():
    x = torch.randn(4000, 4) * torch.tensor([10.0, 5.0, 1.0, 0.1])
    kept = [InputBasis.fit(x, explained=share).basis.shape[1] for share in (0.5, 0.9, 0.995, 1.0)]
    assert kept == [1, 2, 3, 4]


def test_uncertain_inputs_pass_their_variance_on():
    basis, belief = InputBasis.fit(inputs()), Gaussian(torch.randn(7, 6), torch.rand(7, 6))
    found = basis(belief)
    draws = basis(belief.mean + belief.variance.sqrt() * torch.randn(200_000, 1, 1) * torch.ones(7, 6).bernoulli_())
    assert draws.shape == (200_000, 7, basis.basis.shape[1])
    exact = torch.einsum("nd,dr->nr", belief.variance, basis.basis**2)
    assert_close(tuple(found), (basis(belief.mean), exact))


def test_from_torch_puts_it_before_a_first_linear_layer():
    x = inputs()
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 5, bias=False), nn.LeakyReLU(), nn.Linear(5, 3))
    twin = from_torch(network, fresh=True, inputs=x.view(-1, 2, 3), prior=Prior(scale=0.7), moments=True)
    assert [type(part).__name__ for part in twin[1]] == ["InputBasis", "GBPLinear"]
    alone = GBPLinear(twin[1][0].basis.shape[1], 5, bias=False, prior=Prior(scale=0.7))
    assert twin[1][1].extra_repr() == alone.extra_repr() and twin[1][1].weight.prior == alone.weight.prior
    assert isinstance(twin[3], GBPLinear) and twin(x.view(-1, 2, 3)).shape == (400, 3)


def test_a_first_convolution_keeps_its_prior():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    twin = from_torch(network, fresh=True, inputs=torch.randn(5, 1, 4, 4), moments=True)
    assert isinstance(twin[0], GBPConv2d) and isinstance(twin[2], GBPLinear)


def test_it_trains_moves_and_is_saved():
    x, y = three_classes()
    network = nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(0.1), nn.Linear(6, 3))
    twin = from_torch(network, fresh=True, inputs=x, prior=Prior(scale=1.0), moments=True)
    propagate = MessagePassing(twin.parameters(), 60, epochs=20)
    losses = [sweep(propagate, twin, Softmax(4.0), x, y) for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]
    again = from_torch(network, fresh=True, inputs=x.flip(0) * 2, moments=True)
    again.load_state_dict(copy.deepcopy(twin).state_dict())
    assert_close(tuple(again(x)), tuple(twin(x)), rtol=0, atol=0)
    assert twin.float()(x.float()).mean.dtype == torch.float32


BAD = {
    "one": torch.randn(1, 6),
    "nan": torch.full((5, 6), torch.nan),
    "integers": torch.arange(12).reshape(2, 6),
    "alike": torch.ones(5, 6),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_inputs_that_cannot_be_followed(bad):
    with pytest.raises(InvalidInput, match=r"two or more different, finite.*Got: \d+ inputs"):
        InputBasis.fit(bad)


def test_a_start_and_a_width_that_do_not_fit():
    network = nn.Sequential(nn.Linear(6, 3))
    with pytest.raises(InvalidInput, match="needs a fresh start"):
        from_torch(network, inputs=inputs(), moments=True)
    with pytest.raises(InvalidInput, match=r"expected 6 features.*Got: 4"):
        from_torch(network, fresh=True, inputs=inputs(features=4), moments=True)
    with pytest.raises(InvalidInput, match=r"expected 6 features.*Got: 4"):
        InputBasis.fit(inputs())(torch.randn(2, 4))
