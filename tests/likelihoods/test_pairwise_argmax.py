"""PairwiseArgmax: every comparison's message against quadrature, and messages that no power of evidence can break."""

import oracle
import pytest
import torch
from torch.testing import assert_close

from torch_gbp import Argmax, Gaussian, Message, PairwiseArgmax

pytestmark = pytest.mark.usefixtures("float64")


def told(mean, variance, offset, spread, sign):
    """Message to a ~ N(mean, variance) of Phi(sign (a - offset) / sqrt spread): marginal by quadrature / belief."""
    deviation = variance.sqrt()
    bounds = torch.minimum(mean, offset) - 12 * deviation, torch.maximum(mean, offset) + 12 * deviation

    def log_factor(a):
        return torch.special.log_ndtr(sign * (a - offset.unsqueeze(-1)) / spread.sqrt().unsqueeze(-1))

    centre, width = oracle.tilted_moments(mean, variance, log_factor, *bounds)
    return Gaussian(centre, width).message() / Gaussian(mean, variance).message()


def expected(mean, variance, label, noise, regulariser):
    """Natural messages to the outputs of one example, comparison by comparison."""
    total = Message(torch.zeros_like(mean), torch.zeros_like(mean))
    for i in (k for k in range(len(mean)) if k != label):
        up = told(mean[label], variance[label], mean[i], variance[i] + noise, 1)
        down = told(mean[i], variance[i], mean[label], variance[label] + noise, -1)
        chance = torch.special.ndtr((mean[label] - mean[i]) / (variance[label] + variance[i] + noise).sqrt())
        for part, more, less in zip(total, up, down, strict=True):
            part[label] += more
            part[i] += chance * less
    if regulariser is not None:
        signs = -torch.ones_like(mean)
        signs[label] = 1
        total = total * Message(signs / regulariser, torch.full_like(mean, 1 / regulariser))
    return total


@pytest.mark.parametrize("regulariser", [None, 0.1])
@pytest.mark.parametrize("spread", [0.1, 1.0, 20.0])
def test_messages_are_the_products_of_the_comparisons(regulariser, spread):
    belief = Gaussian(2 * torch.randn(5, 4), spread * (0.2 + torch.rand(5, 4)))
    target = torch.tensor([0, 1, 2, 3, 1])
    evidence = PairwiseArgmax(0.3, regulariser).evidence(*belief, target)
    found = belief.evidence_message(evidence.score, evidence.precision)
    for n in range(5):
        want = expected(belief.mean[n], belief.variance[n], int(target[n]), 0.3, regulariser)
        assert_close(Message(*(part[n] for part in found)), want, rtol=1e-7, atol=1e-7)
    assert_close(evidence.log, Argmax(0.3, regulariser).evidence(*belief, target).log)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_messages_stay_proper_where_the_sum_of_derivatives_is_not(dtype):
    mean = torch.cat([torch.zeros(1, 10), 300 * torch.randn(8, 10)]).to(dtype)
    variance = torch.cat([torch.full((1, 10), 100.0), 10 ** torch.empty(8, 10).uniform_(-4, 2)]).to(dtype)
    target = torch.arange(9)
    assert (variance * Argmax(regulariser_variance=None).evidence(mean, variance, target).precision >= 1).any()
    evidence = PairwiseArgmax().evidence(mean, variance, target)
    assert all(part.isfinite().all() for part in evidence)
    assert (evidence.precision >= 0).all() and (variance * evidence.precision <= 1).all()
