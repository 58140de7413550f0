"""The temperature fitted on held-out images: against a dense grid, and on its way from the search to the tables."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from benchmarks.measure import COLDEST, WARMEST, fit_temperature, tempered, tempered_scores


def overconfident(factor: float, size: int = 400) -> tuple[Tensor, Tensor]:
    """Log-probabilities of logits that are `factor` times those which the labels are drawn from."""
    generator = torch.Generator().manual_seed(7)
    logits = 2 * torch.randn(size, 5, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()
    return (factor * logits).log_softmax(1), labels


def likelihood(logs: Tensor, labels: Tensor, temperature: float) -> float:
    """Mean negative log-likelihood by the textbook formula."""
    powered = logs.exp() ** (1 / temperature)
    chosen = powered.gather(1, labels[:, None]).flatten() / powered.sum(1)
    return float(-chosen.log().mean())


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_fitted_temperature_is_the_best_of_a_dense_grid(factor: float) -> None:
    logs, labels = overconfident(factor)
    grid = torch.logspace(-1, 1, 4001, dtype=torch.float64).tolist()  # steps of 0.06 %
    best = min(grid, key=lambda temperature: likelihood(logs, labels, temperature))
    found = fit_temperature(logs, labels)
    assert found == pytest.approx(best, rel=1e-3)
    assert found == pytest.approx(factor, rel=0.2)  # the labels' own temperature, up to the 400 draws
    assert likelihood(logs, labels, found) <= likelihood(logs, labels, best)


def test_a_classifier_that_is_never_wrong_gets_the_coldest_temperature() -> None:
    logs = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log()
    assert fit_temperature(logs, torch.tensor([0, 1])) == pytest.approx(COLDEST, rel=1e-3)
    assert fit_temperature(logs, torch.tensor([1, 0])) == pytest.approx(WARMEST, rel=1e-3)  # always wrong: near uniform


def test_tempered_probabilities_are_those_of_divided_logits() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(tempered(logits.log_softmax(1), 2.5), (logits / 2.5).log_softmax(1))


def test_tempered_scores_stand_beside_the_plain_ones() -> None:
    logs, labels = overconfident(3.0)
    found = tempered_scores(logs, labels, 3.0)
    assert set(found) == {"temperature", "nll_tempered", "ece_tempered"}
    assert found["nll_tempered"] == pytest.approx(likelihood(logs, labels, 3.0))
    assert 0 <= found["ece_tempered"] < tempered_scores(logs, labels, 1.0)["ece_tempered"]
    assert math.isfinite(found["nll_tempered"])
