"""Adapters: every kind of model gives the numbers that its own library gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import BayesianRidge, LinearRegression, LogisticRegression
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal, StudentT
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput
from torch_gbp.evaluation import Predictions, adapter

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
Y, REAL = (X.sum(1) > 0).long() + (X[:, 0] > 1).long(), X.sum(1, keepdim=True) ** 2
FAR = 8 + X


def value(name, model, data, *arguments, **options):
    return gbp.evaluate(model, data, *arguments, resamples=0, **options)[name].value


def network(outputs=3):
    return nn.Sequential(gbp.GBPLinear(3, 8), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(8, outputs))


def plain(outputs=3):
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, outputs))


@pytest.mark.parametrize("how", [None, "samples", "linear"])
def test_networks_with_marginals_are_predicted(how):
    model, likelihood = network(), gbp.Softmax()
    found = gbp.predict(model, likelihood, X, how, samples=4)
    card = gbp.evaluate(model, (X, Y), likelihood, how=how, samples=4, ood={"far": FAR}, resamples=0)
    assert card["cls/NLL"].value == pytest.approx(float(-found.distribution.log_prob(Y).double().mean()), rel=1e-5)
    torch.testing.assert_close(card.outcome.epistemic, found.epistemic.double())
    torch.testing.assert_close(card.outcome.energy, -found.belief.mean.double().logsumexp(1), atol=1e-5, rtol=1e-5)
    trainer = gbp.Trainer(model, likelihood, progress=False)
    assert value("cls/NLL", trainer, (X, Y), how=how, samples=4) == card["cls/NLL"].value
    assert {"ood/far/AUROC_epistemic", "ood/far/AUROC_energy"} <= set(card)


def test_converted_networks_are_predicted_by_samples():
    model, likelihood = gbp.from_torch(plain(), fresh=True), gbp.Softmax()
    expected = -gbp.predict(model, likelihood, X).distribution.log_prob(Y).double().mean()
    assert value("cls/NLL", model, (X, Y), likelihood) == pytest.approx(float(expected), rel=1e-5)
    with pytest.raises(InvalidInput, match="pass likelihood="):
        gbp.evaluate(model, (X, Y), outputs="logits")


@pytest.mark.parametrize(
    ("likelihood", "outputs", "how"),
    [
        (gbp.Regression(0.1), 1, None),
        (gbp.Regression(0.1), 1, "samples"),
        (gbp.HeteroscedasticRegression(), 2, None),
        (gbp.HeteroscedasticRegression(), 2, "samples"),
    ],
)
def test_real_targets_are_scored_by_the_whole_distribution(likelihood, outputs, how):
    model = network(outputs)
    own = gbp.predict(model, likelihood, X, how)
    card = gbp.evaluate(model, DataLoader(TensorDataset(X, REAL), 20), likelihood, how=how, resamples=0)
    assert card["reg/NLL"].value == pytest.approx(float(-own.distribution.log_prob(REAL).double().mean()), rel=1e-4)
    torch.testing.assert_close(card.outcome.std, own.distribution.variance.double().sqrt(), rtol=1e-4, atol=1e-6)
    draws = own.distribution.sample((4000,)).double()
    crps = (draws - REAL).abs().mean() - (draws[:2000] - draws[2000:]).abs().mean() / 2
    assert card["reg/CRPS"].value == pytest.approx(float(crps), rel=0.05)


@pytest.mark.parametrize("how", ["moments", "samples", "means"])
def test_counts_are_scored_by_the_whole_distribution(how):
    model, likelihood, y = network(1), gbp.Poisson(), torch.poisson(REAL.abs())
    x = 0.2 * X  # so that the log rates' deviations leave draws of the counts a variance
    own = gbp.predict(model, likelihood, x, how)
    card = gbp.evaluate(model, DataLoader(TensorDataset(x, y), 20), likelihood, how=how, resamples=0)
    assert card["reg/NLL"].value == pytest.approx(float(-own.distribution.log_prob(y).double().mean()), rel=1e-4)
    draws = own.distribution.sample((4000,)).double()
    crps = (draws - y).abs().mean() - (draws[:2000] - draws[2000:]).abs().mean() / 2
    assert card["reg/CRPS"].value == pytest.approx(float(crps), rel=0.05)
    low, high = own.interval(0.9)
    assert card["cal/Width_90"].value == pytest.approx(float((high - low).double().mean()), rel=1e-6)


def test_counts_of_other_distributions_and_of_ensembles_are_refused():
    with pytest.raises(InvalidInput, match=r"only classes, Poisson counts, Gaussians.*NegativeBinomial"):
        gbp.evaluate(torch.distributions.NegativeBinomial(torch.ones(2, 1), torch.ones(2, 1) / 2), torch.ones(2, 1))
    members = [lambda x: torch.distributions.Poisson(x.exp().mean(1, keepdim=True))] * 2
    with pytest.raises(InvalidInput, match="ensembles of counts"):
        gbp.evaluate(members, (X, REAL.abs().round()))


def test_plain_modules_are_in_evaluation_mode_meanwhile():
    model = plain()
    logits = model.eval()(X).detach()
    assert value("cls/NLL", model.train(), (X, Y), outputs="logits") == pytest.approx(float(cross_entropy(logits, Y)), rel=1e-5)
    assert all(module.training for module in model)


@pytest.mark.parametrize("outputs", ["logits", "log_probabilities", "probabilities"])
def test_outputs_of_functions_mean_what_is_said(outputs):
    given = {"logits": torch.Tensor.clone, "log_probabilities": nn.LogSoftmax(1), "probabilities": nn.Softmax(1)}[outputs]
    found = value("cls/NLL", lambda x: given(3 * x), (X, Y), outputs=outputs)
    assert found == pytest.approx(float(cross_entropy(3 * X, Y)), rel=1e-5)


@pytest.mark.parametrize("outputs", ["mean_std", "mean_variance"])
def test_pairs_mean_what_is_said(outputs):
    found = value("reg/NLL", lambda x: (x[:, :1], torch.full((len(x), 1), 4.0)), (X, REAL), outputs=outputs)
    std = 4.0 if outputs == "mean_std" else 2.0
    assert found == pytest.approx(float(-Normal(X[:, :1], std).log_prob(REAL).mean()), rel=1e-5)


def test_ensembles_average_probabilities_and_know_what_they_disagree_about():
    members = [plain().eval() for _ in range(3)]
    p = torch.stack([one(X).double().softmax(1) for one in members]).detach()
    found = adapter(members, outputs="logits")(X)
    torch.testing.assert_close(found.probabilities, p.mean(0), atol=1e-7, rtol=0)
    divergence = (p * (p / p.mean(0)).log()).sum(-1).mean(0)  # mean of KL(member || ensemble), another form of it
    torch.testing.assert_close(found.epistemic, divergence, atol=1e-6, rtol=0)


def test_ensembles_of_real_targets_are_mixtures():
    shifts = (-1.0, 0.0, 2.5)
    members = [lambda x, shift=shift: Normal(x[:, :1] + shift, 0.5) for shift in shifts]
    found = adapter(members)(X)
    expected = MixtureSameFamily(Categorical(torch.ones(60, 1, 3)), Normal(X[:, :1, None] + torch.tensor(shifts), 0.5))
    assert found.mixture is not None and found.mean is not None
    torch.testing.assert_close(found.mixture.log_prob(REAL.double()).float(), expected.log_prob(REAL))
    torch.testing.assert_close(found.epistemic, torch.full((60, 1), float(np.var(shifts))).double(), rtol=1e-6, atol=0)
    with pytest.raises(InvalidInput, match="members predict different things"):
        adapter([*members, lambda x: Categorical(logits=x)])(X)


@pytest.mark.parametrize(
    "distribution",
    [
        lambda x: Normal(x, 0.5),
        lambda x: Independent(Normal(x, 0.5), 1),
        lambda x: MultivariateNormal(x, 0.25 * torch.eye(3)),
    ],
)
def test_gaussians_may_be_joint(distribution):
    assert value("reg/NLL", distribution, (X, X + 1)) == pytest.approx(float(-Normal(X, 0.5).log_prob(X + 1).mean()), rel=1e-6)


def test_heavy_tails_are_refused():
    with pytest.raises(InvalidInput, match="StudentT"):
        adapter(lambda x: StudentT(3.0, x))(X)


def test_a_function_that_returns_predictions_is_an_adapter():
    found = adapter(lambda x: Predictions(probabilities=x.softmax(1), epistemic=x[:, 0].abs()))(X)
    torch.testing.assert_close(found.epistemic, X[:, 0].abs().double())


def test_scikit_learn_estimators():
    x, y, real = X.numpy(), Y.numpy(), REAL[:, 0].numpy()
    classes, ridge = LogisticRegression().fit(x, y), BayesianRidge().fit(x, real)
    assert value("cls/Acc", classes, (X, Y)) == pytest.approx(classes.score(x, y))
    mean, std = ridge.predict(x, return_std=True)
    expected = -Normal(torch.tensor(mean), torch.tensor(std)).log_prob(torch.tensor(real)).mean()
    assert value("reg/NLL", ridge, (x, real)) == pytest.approx(float(expected), rel=1e-6)
    with pytest.raises(InvalidInput, match=r"no standard deviation.*LinearRegression"):
        gbp.evaluate(LinearRegression().fit(x, real), (x, real))
    with pytest.raises(InvalidInput, match=r"classes must be 0 \.\.\. 2.*LabelEncoder"):
        gbp.evaluate(LogisticRegression().fit(x, y + 1), (x, y + 1))


def test_lightning_modules():
    lightning_modules = pytest.importorskip("lightning_modules")
    model, likelihood, other = network(), gbp.Softmax(), plain().eval()
    modules = {
        lightning_modules.GBPClassifier(model, likelihood): value("cls/NLL", model, (X, Y), likelihood),
        lightning_modules.AdamWClassifier(other): value("cls/NLL", other, (X, Y), outputs="logits"),
    }
    for module, expected in modules.items():
        assert value("cls/NLL", module, (X, Y)) == pytest.approx(expected, rel=1e-6)
    regressor = lightning_modules.GBPRegressor(network(1), gbp.Regression(0.1))
    regressor.target_mean, regressor.target_std = torch.tensor([3.0]), torch.tensor([2.0])
    mean, variance = regressor.eval().predictive_moments(X)
    expected = -Normal(mean, variance.sqrt()).log_prob(REAL).mean()
    assert value("reg/NLL", regressor, (X, REAL)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_laplace():
    laplace = pytest.importorskip("laplace")
    model, loader = plain(), DataLoader(TensorDataset(X, Y), 20)
    own = laplace.Laplace(model.eval(), "classification", subset_of_weights="last_layer", hessian_structure="kron")
    own.fit(loader)
    expected = -own(X).gather(1, Y[:, None]).log().mean()
    assert value("cls/NLL", own, loader) == pytest.approx(float(expected), rel=1e-5)
    real = laplace.Laplace(plain(1).eval(), "regression", subset_of_weights="all", hessian_structure="full", sigma_noise=0.7)
    real.fit(DataLoader(TensorDataset(X, REAL), 20))
    mean, variance = real(X)
    expected = -Normal(mean, (variance[:, 0] + 0.7**2).sqrt()).log_prob(REAL).mean()
    assert value("reg/NLL", real, (X, REAL)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_vbll():
    vbll = pytest.importorskip("vbll")
    heads = {"cls/NLL": (vbll.DiscClassification(3, 3, 0.1), Y), "reg/NLL": (vbll.Regression(3, 1, 0.1), REAL)}
    for name, (head, targets) in heads.items():
        torch.manual_seed(0)  # its classes are averaged over draws
        expected = -head.eval()(X).predictive.log_prob(targets).mean()
        torch.manual_seed(0)
        assert value(name, nn.Sequential(nn.Identity(), head), (X, targets)) == pytest.approx(float(expected.detach()), rel=1e-4)
