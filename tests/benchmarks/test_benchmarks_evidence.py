"""The benchmarks of regressions and posteriors: their scores, their shared prior, and what they write."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from benchmarks import figures, other_tables, tables
from benchmarks.checks import coverage, curve, posterior
from benchmarks.checks import tables as check_tables
from benchmarks.checks.posterior import distances, levels, told, told_by_samples, wasserstein2
from benchmarks.checks.problems import PROBLEMS, SCORED, marginals, network, plain
from benchmarks.methods.base import MissingPackage, rival
from benchmarks.methods.bayes import convert
from benchmarks.uci import PLAN, fit, load
from lightning_modules.data.tables import load_uci


@pytest.fixture
def yacht(tmp_path: Path) -> None:
    """A noisy plane of 60 rows under the name of a UCI set, its last 10 rows held out."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    y = 30 * x[:, :1] - 20 * x[:, 1:] + 100 + 3 * torch.randn(60, 1, generator=generator, dtype=torch.float64)
    folder = tmp_path / "UCI" / "yacht"
    folder.mkdir(parents=True)
    (folder / "data.txt").write_text("\n".join(" ".join(map(str, row)) for row in torch.cat([x, y], 1).tolist()))
    parts = {"features": range(2), "target": [2], "train_0": range(50), "test_0": range(50, 60)}
    for name, rows in parts.items():
        (folder / f"index_{name}.txt").write_text("\n".join(map(str, rows)))


@pytest.mark.usefixtures("yacht")
def test_a_table_is_learnt_in_its_own_units(run: Callable[..., list[dict[str, Any]]]) -> None:
    (row,) = run("uci", "--net", "yacht", "--epochs", "100", "--seeds", "0")
    assert row["rmse"] < 6  # the noise has deviation 3, the targets 36
    assert -math.log(2) - 1.42 > row["log_likelihood"] > -math.log(6) - 1.42  # of deviations 2 and 6
    assert (row["limit"], row["seed"]) == (50, 0)


@pytest.mark.usefixtures("yacht")
def test_validation_never_sees_the_test_rows(tmp_path: Path) -> None:
    table, data = load_uci(tmp_path, "yacht"), load(tmp_path, "yacht", split=0, held_out=0.1)
    targets = [*data.targets(table.y[table.train]).flatten().tolist()]
    found = [*data.y.flatten().tolist(), *data.targets(data.scored_y).flatten().tolist()]
    assert sorted(found) == pytest.approx(sorted(targets), rel=1e-5) and len(data.scored_y) == 5


@pytest.mark.usefixtures("yacht")
@pytest.mark.parametrize("held_out", [0.0, 0.2])
def test_a_table_is_standardised_by_the_rows_that_are_learnt_from(tmp_path: Path, held_out: float) -> None:
    """Neither test rows nor validation rows enter the means and deviations."""
    data = load(tmp_path, "yacht", split=0, held_out=held_out)
    assert len(data.x) == 50 - len(data.scored_y) * bool(held_out)
    for part in (data.x, data.y):
        torch.testing.assert_close(part.mean(0), torch.zeros(part.shape[1]), atol=1e-6, rtol=0)
        torch.testing.assert_close(part.std(0, correction=0), torch.ones(part.shape[1]), atol=1e-6, rtol=0)


def test_the_noise_of_a_line_is_found() -> None:
    x = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
    y = 0.8 * x + 0.6 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    fitted = fit(x, y, 10, PLAN, epochs=40, seed=0)
    assert float(fitted.likelihood.target_noise_variance) == pytest.approx(0.36, rel=0.15)


def test_distances_are_those_of_normals_and_of_probabilities() -> None:
    one, other = Normal(torch.zeros(2 * SCORED, 1), 1.0), Normal(torch.ones(2 * SCORED, 1), 2.0)
    found = distances(told(one), told(other), classes=False)
    assert found["w2"] == pytest.approx(math.sqrt(2), rel=0.02)  # (mean gap)^2 + (gap of deviations)^2
    near = torch.tensor([[0.9, 0.1]]).repeat(2 * SCORED, 1)
    far = torch.tensor([[0.9, 0.1]] * SCORED + [[0.4, 0.6]] * SCORED)
    assert distances(told(Categorical(probs=near)), far, classes=True) == pytest.approx(
        {"tv": 0.0, "tv_far": 0.5, "tv_all": 0.25}, abs=1e-6
    )


def test_samples_tell_the_same_as_the_distribution_they_come_from() -> None:
    outputs = 1 + 0.4 * torch.randn(20_000, 3, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    predictive = Normal(torch.ones(3, 1, dtype=torch.float64), 0.5)
    assert float(wasserstein2(told_by_samples(outputs, noise_variance=0.09), told(predictive)).max()) < 0.01
    logits = torch.tensor([[[0.0, 2.0]], [[4.0, 0.0]]])
    torch.testing.assert_close(told_by_samples(logits, None), logits.softmax(2).mean(0))
    assert levels()[0] == 0.01 and levels()[-1] == 0.99


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_problems_are_small_and_their_inputs_near_and_far(name: str) -> None:
    problem = PROBLEMS[name]()
    weights = sum(own.mean.numel() for own in marginals(network(problem)))
    assert 90 < weights < 400 and len(problem.x) <= 200
    assert problem.near.shape == problem.far.shape == (SCORED, problem.widths[0])
    gap = torch.cdist(problem.inputs, problem.x).min(1).values
    assert gap[SCORED:].mean() > 2 * gap[:SCORED].mean()


def test_asking_for_the_prior_leaves_the_random_numbers_alone() -> None:
    """A variational step that met the same noise every time would learn that noise."""
    before = torch.get_rng_state()
    first, second = network(PROBLEMS["gap"]()), network(PROBLEMS["gap"]())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(marginals(first)[0].mean, marginals(second)[0].mean)


def test_all_methods_share_the_prior() -> None:
    problem = PROBLEMS["gap"]()
    layers, priors = plain(problem), marginals(network(problem))
    assert [p.shape for p in layers.parameters()] == [own.mean.shape for own in priors]
    assert float(posterior.penalty(layers, priors).detach()) == 0  # they start at the prior's means
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.add_(torch.randn_like(parameter))
    normals = [Normal(own.mean, own.prior_precision.rsqrt()) for own in priors]
    pairs = list(zip(normals, layers.parameters(), strict=True))
    expected = sum((prior.log_prob(prior.mean) - prior.log_prob(w)).sum() for prior, w in pairs)
    torch.testing.assert_close(posterior.penalty(layers, priors).detach(), torch.as_tensor(expected).detach())


def test_the_variational_divergence_is_that_of_the_layers_priors() -> None:
    try:
        rival("bayesian_torch")
    except MissingPackage:
        pytest.skip("bayesian-torch is not installed")
    problem = PROBLEMS["moons"]()
    layers = plain(problem)
    convert(layers, prior_std=1.0)
    layers = layers.double()
    found = dict(layers.named_parameters())
    posteriors = [
        Normal(found[name], torch.nn.functional.softplus(found[name.replace("mu_", "rho_")])) for name in found if "mu_" in name
    ]
    priors = [Normal(own.mean.detach(), own.prior_precision.rsqrt()) for own in marginals(network(problem))]
    expected = sum(kl_divergence(one, other).sum() for one, other in zip(posteriors, priors, strict=True))
    own = marginals(network(problem))
    torch.testing.assert_close(posterior.divergence(layers, own), torch.as_tensor(expected))


def test_every_posterior_is_told(run: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    truth = [{"net": "moons", "predictive": [[0.5, 0.5]] * 2 * SCORED}]
    monkeypatch.setattr("benchmarks.checks.posterior.committed", lambda name: truth)
    rows = run("posterior", "--net", "moons", "--epochs", "3", "--seeds", "0", "--methods", "gbp")
    assert [row["method"] for row in rows] == ["gbp"]
    assert all(0 <= row[key] <= 0.5 for row in rows for key in ("tv", "tv_far"))


def test_a_calibrated_crowd_covers_as_often_as_it_says() -> None:
    """Networks whose truths are draws of their own predictives."""
    known = coverage.needed_level(Normal(0.0, 1.0), torch.tensor([0.0, -1.0, 1.959964]))
    torch.testing.assert_close(known, torch.tensor([0.0, 0.682689, 0.95]), atol=1e-5, rtol=0)
    generator = torch.Generator().manual_seed(0)
    truths = torch.randn(2000, 5, generator=generator, dtype=torch.float64)
    needed = coverage.needed_level(Normal(torch.zeros(5, dtype=torch.float64), 1.0), truths).tolist()
    rows = [{"needed": dict.fromkeys(coverage.REGIONS, own)} for own in needed]
    found = coverage.summary(rows)
    assert found["correlation"] > 0.999
    assert found["sigma1_left"] == pytest.approx(0.6827, abs=0.03) and found["sigma3_inside"] == pytest.approx(0.9973, abs=0.01)
    torch.testing.assert_close(coverage.coverage(rows, "right"), coverage.LEVELS, atol=0.03, rtol=0)


@pytest.mark.filterwarnings("ignore::torch_gbp.errors.NotLearning")  # one pass of a few steps
def test_coverage_and_synthetic_write_what_tables_and_figures_need(
    run: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    covered = run("coverage", "--seeds", "0", "1", "--epochs", "1", "--limit", "20", "--net", "own_wide")
    assert [row["seed"] for row in covered] == [0, 0, 0, 1, 1, 1, "all", "all", "all"]
    assert [row["method"] for row in covered] == list(coverage.PREDICTIVES) * 3
    table = check_tables.coverage(covered)
    assert "| linear response | 2 | x < -10 |" in table and "| published | 100 | x > 10 |  | 90 % |" in table
    run("synthetic", "--net", "width4", "--seeds", "3", "--epochs", "1")
    assert curve.NETS["width4"].title in tables.table("synthetic", folder=tmp_path)
    assert [path.name for path in figures.draw(tmp_path, tmp_path)] == ["synthetic.png", "coverage.png"]


def test_the_published_figures_stand_beside_ours() -> None:
    rows = [{"net": "yacht", "rmse": 1.0, "log_likelihood": -2.0}, {"net": "wine", "rmse": 0.5, "log_likelihood": -0.5}]
    lines = other_tables.uci_table(rows).splitlines()
    assert lines[0].split(" | ")[3:6] == ["torch_gbp", "VI", "PBP"]
    assert lines[6].startswith("| RMSE | yacht | 1 | **1.000** | 6.89 | 1.02 |")
    assert lines[8].startswith("| RMSE | torch_gbp at least as good on |  |  | 2 of 2 | 2 of 2 | 2 of 2 |")
    assert lines[-1].startswith("| log-likelihood | torch_gbp at least as good on |  |  | 2 of 2 | 1 of 2 |")
