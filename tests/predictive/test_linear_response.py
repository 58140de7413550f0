"""Linear response: the joint Gaussian of all weights against dense linear algebra."""

import pytest
import torch
from helpers import changed, lenet, marginals, three_classes, wide
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import GBPLinear, LinearResponse, Regression, Softmax, memory
from torch_gbp.errors import ImproperMarginal, InvalidInput, OutOfMemory
from torch_gbp.optim.message_weight import automatic_power_factor
from torch_gbp.weights.parameter import GaussianParameter

pytestmark = pytest.mark.usefixtures("float64")


def known(plain, **prior):
    """The GBP twin of a plain network whose weights are all but known: moments are what the plain network computes."""
    model = gbp.from_torch(plain, moments=True, **prior)
    for own in model.modules():
        if isinstance(own, GaussianParameter):
            own.precision.data.fill_(1e14)
            own.mark_written()
    return model


def dense(plain, model, curvature, x, new):
    """diag(J_new S J_new'), S = (R0 + sum J' C J)^-1, by torch's own derivatives of the plain network."""
    names = [name for name, _ in plain.named_parameters()]
    weights = tuple(p.detach() for p in plain.parameters())

    def outputs(inputs):
        return lambda *own: torch.func.functional_call(plain, dict(zip(names, own, strict=True)), (inputs,))

    def jacobian(inputs):
        parts = torch.autograd.functional.jacobian(outputs(inputs), weights)
        return torch.cat([part.flatten(2) for part in parts], 2)

    prior = [own.prior_precision.expand_as(own.mean).flatten() for own in model.modules() if isinstance(own, GaussianParameter)]
    told, asked = jacobian(x), jacobian(new)
    precision = torch.diag(torch.cat(prior)) + torch.einsum("nkp,nkl,nlq->pq", told, curvature, told)
    return torch.einsum("nkp,pq,nkq->nk", asked, torch.linalg.inv(precision), asked)


def test_of_a_linear_layer_is_bayesian_linear_regression():
    """Correlated inputs, where a product of marginals cannot have the variance."""
    x = torch.randn(30, 4) @ torch.randn(4, 4) + 2.0
    y, new = x @ torch.randn(4, 1) + 0.3 * torch.randn(30, 1), torch.randn(9, 4)
    model = GBPLinear(4, 1, bias=False, prior=gbp.Prior(variance=2.0), covariance="diagonal")
    precision = torch.eye(4) / 2.0 + x.T @ x / 0.1
    model.weight.mean.data.copy_(torch.linalg.solve(precision, x.T @ y / 0.1).T)
    found = LinearResponse(model, Regression(0.1), x, y)(new)
    assert_close(found.mean, new @ model.weight.mean.detach().T)
    assert_close(found.variance, (new @ torch.linalg.inv(precision) * new).sum(1, keepdim=True), rtol=1e-10, atol=1e-12)


def test_of_a_regression_network_against_dense_matrices():
    plain = nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(0.1), nn.Linear(6, 2))
    model, x, new = known(plain), 3 * torch.randn(12, 3), torch.randn(5, 3).exp()
    joint = LinearResponse(model, Regression(0.04), x, torch.randn(12, 2))
    curvature = torch.eye(2).expand(12, 2, 2) / 0.04
    assert_close(joint(new).variance, dense(plain, model, curvature, x, new), rtol=1e-5, atol=1e-9)
    assert_close(joint(new).mean, plain(new).detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_of_classes_takes_the_whole_curvature(power):
    plain = nn.Sequential(nn.Linear(3, 5), nn.LeakyReLU(0.1), nn.Linear(5, 4))
    model, x, new = known(plain, prior=gbp.Prior(scale=1.0)), 4 * torch.randn(10, 3), torch.randn(6, 3)
    joint = LinearResponse(model, Softmax(power), x, torch.arange(10) % 4)
    p = plain(x).softmax(1).detach()
    curvature = power * (torch.diag_embed(p) - p[:, :, None] * p[:, None])
    assert_close(joint(new).variance, dense(plain, model, curvature, x, new), rtol=1e-5, atol=1e-9)


def test_an_automatic_power_is_that_of_training():
    model, (x, y) = GBPLinear(3, 3), three_classes(36)
    own = LinearResponse(model, Softmax(), x, y)
    told = LinearResponse(model, Softmax(Softmax().power * automatic_power_factor([9, 3], 36)), x, y)
    assert 1 < automatic_power_factor([9, 3], 36) < 2
    assert_close(tuple(own(x)), tuple(told(x)), rtol=1e-12, atol=0)


def test_works_for_images_and_changes_nothing():
    model, x, y = lenet(), torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    before = marginals(model)
    predictive = LinearResponse(model, Softmax(1.0), x, y).predict(x)
    assert_close(predictive.probs.sum(1), torch.ones(6))
    assert changed(before, model) == [] and all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("likelihood", [Regression(), Softmax(), gbp.Poisson()], ids=["regression", "softmax", "poisson"])
def test_predicts_as_the_linearised_network_where_weights_are_independent(likelihood):
    """Inputs that see one weight each, so that the joint Gaussian is the product of the marginals that an optimum has."""
    x, model = torch.eye(2).repeat(20, 1), GBPLinear(2, 3, bias=False, covariance="diagonal")
    y = torch.arange(40) % 3 if likelihood.classes else torch.arange(120.0).view(40, 3) % 4
    joint = LinearResponse(model, likelihood, x, y)
    told = torch.stack([joint(row).variance[0] for row in torch.eye(2)[:, None]], 1)
    model.weight.precision.data.copy_(told.reciprocal())
    model.weight.mark_written()
    found, expected = joint.predict(x[:2]), gbp.predict(model, likelihood, x[:2], how="linear")
    if likelihood.classes:  # of each other their outputs know through the softmax
        covariance = torch.stack(list(joint._covariances(x[:2])))
        assert_close(covariance.diagonal(dim1=1, dim2=2), expected.belief.variance)
        assert_close(found.probs, likelihood.joint(expected.belief.mean, covariance).probs)
        assert (found.probs - expected.probs).abs().max() < 0.01
    else:
        assert_close(found.variance, expected.distribution.variance)
        assert_close(found.mean, expected.distribution.mean)


def test_calibrated_factors_count_from_what_they_began_with():
    model, (x, y), likelihood = GBPLinear(3, 1), three_classes(9), Regression()
    joint = LinearResponse(model, likelihood, x, y[:, None].double())
    noise, before = joint.predict(x).variance - joint(x).variance, joint(x).variance
    likelihood.variance_factor.fill_(3 * likelihood.usual_variance_factor)
    assert_close(joint.predict(x).variance, noise + 3 * before)


def test_samples_of_a_linear_layer_have_the_mean_and_the_variance():
    x, new = torch.randn(30, 4) @ torch.randn(4, 4), torch.randn(9, 4)
    model = GBPLinear(4, 2, prior=gbp.Prior(variance=2.0))
    joint = LinearResponse(model, Regression(0.1), x, torch.randn(30, 2))
    belief, drawn = joint(new), joint.sample(new, 4000)
    assert_close((drawn.mean(0) - belief.mean) / belief.variance.sqrt(), torch.zeros(9, 2), atol=0.06, rtol=0)
    assert_close(drawn.var(0) / belief.variance, torch.ones(9, 2), atol=0.1, rtol=0)


def test_samples_are_whole_networks_and_the_frozen_part_stays():
    model, (x, y) = nn.Sequential(wide(3, 4), gbp.GBPLeakyReLU(0.1), wide(4, 3)), three_classes(9)
    before = marginals(model)
    drawn = LinearResponse(model, Softmax(1.0), x, y).sample(x, 3, torch.Generator().manual_seed(1))
    assert drawn.shape == (3, 9, 3) and drawn.std(0).min() > 0 and changed(before, model) == []
    again = LinearResponse(model, Softmax(1.0), x, y).sample(x, 3, torch.Generator().manual_seed(1))
    assert_close(drawn, again, rtol=0, atol=0)
    model[0].requires_grad_(False)  # known, so what is left is linear
    model[0].weight.precision.data.fill_(1e14)
    model[0].bias.precision.data.fill_(1e14)
    joint = LinearResponse(model, Softmax(1.0), x, y)
    assert_close(joint.sample(x, 4000).var(0) / joint(x).variance, torch.ones(9, 3), atol=0.1, rtol=0)


def test_frozen_layers_count_as_known():
    model, (x, y) = nn.Sequential(wide(3, 4), wide(4, 3)), three_classes(9)
    whole = LinearResponse(model, Softmax(1.0), x, y)(x).variance
    model[0].requires_grad_(False)
    part = LinearResponse(model, Softmax(1.0), x, y)(x).variance
    hidden = model[0](x).mean.detach()
    assert_close(part, LinearResponse(model[1], Softmax(1.0), hidden, y)(hidden).variance)
    assert (part < 0.9 * whole).all()


def test_what_cannot_be_told_raises(monkeypatch):
    model, (x, y) = GBPLinear(3, 3), three_classes(9)
    with pytest.raises(InvalidInput, match="8"):
        LinearResponse(model, Softmax(), x, y[:8])
    with pytest.raises(ImproperMarginal, match=r"not concave at the outputs"):
        LinearResponse(GBPLinear(3, 2), gbp.HeteroscedasticRegression(), x, 30 * torch.randn(9, 1))
    monkeypatch.setattr(memory, "available_memory", lambda device: 100)
    with pytest.raises(OutOfMemory, match="the joint posterior of 27 outputs"):
        LinearResponse(model, Softmax(), x, y)
