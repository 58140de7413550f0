"""The widening of predictions: what it multiplies, and how held-out examples choose it."""

import pytest
import torch
from helpers import changed, marginals, mlp
from torch import nn
from torch.testing import assert_close

from torch_gbp import Argmax, Gaussian, OneHotRegression, Regression, Softmax, calibrate
from torch_gbp.errors import InvalidInput

pytestmark = pytest.mark.usefixtures("float64")
EXAMPLES = 4000


class Known(nn.Module):
    """Outputs that are the inputs, with variances of their own."""

    def __init__(self, variance):
        super().__init__()
        self.variance = nn.Parameter(variance)

    def forward(self, x):
        return Gaussian(x, self.variance.expand_as(x))


def truthful(likelihood, widening, n=EXAMPLES, outputs=4):
    """A network whose outputs scatter by `widening` times the variance it tells, and targets drawn accordingly."""
    model, x = Known(torch.rand(outputs) + 0.5), 3 * torch.randn(n, outputs)
    drawn = likelihood.distribution(Gaussian(x, widening * model.variance.detach().expand_as(x))).sample()
    return model, x, drawn


@pytest.mark.parametrize("widening", [0.5, 8.0, 40.0])
@pytest.mark.parametrize(
    "make",
    [Softmax, lambda: Softmax(power=1.0), Argmax, OneHotRegression, lambda: Regression(0.3)],
    ids=["softmax", "softmax_bayes", "argmax", "one_hot", "regression"],
)
def test_the_widening_that_made_the_targets_is_found(make, widening):
    likelihood = make()
    model, x, y = truthful(likelihood, widening)
    found = calibrate(model, likelihood, [(x[:1000], y[:1000]), (x[1000:], y[1000:])])
    assert found / widening == pytest.approx(1.0, rel=0.35)
    assert found == likelihood.widening.item()


def test_predictions_take_the_widened_variance():
    output, likelihood = Gaussian(torch.randn(5, 3), torch.rand(5, 3)), Regression(0.2)
    likelihood.widening.fill_(3.0)
    assert_close(likelihood.predictive(output).variance, 3 * output.variance + 0.2)
    assert_close(likelihood.predictive(output).mean, output.mean)
    y = torch.randn(5, 3)
    assert_close(likelihood.log_evidence(output, y), Regression(0.2).log_evidence(output, y))  # training knows nothing of it


def test_only_an_automatic_power_widens_by_itself():
    widenings = [float(likelihood.widening) for likelihood in (Softmax(), Softmax(64.0), Softmax(1.0), Argmax(), Regression(1.0))]
    assert widenings == [4.0, 1.0, 1.0, 1.0, 1.0]
    assert "widening=4" in repr(Softmax()) and "widening" not in repr(Softmax(1.0))


def test_few_examples_leave_it_near_where_it_was():
    """Targets that ask for 100: six examples cannot decide, thousands do."""
    likelihood = Softmax()
    model, x, y = truthful(likelihood, 100.0)
    few = calibrate(model, likelihood, [(x[:6], y[:6])])
    assert 2 < few < 32
    assert calibrate(model, likelihood, [(x, y)]) > 50


def test_weights_and_mode_stay_and_the_widening_is_saved():
    model, likelihood = mlp().train(), Softmax()
    before = marginals(model)
    calibrate(model, likelihood, [(torch.randn(20, 3), torch.arange(20) % 3)])
    assert not changed(before, model) and model.training
    likelihood.widening.fill_(5.0)
    loaded = Softmax()
    loaded.load_state_dict(likelihood.state_dict())
    assert float(loaded.widening) == 5.0


class Diverged(nn.Module):
    """Outputs that are not numbers."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.full((2,), torch.nan))

    def forward(self, x):
        return Gaussian(self.mean.expand(len(x), 2), torch.ones(len(x), 2))


@pytest.mark.parametrize(
    ("model", "examples", "told"),
    [(mlp(), [], "no examples"), (Diverged(), [(torch.ones(4, 3), torch.zeros(4, dtype=torch.long))], "finite")],
    ids=["none", "diverged"],
)
def test_bad_examples_are_named_and_change_nothing(model, examples, told):
    likelihood = Softmax()
    before = float(likelihood.widening)
    with pytest.raises(InvalidInput, match=told):
        calibrate(model, likelihood, examples)
    assert float(likelihood.widening) == before
