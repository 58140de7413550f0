"""Examples some of whose targets are known: loss, evidence, gradients and the learned noise are those of these alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Geometric
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput

X, Y, KNOWN = torch.randn(20, 3), torch.randn(20, 2), torch.rand(20, 2) > 0.4
LIKELIHOODS = {
    "regression": (gbp.Regression(0.5), Y, 2),
    "standardised": (gbp.Regression().fit_targets(Y), Y, 2),
    "counts": (gbp.Poisson(), Y.abs().round(), 2),
    "heteroscedastic": (gbp.HeteroscedasticRegression(), Y, 4),
}


def single(likelihood, output, y, row, column):
    """Log evidence of one target by a likelihood that sees nothing else."""
    columns = [column] if output.shape[1] == 2 else [column, column + 2]
    part = gbp.Gaussian(output.mean[row : row + 1, columns], output.variance[row : row + 1, columns])
    if likelihood is LIKELIHOODS["standardised"][0]:
        unit = likelihood.targets.scale[column]
        standard = (y[row : row + 1, column : column + 1] - likelihood.targets.mean[column]) / unit
        return gbp.Regression(float(likelihood.noise_variance)).log_evidence(part, standard) - unit.log()
    return likelihood.log_evidence(part, y[row : row + 1, column : column + 1])


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("plain", [False, True], ids=["belief", "known_outputs"])
def test_the_loss_is_that_of_the_known_targets(name, plain):
    likelihood, y, width = LIKELIHOODS[name]
    mean, variance = torch.randn(20, width), torch.zeros(20, width) if plain else torch.rand(20, width)
    output = gbp.Gaussian(mean, variance)
    known = KNOWN if width == 2 else torch.cat([KNOWN, KNOWN], 1)
    wanted = -sum(single(likelihood, output, y, *cell).item() for cell in KNOWN.nonzero().tolist())
    found = likelihood(mean if plain else output, y, known)
    assert_close(found.item(), wanted, rtol=1e-4, atol=1e-4)


def test_a_torch_layer_beneath_learns_from_partly_known_examples():
    known = torch.ones(20, 2, dtype=torch.bool)
    known[:, 1] = False
    network = nn.Sequential(nn.Linear(3, 3), gbp.GBPLinear(3, 2))
    gbp.Regression(1.0)(network(X), Y, known).backward()
    found = network[0].weight.grad.clone()
    network[0].weight.grad = None
    output = network(X)
    gbp.Regression(1.0)(gbp.Gaussian(output.mean[:, :1], output.variance[:, :1]), Y[:, :1]).backward()
    assert found.any() and network[0].weight.grad is not None
    assert_close(found, network[0].weight.grad, rtol=1e-5, atol=1e-6)


def test_the_evidence_of_a_graph_is_that_of_the_known_targets():
    network = nn.Sequential(gbp.GBPLinear(3, 2, covariance="diagonal"), gbp.GBPNoise(0.1))
    known = torch.ones(20, 2, dtype=torch.bool)
    known[:, 1] = False
    graph = gbp.FactorGraph(network, X, gbp.Regression(1.0), Y, observed=known)
    graph.infer(5)
    mean, variance = graph.nodes[-1].outputs
    wanted = gbp.Regression(1.0).log_evidence(gbp.Gaussian(mean[:, :1], variance[:, :1]), Y[:, :1]).sum()
    assert_close(graph.log_evidence(), wanted, rtol=1e-5, atol=1e-5)


ONE = torch.arange(40).view(20, 2) == 7


@pytest.mark.parametrize("cells", [KNOWN, ONE])
def test_noise_is_learned_from_known_targets_in_their_own_units(cells):
    scale = torch.tensor([1.0, 100.0])
    likelihood = gbp.Regression().fit_targets(Y * scale)
    output = gbp.Gaussian(torch.randn(20, 2), torch.rand(20, 2))
    before = likelihood.noise_variance.clone()
    likelihood.m_step(output, Y * scale, cells)(True, 0.5)
    standard = (Y * scale - likelihood.targets.mean) / likelihood.targets.scale
    wanted = ((standard - output.mean).square() + output.variance)[cells].mean()
    assert_close(likelihood.noise_variance, 0.5 * (before + wanted))


@pytest.mark.parametrize("log_variance", [1e-4, 0.01, 0.05, 0.25, 1.0])
@pytest.mark.parametrize("far", [0.5, 10.0, 30.0, 60.0])
def test_a_heteroscedastic_prediction_has_the_density_of_its_outliers(log_variance, far):
    output = gbp.Gaussian(torch.tensor([[0.0, -1.0]]).double(), torch.tensor([[0.1, log_variance]]).double())
    y, likelihood = torch.tensor([[far * 0.6]]).double(), gbp.HeteroscedasticRegression()
    assert_close(likelihood.predictive(output).log_prob(y)[:, 0], likelihood.log_evidence(output, y), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [Bernoulli, Geometric])
def test_a_likelihood_whose_distribution_has_two_names_for_its_parameter_predicts_by_samples(kind):
    class Own(gbp.ElementwiseLikelihood):
        def check(self, output, target):
            pass

        def known(self, outputs):
            return kind(logits=outputs, validate_args=False)

    outputs = torch.randn(4, 3, 1)
    assert_close(Own().mixture(outputs).mean, kind(logits=outputs).mean.mean(0))


@pytest.mark.parametrize("known", [torch.ones(20), torch.ones(3).bool(), [True] * 20, torch.ones(20, 3).bool()])
def test_what_is_no_mask_is_refused(known):
    with pytest.raises(InvalidInput, match="mask"):
        gbp.Regression(1.0)(torch.randn(20, 2), Y, known)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("likelihood", [gbp.Softmax(), gbp.Argmax(), gbp.OneHotRegression()])
def test_beliefs_in_half_precision_are_scored_in_single(dtype, likelihood):
    output, labels = gbp.Gaussian(torch.randn(20, 3), torch.rand(20, 3)), torch.arange(20) % 3
    narrow = output.to(dtype)
    assert_close(likelihood(narrow, labels), likelihood(narrow.to(torch.float32), labels))
    assert_close(likelihood.predictive(narrow).probs, likelihood.predictive(narrow.to(torch.float32)).probs)
