"""The integrated softmax where logits differ much in width."""

import pytest
import torch

from torch_gbp import IntegratedSoftmax


@pytest.mark.parametrize("deviation", [1.5, 10.0, 100.0])
def test_one_logit_may_be_much_wider_than_the_others(deviation):
    x = torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    wanted = (torch.softmax(-0.5 * x.square(), 0) * torch.sigmoid(1 + deviation * x)).sum()
    mean, variance = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[deviation**2, 0.0]]).double()
    found = [IntegratedSoftmax().evidence(mean, variance, torch.tensor([label])).log.exp() for label in (0, 1)]
    torch.testing.assert_close(found[0][0], wanted, rtol=1e-10, atol=0)
    torch.testing.assert_close(found[0] + found[1], torch.ones(1).double(), rtol=1e-10, atol=0)
