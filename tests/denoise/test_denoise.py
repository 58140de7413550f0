"""Denoiser: its fixed point is a stationary point of the graph's energy; inpainting, filtering and errors."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from torch_gbp.denoise import Denoiser, PairwiseSmoother, Reconstruction, Tukey
from torch_gbp.denoise.filters import Filters
from torch_gbp.denoise.observation import PixelObservation
from torch_gbp.errors import Diverged, InvalidInput


def stripes(high=24, wide=26, noise=0.0):
    """Two channels of waves in [0, 1], with a tenth of the pixels replaced."""
    rows, columns = torch.arange(high)[:, None], torch.arange(wide)
    clean = torch.stack([0.5 + 0.3 * torch.sin(0.5 * (rows + columns)), 0.5 + 0.3 * torch.cos(0.4 * rows - 0.3 * columns)])
    hit = torch.rand(high, wide) < noise
    return clean, torch.where(hit, torch.rand_like(clean), clean)


def make(slope=1.0, joint=False, **changes):
    settings = {"deviation": 0.1, "robust": Tukey(1.4), "weight_deviation": 0.3, "slope": slope, "start_deviation": 0.3}
    return Denoiser(Reconstruction(2, 3, **settings | changes), 0.2, Tukey(0.2), joint)


def log_weighted(squared, n):
    """The energy whose slope a Tukey-weighted factor has, written out."""
    return torch.where(squared > n**2, n**2 / 2 * (1 + torch.log(squared / n**2)), squared / 2).sum()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("slope", "joint"), [(1.0, False), (0.2, False), (1.0, True)])
def test_the_fixed_point_has_no_slope_of_energy(slope, joint):
    """All variables free: pixels (some missing, by channel), coefficients, filters and biases, robust factors of both kinds."""
    _, image = stripes(9, 8, 0.1)
    missing = torch.rand(2, 9, 8) < 0.1
    model = make(slope, joint)
    model.reset()
    graph = model.graph(PixelObservation(image, 0.2, model.robust, missing, joint))
    found = graph.infer(iterations=6000, rate=0.1, tolerance=1e-13)
    node = graph.nodes[0]
    parts = found.belief.mean, node.lower.belief_mean(), *(weight.mean for weight in node.weights)
    z, x, w, b = (part.clone().requires_grad_() for part in parts)
    distances = ((z - image) / 0.2).square().masked_fill(missing, 0)
    seen = log_weighted(distances.sum(0) if joint else distances, 0.2)
    residual = F.leaky_relu(F.conv_transpose2d(x, w.transpose(0, 1), b), slope)[0] - z
    factors = log_weighted(residual.square().sum(0) / 0.1**2, 1.4)
    priors = x.square().sum() / (2 * 0.5**2) + w.square().sum() / (2 * 0.3**2) + b.square().sum() / (2 * 0.3**2)
    energy = seen + factors + priors
    assert_close(energy.detach(), torch.tensor(found.energy[-1]), rtol=1e-6, atol=0)
    for gradient, own in zip(torch.autograd.grad(energy, (z, x, w, b)), (z, x, w, b), strict=True):
        assert float(gradient.abs().max()) < 1e-4 * max(1.0, float(own.detach().abs().max()))
    assert found.energy[-1] < found.energy[0] and found.change[-1] < 1e-4


@pytest.mark.usefixtures("float64")
def test_known_filters_give_the_dense_posterior_mean():
    """With filters as good as known and quadratic factors the graph is linear-Gaussian: means equal a dense solve."""
    _, image = stripes(6, 7)
    layer = Reconstruction(2, 3, deviation=0.3, weight_deviation=0.5)
    layer.weight.prior_mean.normal_(0, 0.4)
    layer.weight.mean.copy_(layer.weight.prior_mean)
    layer.weight.prior_precision.fill_(1e14)
    model = Denoiser(layer, 0.2, Tukey(1e6))
    found = model.infer(image, iterations=3000, rate=0.2, tolerance=1e-13)
    kernel, free = layer.weight.prior_mean.transpose(0, 1), (image.numel(), 3 * 4 * 5, 2)

    def energy(point):
        z, x, b = point.split(free)
        residual = F.conv_transpose2d(x.view(1, 3, 4, 5), kernel, b)[0] - z.view_as(image)
        seen = (z.view_as(image) - image).square().sum() / (2 * 0.2**2)
        return seen + residual.square().sum() / (2 * 0.3**2) + x.square().sum() / (2 * 0.5**2) + b.square().sum() / (2 * 0.3**2)

    origin = torch.zeros(sum(free))
    matrix, slope = torch.autograd.functional.hessian(energy, origin), torch.autograd.functional.jacobian(energy, origin)
    exact = torch.linalg.solve(matrix, -slope)[: free[0]].view_as(image)
    assert_close(found.belief.mean, exact, rtol=1e-8, atol=1e-8)


def test_replaced_pixels_come_back_and_the_others_stay():
    clean, noisy = stripes(40, 40, 0.1)
    model = make()
    model.reset()
    found = model.infer(noisy, iterations=200).belief.mean
    assert (found - clean).square().mean() < 0.2 * (noisy - clean).square().mean()


def test_a_pixel_struck_in_one_channel_leaves_its_observation_in_all_if_they_are_joint():
    """Grey all around holds the pixel with as many smoothness factors; joint, the untouched channel is pulled less as well."""
    image = torch.full((2, 7, 7), 0.5)
    image[0, 3, 3], image[1, 3, 3] = 0.95, 0.52
    apart, joint = (PairwiseSmoother(joint=joint).infer(image).belief.mean[:, 3, 3] for joint in (False, True))
    assert abs(apart[0] - 0.5) < 0.05 and abs(joint[0] - 0.5) < 0.05
    assert abs(joint[1] - 0.5) < abs(apart[1] - 0.5) / 3


def test_missing_pixels_are_filled_in_and_their_values_not_read():
    clean, _ = stripes(40, 40)
    missing = torch.rand(40, 40) < 0.3
    found = []
    for value in (torch.nan, 7.0):
        model = make()
        model.reset(torch.Generator().manual_seed(1))
        spoiled = torch.where(missing, value, clean)
        found.append(model.infer(spoiled, missing, iterations=200, generator=torch.Generator().manual_seed(2)).belief.mean)
    assert torch.equal(*found)
    assert float((found[0] - clean)[:, missing].square().mean().sqrt()) < 0.08  # a grey of .5 would be wrong by .2
    smooth = PairwiseSmoother().infer(torch.where(missing, torch.nan, clean), missing).belief.mean
    assert float((smooth - clean)[:, missing].square().mean().sqrt()) < 0.15


def test_the_posterior_becomes_the_prior_drawn_towards_the_first():
    filters = Filters((2, 3), 0.5, 0.1)
    filters.mean.normal_()
    filters.precision.copy_(4 + 100 * torch.rand(2, 3))
    mean, deviation = filters.mean.clone(), filters.precision.rsqrt()
    filters.advance(0.25)
    assert_close(filters.prior_mean, 0.75 * mean)
    assert_close(filters.prior_precision.rsqrt(), 0.25 * 0.5 + 0.75 * deviation)
    filters.advance(0.0)
    assert_close((filters.prior_mean, filters.prior_precision), (mean, deviation.pow(-2)))


def test_a_video_is_a_stream_that_can_be_saved_and_copied():
    _, noisy = stripes(16, 16, 0.1)
    model = make()
    model.reset()
    model.infer(noisy, iterations=20)
    model.advance()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = make()
    other.load_state_dict(torch.load(file, weights_only=True))
    three = model, copy.deepcopy(model), other
    found = [own.infer(noisy, iterations=20, generator=torch.Generator().manual_seed(0)).belief.mean for own in three]
    assert torch.equal(found[1], found[0]) and torch.equal(found[2], found[0])


def test_it_stops_early_and_tells_energy_and_change():
    _, noisy = stripes(16, 16, 0.1)
    model = make()
    model.reset()
    found = model.infer(noisy, iterations=2000, tolerance=2e-3)
    assert len(found.energy) == len(found.change) < 2000
    assert found.change[-1] <= 2e-3 < min(found.change[:-1])
    assert (found.belief.variance > 0).all()


@pytest.mark.usefixtures("float64")
def test_float32_stays_close():
    _, noisy = stripes(16, 16, 0.1)
    exact = make()
    exact.reset()
    single = copy.deepcopy(exact).float()
    found = [m.infer(noisy, iterations=50, generator=torch.Generator().manual_seed(0)).belief.mean for m in (exact, single)]
    assert found[1].dtype == torch.float32
    assert_close(found[1].double(), found[0], rtol=0, atol=2e-3)


def test_divergence_stops_with_the_damping_to_try_and_keeps_the_filters():
    _, noisy = stripes(40, 40, 0.1)
    model = make(weight_deviation=30.0)
    model.reset()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(Diverged, match=r"diverges in iteration \d+.*reconstruction layer.*damping 0\.00.*rate=0\.5"):
        model.infer(noisy, iterations=500, rate=1.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


BAD = {
    "range": (lambda m, y: m.infer(255 * y), r"must lie in \[0, 1\].*divide by 255"),
    "nan": (lambda m, y: m.infer(torch.where(y > 0.7, torch.nan, y)), r"must lie in \[0, 1\]"),
    "integers": (lambda m, y: m.infer((255 * y).byte()), r"floating-point tensor.*uint8"),
    "batch": (lambda m, y: m.infer(y[None]), r"\(channels, h, w\).*shape \(1, 2, 12, 12\)"),
    "nothing": (lambda m, y: m.infer(y, torch.ones(12, 12, dtype=torch.bool)), "no pixel is observed"),
    "channels": (lambda m, y: m.infer(y[:1]), r"expected 2 channels.*shape \(1, 12, 12\)"),
    "size": (lambda m, y: (m.infer(y, iterations=1), m.infer(y[:, 1:])), r"frames of shape \(2, 12, 12\).*\(2, 11, 12\)"),
    "rate": (lambda m, y: m.infer(y, rate=0.0), r"rate must be in \(0, 1\].*Got: 0\.0"),
    "iterations": (lambda m, y: m.infer(y, iterations=0), r"iterations must be an integer, at least 1.*in Denoiser.*Got: 0"),
    "share": (lambda m, y: m.advance(1.5), r"forget must be in \[0, 1\].*1\.5"),
}


@pytest.mark.parametrize(("call", "text"), BAD.values(), ids=BAD)
def test_bad_input(call, text):
    with pytest.raises(InvalidInput, match=text) as raised:
        call(make(), stripes(12, 12)[0])
    assert "Way out: " in str(raised.value)


def test_filters_that_are_no_marginals_are_refused_before_they_are_loaded():
    denoiser = Denoiser(Reconstruction(1, 2, deviation=0.1, weight_deviation=0.3))
    before = {name: value.clone() for name, value in denoiser.state_dict().items()}
    for change, text in ((lambda value: -value.abs(), "positive"), (lambda value: value * torch.nan, "finite")):
        with pytest.raises(InvalidInput, match=text):
            denoiser.load_state_dict({name: change(value) for name, value in before.items()})
    assert all(torch.equal(value, before[name]) for name, value in denoiser.state_dict().items())


def test_filters_that_no_image_was_seen_with_keep_their_prior():
    denoiser = Denoiser(Reconstruction(1, 2, deviation=0.1, weight_deviation=0.3))
    denoiser.advance(0.0)
    assert not denoiser.layer.weight.prior_mean.any()
