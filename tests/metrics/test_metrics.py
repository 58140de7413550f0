"""Scores against brute force and known values."""

import math

import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from torch_gbp.metrics import (
    calibration_error,
    classification_scores,
    ood_auroc,
    predictive_entropy,
    regression_scores,
    relative_calibration_auc,
    vector_calibration_error,
)


@pytest.fixture
def predictions():
    logs = torch.log_softmax(3 * torch.randn(300, 4), 1)
    return logs, torch.distributions.Categorical(logits=0.5 * logs).sample()


def test_scores_of_classes(predictions):
    logs, labels = predictions
    scores = classification_scores(logs, labels)
    truth = torch.nn.functional.one_hot(labels, 4)
    assert scores["accuracy"] == pytest.approx((logs.argmax(1) == labels).double().mean().item(), abs=1e-6)
    assert scores["nll"] == pytest.approx(torch.nn.functional.nll_loss(logs.double(), labels).item(), rel=1e-6)
    assert scores["brier"] == pytest.approx((logs.double().exp() - truth).square().sum(1).mean().item(), rel=1e-9)
    errors = {"ece": calibration_error, "vector_ece": vector_calibration_error, "relative_auc": relative_calibration_auc}
    for name, error in errors.items():
        assert scores[name] == pytest.approx(error(logs.double().exp(), labels), rel=1e-9)


def test_entropy_runs_from_0_to_1():
    logs = torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]]).log()
    expected = torch.tensor([0.0, 1.0, math.log(2) / math.log(3)], dtype=torch.float64)
    torch.testing.assert_close(predictive_entropy(logs), expected, atol=1e-6, rtol=0)


def test_auroc_has_ood_as_the_positive_class(predictions):
    inside, outside = predictions[0], torch.log_softmax(torch.randn(100, 4), 1)
    entropy = predictive_entropy(torch.cat([inside, outside])).numpy()
    expected = roc_auc_score([0] * 300 + [1] * 100, entropy)
    assert expected > 0.6
    assert ood_auroc(inside, outside) == pytest.approx(expected, abs=1e-6)


def test_scores_of_real_targets():
    mean, variance, target = torch.randn(50, 1), torch.rand(50, 1) + 0.1, 2 * torch.randn(50, 1)
    scores = regression_scores(mean, variance, target)
    density = norm(mean.double().numpy(), variance.double().sqrt().numpy()).logpdf(target.double().numpy())
    assert scores["log_likelihood"] == pytest.approx(density.mean(), rel=1e-6)
    assert scores["rmse"] == pytest.approx(float((mean - target).square().mean().sqrt()), rel=1e-6)


def test_equal_entropies_count_a_half():
    """Few distinct predictions, so that most pairs are ties; scikit-learn knows them too."""
    rows = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.5, 0.5]], dtype=torch.float64).log()
    inside, outside = rows[torch.randint(3, (50,))], rows[torch.randint(3, (40,))]
    entropy = predictive_entropy(torch.cat([inside, outside])).numpy()
    assert ood_auroc(inside, outside) == pytest.approx(roc_auc_score([0] * 50 + [1] * 40, entropy), abs=1e-12)
    assert ood_auroc(inside, inside.flip(0)) == pytest.approx(0.5)


def test_a_confidence_at_the_edge_of_two_bins_is_in_the_upper_one():
    """Bins of a quarter: .5 shares its bin with .7, not with .3 (of four classes); 1 is in the last."""
    confidence = torch.tensor([0.5, 0.7, 0.3, 0.75, 1.0], dtype=torch.float64)
    probabilities = torch.stack([confidence, *((1 - confidence) / 3 for _ in range(3))], 1)
    labels = torch.tensor([1, 0, 0, 1, 0])
    gaps = [0.0 - 0.5 + 1.0 - 0.7, 1.0 - 0.3, 0.0 - 0.75 + 1.0 - 1.0]
    assert calibration_error(probabilities, labels, bins=4) == pytest.approx(sum(map(abs, gaps)) / 5, abs=1e-12)
