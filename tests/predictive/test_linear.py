"""The joint Gaussian of a linearised network's outputs against derivatives written out, of outputs and weights of any shape."""

import pytest
import torch
from predictive_cases import scattered
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import Regression, predict
from torch_gbp.weights.attached import marginals

pytestmark = pytest.mark.usefixtures("float64")


class Squeezed(nn.Module):
    """Outputs (n,), of a gain without axes."""

    def __init__(self):
        super().__init__()
        self.layer, self.gain = nn.Linear(3, 1), nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.gain * torch.tanh(self.layer(x)).squeeze(-1)


class Shaped(nn.Module):
    """Outputs (n, 2, 3)."""

    def __init__(self):
        super().__init__()
        self.layer, self.gain = nn.Linear(3, 6), nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.gain * torch.tanh(self.layer(x)).unflatten(1, (2, 3))


def expected(model, x):
    """J S J' by the Jacobian of all outputs, (n, k, k)."""
    owned = marginals(model)
    means = {name: own.mean.detach() for name, own in owned.items()}
    slopes = torch.func.jacrev(lambda weights: torch.func.functional_call(model, weights, (x,)).reshape(len(x), -1))(means)
    parts = [(slopes[name].reshape(len(x), -1, own.mean.numel()), own.variance.expand_as(own.mean).reshape(-1))
             for name, own in owned.items()]  # fmt: skip
    return sum((one * variance) @ one.mT for one, variance in parts)


@pytest.mark.parametrize("which", [None, lambda module, name: True], ids=["weights", "everything"])
@pytest.mark.parametrize("make", [Squeezed, Shaped])
@pytest.mark.parametrize("vectorise", [None, False])
def test_outputs_and_weights_of_any_shape(make, which, vectorise):
    model, x = scattered(gbp.from_torch(make(), which=which)), torch.randn(5, 3)
    found = predict(model, Regression(0.25), x, "linear", vectorise=vectorise, chunk=2)
    assert_close(found.covariance, expected(model, x))
    assert_close(found.belief.mean, model(x).detach())
    variance = found.covariance.diagonal(dim1=1, dim2=2).reshape(found.belief.mean.shape)
    assert_close(found.distribution.variance, 0.25 + variance)
