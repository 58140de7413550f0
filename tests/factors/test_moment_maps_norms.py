"""Normalisation and dropout: torch's own numbers at known inputs, sums over all masks, samples of wide groups."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from moment_helpers import belief, multilinear_moments, predict, waves
from torch import nn
from torch.testing import assert_close

from torch_gbp import Gaussian
from torch_gbp.errors import InvalidInput

pytestmark = pytest.mark.usefixtures("float64")


def layers():
    """Every normalising layer, with gains and shifts that are not 1 and 0, and an input for it."""
    made = {
        "batch 1d": (nn.BatchNorm1d(3), (4, 3)),
        "batch 1d of sequences": (nn.BatchNorm1d(3), (4, 3, 2)),
        "batch 2d": (nn.BatchNorm2d(3, eps=0.1), (2, 3, 2, 2)),
        "batch 3d": (nn.BatchNorm3d(2, affine=False), (2, 2, 2, 1, 2)),
        "batch without statistics": (nn.BatchNorm1d(3, track_running_stats=False), (4, 3)),
        "layer": (nn.LayerNorm(5), (2, 3, 5)),
        "layer over two axes": (nn.LayerNorm((3, 4), eps=0.2), (2, 3, 4)),
        "layer without shift": (nn.LayerNorm(4, bias=False), (2, 4)),
        "group": (nn.GroupNorm(2, 4), (2, 4, 3)),
        "group 2d": (nn.GroupNorm(3, 3), (2, 3, 2, 2)),
        "rms": (nn.RMSNorm(4), (2, 4)),
        "rms over two axes": (nn.RMSNorm((2, 4), eps=0.1), (3, 2, 4)),
        "instance": (nn.InstanceNorm2d(2, affine=True), (2, 2, 3, 3)),
        "instance with statistics": (nn.InstanceNorm1d(2, track_running_stats=True), (2, 2, 3)),
    }
    for layer, _ in made.values():
        for shift, own in enumerate(layer.parameters()):
            own.data.copy_(1.5 + waves(*own.shape, shift=shift))
        for shift, own in enumerate(layer.buffers()):
            if own.is_floating_point():
                own.copy_(1.5 + waves(*own.shape, shift=3 + shift))
    return made


NAMES = list(layers())


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", NAMES)
def test_a_known_input_is_normalised_as_torch_does(name, training):
    (layer, shape), (twin, _) = layers()[name], layers()[name]
    x = waves(*shape)
    found = layer.train(training)(Gaussian(x, torch.zeros(shape)))
    assert_close(tuple(found), (twin.train(training)(x), torch.zeros(shape)))
    if name.startswith("batch"):
        assert_close(dict(layer.named_buffers()), {**dict(twin.named_buffers())})


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("batch") and "without" not in name])
def test_batch_norm_in_evaluation_is_a_known_affine_map(name):
    layer, shape = layers()[name]
    x = belief(*shape)
    assert_close(tuple(layer.eval()(x)), tuple(multilinear_moments(layer, x)))


GROUPED = {  # groups of 4000 entries as rows
    "batch": lambda x: nn.BatchNorm1d(3, affine=False)(x.t()).t(),
    "layer": nn.LayerNorm(4000, elementwise_affine=False),
    "group": lambda x: nn.GroupNorm(3, 3, affine=False)(x.unsqueeze(0)).squeeze(0),
    "instance": lambda x: nn.InstanceNorm1d(3)(x.unsqueeze(0)).squeeze(0),
    "rms": nn.RMSNorm(4000, elementwise_affine=False),
}


@pytest.mark.parametrize("normalise", GROUPED.values(), ids=GROUPED)
def test_normalised_moments_are_those_of_samples(normalise):
    """Groups of many entries, whose statistics are sure: the beliefs' variance counts in the scale."""
    spread = torch.tensor([[0.2], [1.0], [3.0]])
    x = Gaussian(2 + waves(3, 4000), spread * (1 + 0.5 * waves(3, 4000, shift=1)))
    samples = torch.stack([normalise(x.mean + x.standard_deviation * torch.randn(3, 4000)) for _ in range(400)])
    found = normalise(x)
    error = (samples.mean(0) - found.mean) / (found.variance / 400).sqrt()
    assert_close(error.square().mean(1), torch.ones(3), rtol=0.1, atol=0)  # no more than the samples' own noise
    assert_close(samples.var(0).mean(1), found.variance.mean(1), rtol=0.02, atol=0)


def test_statistics_kept_in_training_have_the_beliefs_variance():
    layer, x = nn.BatchNorm1d(2, momentum=0.25), belief(5, 2)
    layer(x)
    assert_close(layer.running_mean, 0.25 * x.mean.mean(0))
    assert_close(layer.running_var, 0.75 + 0.25 * (x.mean.var(0) + x.variance.mean(0)))
    before = layer.running_var.clone()
    layer.eval()(x)
    assert_close(layer.running_var, before, rtol=0, atol=0)


def test_one_value_per_channel_is_no_batch():
    with pytest.raises(InvalidInput, match="more than one value per channel"):
        F.batch_norm(belief(1, 3), None, None, training=True)


@pytest.mark.parametrize("name", ["batch 2d", "layer over two axes", "layer without shift", "group", "rms", "instance"])
def test_gains_and_shifts_may_be_gaussian(name):
    """Beside a known input: gain times a known number plus shift, of which the moments are exact."""
    layer, shape = layers()[name]
    x = waves(*shape)
    own = [Gaussian(each.detach(), torch.full_like(each, 0.3)) for each in layer.parameters()]
    names = [name for name, _ in layer.named_parameters()]
    exact = multilinear_moments(lambda *p: torch.func.functional_call(layer, dict(zip(names, p, strict=True)), (x,)), *own)
    assert_close(tuple(predict(layer, 0.3, x, least_axes=0)), tuple(exact))


def test_a_gaussian_gain_multiplies_an_uncertain_input():
    x, gain, shift = belief(4, 3), belief(3, shift=1), belief(3, shift=2)
    mean, variance = torch.zeros(3), torch.ones(3)
    exact = multilinear_moments(lambda *p: F.batch_norm(p[0], mean, variance, p[1], p[2], eps=0.1), x, gain, shift)
    assert_close(tuple(F.batch_norm(x, mean, variance, gain, shift, eps=0.1)), tuple(exact))


@pytest.mark.parametrize("name", ["batch 1d", "layer", "group", "rms"])
def test_gradients_through_the_statistics(name):
    layer, shape = layers()[name]
    x = [part.requires_grad_() for part in belief(*shape)]
    assert torch.autograd.gradcheck(lambda *moments: tuple(layer(Gaussian(*moments))), x)


@pytest.mark.parametrize("layer", [nn.Dropout(0.3), nn.Dropout1d(0.3), nn.Dropout2d(0.3)], ids=lambda one: type(one).__name__)
def test_dropout_in_training_has_the_moments_over_masks(layer):
    x = belief(2, 3, 4, 5) if isinstance(layer, nn.Dropout2d) else belief(2, 3, 4)
    kept = Gaussian(torch.tensor(1.0), torch.tensor(0.3 * 0.7 / 0.7**2))  # of a mask of 0 and 1 / 0.7
    assert_close(tuple(layer(x)), tuple(x * Gaussian(*(part.expand(x.shape) for part in kept))))
    assert layer.eval()(x) is x


def test_the_mask_of_dropout_by_all_its_values():
    x, p = belief(3), 0.25
    values = x.mean[:, None] + x.standard_deviation[:, None] * torch.tensor([-1.0, 1.0])  # two points of the same moments
    cases = [(value * keep / (1 - p), 0.5 * (1 - p if keep else p)) for value, keep in itertools.product(values.T, (0, 1))]
    mean = sum(weight * value for value, weight in cases)
    second = sum(weight * value**2 for value, weight in cases)
    assert_close(tuple(F.dropout(x, p, True)), (mean, second - mean**2))


def test_the_ends_of_dropout():
    x = belief(3)
    assert F.dropout(x, 0.0, True) is x
    assert_close(tuple(F.dropout(x, 1.0, True)), (torch.zeros(3), torch.zeros(3)))
    with pytest.raises(InvalidInput, match=r"p must be in \[0, 1\]"):
        F.dropout(x, 1.5, True)
