"""Predictions by samples, linearised, by moments, at the means: against brute force, and the same however they are computed."""

import copy
import math
import warnings

import pytest
import torch
from helpers import changed, lenet, marginals, mlp
from predictive_cases import CASES, brute_force, case, scattered
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import Gaussian, Regression, Softmax, predict
from torch_gbp.errors import DependentTerms, MissingRule, OutOfMemory
from torch_gbp.predictive import samples as by_samples
from torch_gbp.predictive.together import Together
from torch_gbp.weights.attached import attach
from torch_gbp.weights.priors import Prior

pytestmark = pytest.mark.usefixtures("float64")
DRAWS = 10_000
STEADY = [name for name in CASES if name != "branching"]  # where outputs have a derivative


@pytest.mark.parametrize("name", ["conv_pool", "skip", "attention"])
def test_samples_and_linear_have_the_variances_of_brute_force(name):
    model, x = case(name)
    truth = brute_force(model, x, DRAWS)
    sampled, linear = predict(model, Softmax(), x, samples=4000), predict(model, Softmax(), x, "linear")
    assert (sampled.how, linear.how) == ("samples", "linear")
    for found, low, high in ((sampled, 0.9, 1.11), (linear, 0.8, 1.25)):
        ratio = found.belief.variance / truth.var(0)
        assert low < ratio.min() and ratio.max() < high
    assert_close(sampled.belief.mean, truth.mean(0), rtol=0, atol=6 * float(truth.std(0).max()) / 4000**0.5)


@pytest.mark.parametrize("name", ["conv_pool", "skip", "attention", "recurrent"])
def test_linear_has_the_joint_covariance_of_small_variances(name):
    """Ten times smaller deviations, where first order is all there is."""
    model, x = case(name)
    scattered(model, 0.008)
    truth, found = brute_force(model, x, 4000).movedim(0, 1), predict(model, Softmax(), x, "linear").covariance
    expected = torch.stack([torch.cov(part.T) for part in truth])
    scale = expected.diagonal(dim1=1, dim2=2).sqrt()
    assert_close(found / scale[:, :, None] / scale[:, None], expected / scale[:, :, None] / scale[:, None], rtol=0, atol=0.08)


@pytest.mark.parametrize("make", [lambda: mlp(hidden=40), lenet], ids=["mlp", "lenet"])
def test_networks_of_gbp_layers_are_sampled_and_linearised_too(make):
    model = scattered(make(), 0.02)
    x = torch.randn(3, *((1, 8, 8) if make is lenet else (3,)))
    truth = brute_force(model, x, 3000)
    for found, reach in ((predict(model, Softmax(), x, "samples", 4000), 0.15), (predict(model, Softmax(), x, "linear"), 0.2)):
        assert ((found.belief.variance / truth.var(0)).log().abs() < reach).all()
    with torch.no_grad():
        assert_close(predict(model, Softmax(), x).probs, Softmax().predictive(model(x)).probs, rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_neither_vectorising_nor_chunks_change_a_sample(name, chunk):
    model, x = case(name)
    expected = predict(model, Softmax(), x, samples=7, vectorise=False).outputs
    for vectorise in (True, None):
        assert_close(
            predict(model, Softmax(), x, samples=7, chunk=chunk, vectorise=vectorise).outputs, expected, rtol=1e-12, atol=1e-12
        )
    assert not torch.equal(expected[0], expected[1])


@pytest.mark.parametrize("name", STEADY)
@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_neither_vectorising_nor_chunks_change_what_is_linear(name, chunk):
    model, x = case(name)
    expected = predict(model, Softmax(), x, "linear", vectorise=False)
    found = predict(model, Softmax(), x, "linear", chunk=chunk)
    assert_close(found.covariance, expected.covariance, rtol=1e-10, atol=1e-12)
    assert_close(tuple(found.belief), tuple(expected.belief), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "together"), [("conv_pool", True), ("attention", True), ("recurrent", False), ("branching", False)]
)
def test_what_vmap_can_follow_runs_together(name, together, monkeypatch):
    calls = []
    monkeypatch.setattr(by_samples, "Together", lambda by, apart, vectorise: Together(spy(by, calls), apart, vectorise))
    model, x = case(name)
    predict(model, Softmax(), x, samples=4)
    assert calls == [together]


def spy(function, calls):
    """The function, noting whether it came to an end."""

    def run(*args):
        calls.append(False)
        found = function(*args)
        calls[-1] = True
        return found

    return run


def test_compiled_networks_are_predicted_by_what_is_inside():
    model, x = case("skip")
    graphs = []
    compiled = torch.compile(model, backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
    for how in ("samples", "linear", "means"):
        assert_close(predict(compiled, Softmax(), x, how, 3).probs, predict(model, Softmax(), x, how, 3).probs)
    with pytest.warns(DependentTerms):
        predict(compiled, Softmax(), x, "moments")
    assert not graphs  # nothing was compiled for weights that change


def test_derivatives_that_do_not_fit_are_named(monkeypatch):
    model, x = case("skip")
    monkeypatch.setattr("torch_gbp.memory.available_memory", lambda device: 1000)
    with pytest.raises(OutOfMemory, match=r"derivatives of one example's outputs.*how=\"samples\""):
        predict(model, Softmax(), x, "linear")


def test_the_generator_decides_and_torch_has_its_own_numbers():
    model, x = case("skip")

    def outputs(seed):
        return predict(model, Softmax(), x, samples=3, generator=torch.Generator().manual_seed(seed)).outputs

    assert torch.equal(outputs(1), outputs(1)) and not torch.equal(outputs(1), outputs(2))
    state = torch.get_rng_state()
    first = predict(model, Softmax(), x).outputs
    assert torch.equal(predict(model, Softmax(), x).outputs, first)  # by torch's seed, the same networks in every call
    assert torch.equal(torch.get_rng_state(), state)
    assert_close(predict(model, Softmax(), x[1:]).outputs, first[:, 1:])


@pytest.mark.parametrize("how", ["samples", "linear", "means"])
@pytest.mark.parametrize("name", ["skip", "attention"])
def test_modes_weights_and_gradients_are_put_back(name, how):
    model, x = case(name)
    model.train()
    next(iter(model.children())).eval()
    modes, before = [module.training for module in model.modules()], marginals(model)
    fused = torch.backends.mha.get_fastpath_enabled()
    found = predict(model, Softmax(), x, how, 3)
    assert [module.training for module in model.modules()] == modes and not changed(before, model)
    assert torch.backends.mha.get_fastpath_enabled() == fused
    assert all(p.grad is None and p.requires_grad for p in model.parameters() if p.ndim > 1)
    assert not found.belief.mean.requires_grad
    twin = copy.deepcopy(model)
    assert_close(predict(twin, Softmax(), x, how, 3).probs, found.probs, rtol=0, atol=0)
    other, _ = case(name)
    other.load_state_dict(model.state_dict())
    assert_close(predict(other, Softmax(), x, how, 3).probs, found.probs, rtol=0, atol=0)


class Scale(nn.Module):
    """z = gain * x, or something of which nobody knows the moments."""

    def __init__(self, strange=False):
        super().__init__()
        self.gain, self.strange = nn.Parameter(torch.tensor([1.0, -2.0])), strange

    def forward(self, x):
        return torch.special.bessel_j0(self.gain) if self.strange else self.gain * x


@pytest.mark.parametrize("strange", [False, True])
def test_moments_carry_the_beliefs_of_plain_parameters(strange):
    model, x = Scale(strange), torch.tensor([[1.0, 3.0]])
    attach(model, "gain", Prior(0.25, 0.0))
    if strange:
        with pytest.raises(MissingRule):
            predict(model, Softmax(), x, "moments")
    else:
        found = predict(model, Softmax(), x, "moments").belief
        assert_close(tuple(found), (torch.tensor([[1.0, -6.0]]), torch.tensor([[0.25, 2.25]])))
    assert isinstance(model.gain, nn.Parameter) and "gain" not in model.__dict__


@pytest.mark.parametrize(
    ("name", "places"),
    [("conv_pool", r"4 \(adaptive_avg_pool2d\)"), ("skip", r"the network \(add\)")],
)
def test_moments_of_plain_networks_announce_dependent_terms_once(name, places):
    model, x = case(name)
    truth = brute_force(model, x, 2000)
    with pytest.warns(DependentTerms, match=places + r".*how=\"samples\"") as told:
        found = predict(model, Softmax(), x, "moments")
    assert len(told) == 1 and str(told[0].message).count("(") == 2  # of the way and the place: no other layer is named
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = predict(model, Softmax(), x, "moments")
        assert_close(again.probs, found.probs, rtol=0, atol=0)
        predict(case(name)[0].requires_grad_(False), Softmax(), x)  # samples have nothing to announce
    ratio = found.belief.variance / truth.var(0)
    assert ((ratio < 0.8) | (ratio > 1.25)).any() and ((ratio > 0.4) & (ratio < 2.5)).all()  # which is what it warns of
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["recurrent", "attention"])
def test_networks_that_cannot_carry_moments_are_named(name):
    """A recurrent layer, and a mean that is written as a method."""
    model, x = case(name)
    with pytest.raises(MissingRule, match=r"cannot carry moments.*how=\"samples\""):
        predict(model, Softmax(), x, "moments")
    with pytest.raises((RuntimeError, AssertionError), match=r"shape|dim|size"):  # the network's own errors stay what they are
        predict(model, Softmax(), x[..., :-1], "moments")
    assert all("weight" not in module.__dict__ for module in model.modules())
    predict(model, Softmax(), x)


def test_means_take_any_network():
    model, x = case("skip")
    plain = nn.Linear(3, 2)
    rows = torch.randn(4, 3)
    with torch.no_grad():
        assert_close(predict(model, Softmax(), x, "means").probs, model.eval()(x).softmax(1))
        assert_close(predict(plain, Softmax(), rows, "means").probs, plain(rows).softmax(1))
    sure = predict(mlp(), Softmax(), rows, "means")
    assert sure.belief.variance.eq(0).all() and sure.epistemic.eq(0).all() and sure.outputs is None


def test_the_mixture_of_classes_is_the_average_probability():
    model, x = case("attention", n=5)
    found = predict(model, Softmax(), x, samples=9)
    assert isinstance(found.distribution, Categorical)
    assert_close(found.probs, found.outputs.softmax(-1).mean(0))
    entropy = torch.special.entr(found.outputs.softmax(-1)).sum(-1).mean(0)
    assert_close(found.aleatoric, entropy)
    assert_close(found.epistemic, torch.special.entr(found.probs).sum(-1) - entropy)
    assert (found.epistemic > 0).all()


def test_the_mixture_of_real_targets_is_in_their_units():
    model, x = case("conv_pool", n=5)
    likelihood = Regression().fit_targets(100 + 20 * torch.randn(50, 3))
    likelihood.noise_variance.fill_(0.1)
    found, (centre, scale) = predict(model, likelihood, x, samples=9), (likelihood.targets.mean, likelihood.targets.scale)
    assert isinstance(found.distribution, MixtureSameFamily)
    y = 100 + 20 * torch.randn(5, 3)
    parts = Normal(centre + scale * found.outputs, (0.1**0.5 * scale).expand_as(found.outputs))
    assert_close(found.distribution.log_prob(y), parts.log_prob(y).logsumexp(0) - math.log(9))
    assert_close(found.epistemic, scale**2 * found.outputs.var(0, unbiased=False))
    assert_close(found.aleatoric, (0.1 * scale**2).expand(5, 3))
    assert_close(found.distribution.variance, found.epistemic + found.aleatoric)


@pytest.mark.parametrize("how", ["samples", "linear", "moments", "means"])
def test_uncertainty_of_values_adds_up(how):
    model, x = scattered(mlp(outputs=2)), torch.randn(5, 3)
    found = predict(model, gbp.HeteroscedasticRegression(), x, how, 2000)
    outputs, samples = found.belief, predict(model, gbp.HeteroscedasticRegression(), x, samples=2000, how="samples").outputs
    assert_close(found.epistemic, outputs.variance[:, :1], rtol=1e-6, atol=1e-12)
    noise = samples[..., 1:].exp().mean(0) if how != "means" else outputs.mean[:, 1:].exp()
    assert_close(found.aleatoric, noise, rtol=0.1, atol=0)


@pytest.mark.parametrize("covariance", [False, True])
def test_mutual_information_of_gaussian_outputs(covariance):
    """Against a million draws of them."""
    mean, root = 2 * torch.randn(4, 3), torch.randn(4, 3, 3)
    joint = root @ root.mT if covariance else torch.diag_embed(root.square().sum(-1))
    outputs = (
        gbp.predictive.Outputs.jointly(mean, joint)
        if covariance
        else gbp.predictive.Outputs(mean, joint.diagonal(dim1=1, dim2=2))
    )
    found = gbp.Predictive(Softmax(1.0), outputs, "linear")
    draws = mean + (torch.linalg.cholesky(joint) @ torch.randn(250_000, 4, 3, 1))[..., 0]
    p = draws.softmax(-1)
    expected = torch.special.entr(p).sum(-1).mean(0)
    assert_close(found.aleatoric, expected, rtol=0, atol=0.02)
    assert_close(found.epistemic, torch.special.entr(p.mean(0)).sum(-1) - expected, rtol=0, atol=0.02)


def test_a_constant_added_to_all_logits_changes_nothing():
    """Known, or uncertain: the joint predictive sees differences alone, and is the usual one where logits are independent."""
    mean, variance, likelihood = torch.randn(4, 3), torch.rand(4, 3), Softmax(1.0)
    joint = torch.diag_embed(variance)
    expected = likelihood.joint(mean, joint).probs
    assert_close(expected, likelihood.predictive(Gaussian(mean, variance)).probs)
    assert_close(likelihood.joint(mean + 5.0, joint + 7.0).probs, expected)
    samples = torch.randn(6, 4, 3)
    assert_close(likelihood.mixture(samples + torch.randn(6, 4, 1)).probs, likelihood.mixture(samples).probs)


def test_variance_factor_and_temperature_act_on_samples():
    model, x = case("conv_pool")
    likelihood = Softmax()  # variance_factor 4 makes up for what moments leave out, and samples leave out nothing
    plain = predict(model, likelihood, x)
    centre = predict(model, likelihood, x, "means").belief.mean
    likelihood.variance_factor.fill_(36.0)
    likelihood.temperature.fill_(2.0)
    wide = predict(model, likelihood, x)
    assert torch.equal(wide.outputs, plain.outputs)
    assert_close(wide.probs, ((centre + 3 * (plain.outputs - centre)) / 2).softmax(-1).mean(0))
    joint = predict(model, likelihood, x, "linear")
    assert_close(joint.probs, Softmax().joint(joint.belief.mean / 2, joint.covariance * 9 / 4).probs)


@pytest.mark.parametrize("name", ["skip", "attention"])
@pytest.mark.parametrize("how", ["samples", "linear", "means"])
def test_autocast_to_half_precision_gives_outputs_that_are_none(name, how):
    model, x = case(name)
    model, x = model.float(), x.float()
    expected = predict(model, Softmax(), x, how, 5)
    with torch.autocast("cpu", torch.bfloat16):
        found = predict(model, Softmax(), x, how, 5)
    assert found.probs.dtype == found.belief.mean.dtype == torch.float32
    assert_close(found.probs, expected.probs, rtol=0, atol=0.03)
    assert not torch.equal(found.probs, expected.probs)
