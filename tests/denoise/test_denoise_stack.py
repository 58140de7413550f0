"""Layers on top of each other: exact on a tree, dense posterior means, stationary points of the energy, errors."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from torch_gbp.denoise import Denoiser, Reconstruction, Stack, Tukey, Upsampling, five_layers
from torch_gbp.denoise.observation import PixelObservation
from torch_gbp.errors import Diverged, InvalidInput
from torch_gbp.gaussian import Message
from torch_gbp.inference.damping import Damping, Iteration
from torch_gbp.inference.variable import Variable

BOTTOM, MIDDLE, TOP = 0.3, 0.25, 0.2  # sigma of the reconstructions
FINE, COARSE = 0.1, 0.15  # sigma of the upsamplings


def make(robust=1e6, slope=1.0, deviation=0.5, start=0.3):
    """Five layers for an image of 11 x 15 pixels, whose highest coefficients are 1 x 2."""
    options = {"kernel_size": 2, "weight_deviation": deviation, "start_deviation": start}
    bottom = Reconstruction(2, 3, deviation=BOTTOM, robust=Tukey(robust), **options)
    middle = Reconstruction(3, 2, deviation=MIDDLE, slope=slope, **options)
    top = Reconstruction(2, 2, deviation=TOP, slope=slope, **options)
    return Stack([bottom, Upsampling(3, deviation=FINE), middle, Upsampling(2, deviation=COARSE), top])


def image():
    rows, columns = torch.arange(11)[:, None], torch.arange(15)
    return torch.stack([0.5 + 0.4 * torch.sin(0.5 * rows + 0.3 * columns), 0.4 + 0.3 * torch.cos(0.4 * rows - 0.6 * columns)])


def written_out(z, x, kernels, biases, slope, robust=1e6, weight_deviation=0.5):
    """Energy of the five layers and all priors, every factor from its formula."""
    energy = torch.zeros(())
    for layer, (below, sigma) in enumerate(zip((z, x[1], x[3]), (BOTTOM, MIDDLE, TOP), strict=True)):
        prediction = F.conv_transpose2d(x[2 * layer], kernels[layer].transpose(0, 1), biases[layer])
        residual = F.leaky_relu(prediction, slope if layer else 1.0) - below
        squared = residual.square().sum(1) / sigma**2
        flat = robust if layer == 0 else torch.inf
        beyond = flat**2 / 2 * (1 + torch.log(squared.clamp_min(flat**2) / flat**2)) if layer == 0 else squared
        energy = energy + torch.where(squared > flat**2, beyond, squared / 2).sum()
        energy = energy + x[2 * layer].square().sum() / (2 * 0.5**2) + biases[layer].square().sum() / (2 * 0.3**2)
        energy = energy + kernels[layer].square().sum() / (2 * weight_deviation**2)
    for below, above, sigma in ((x[0], x[1], FINE), (x[2], x[3], COARSE)):
        windows = above.repeat_interleave(2, 2).repeat_interleave(2, 3)
        energy = energy + (below - windows).square().sum() / (2 * sigma**2)
    return energy


SHAPES = [(1, 3, 10, 14), (1, 3, 5, 7), (1, 2, 4, 6), (1, 2, 2, 3), (1, 2, 1, 2)]


@pytest.mark.usefixtures("float64")
def test_known_filters_give_the_dense_posterior_mean():
    """Five layers, linear and quadratic: pixels (some missing) equal a dense solve of all activations and biases."""
    stack, noisy = make(), image()
    missing = torch.rand(11, 15) < 0.2
    kernels = [own.mean.normal_(0, 0.4).clone() for own in stack.filters()[::2]]
    for own, kernel in zip(stack.filters()[::2], kernels, strict=True):
        own.prior_mean.copy_(kernel)
        own.prior_precision.fill_(1e14)
    found = Denoiser(stack, 0.2, Tukey(1e6)).infer(noisy, missing, iterations=450, rate=0.3, tolerance=1e-11)
    sizes = [noisy.numel(), *(torch.Size(shape).numel() for shape in SHAPES), 2, 3, 2]

    def energy(point):
        z, *rest = point.split(sizes)
        z, x = z.view(1, *noisy.shape), [part.view(shape) for part, shape in zip(rest, SHAPES, strict=False)]
        seen = (z[0] - noisy)[:, ~missing].square().sum() / (2 * 0.2**2)
        return seen + written_out(z, x, kernels, rest[5:], 1.0)

    origin = torch.zeros(sum(sizes))
    slope = torch.autograd.functional.jacobian(energy, origin)
    exact = torch.linalg.solve(torch.autograd.functional.hessian(energy, origin, vectorize=True), -slope)[: sizes[0]].view_as(
        noisy
    )
    assert_close(found.belief.mean, exact, rtol=1e-8, atol=1e-8)


@pytest.mark.usefixtures("float64")
def test_the_fixed_point_of_five_layers_has_no_slope_of_energy():
    """Everything free: pixels, activations, filters and biases of all layers, LeakyReLU and robust factors."""
    noisy = torch.where(torch.rand(11, 15) < 0.1, torch.rand(2, 11, 15), image())
    graph = Denoiser(make(1.4, 0.2)).graph(PixelObservation(noisy, 0.2, Tukey(0.2)))
    found = graph.infer(iterations=4000, rate=0.1, tolerance=1e-12)
    layers = graph.nodes[-2::-1]  # from the pixels upwards
    z = found.belief.mean[None].clone().requires_grad_()
    x = [node.lower.belief_mean().clone().requires_grad_() for node in layers]
    kernels, biases = ([node.weights[part].mean.clone().requires_grad_() for node in layers[::2]] for part in (0, 1))
    squared = ((z[0] - noisy) / 0.2).square()
    seen = torch.where(squared > 0.2**2, 0.02 * (1 + torch.log(squared / 0.2**2)), squared / 2).sum()
    energy = seen + written_out(z, x, kernels, biases, 0.2, 1.4)
    assert_close(energy.detach(), torch.tensor(found.energy[-1]), rtol=1e-6, atol=0)
    for gradient in torch.autograd.grad(energy, (z, *x, *kernels, *biases)):
        assert float(gradient.abs().max()) < 1e-4
    assert found.energy[-1] < found.energy[0]


@pytest.mark.usefixtures("float64")
def test_upsampling_is_exact_on_a_tree():
    """One entry and its window: message to z against the dense posterior, means and variances."""
    cavity = Message(torch.randn(1, 1, 2, 2), 0.1 + 10 * torch.rand(1, 1, 2, 2))
    above = Message(torch.tensor([[[[0.7]]]]), torch.tensor([[[[2.0]]]]))
    z = Variable(cavity)
    (node,) = Upsampling(1, 2, deviation=0.3).nodes(z, 2, 2)
    node.lower.variable.predict(*above.belief())
    node.down(Iteration(Damping()))
    node.up(Iteration(Damping()))
    belief, coarse = z.belief(), node.lower.belief()
    tie = torch.cat([torch.eye(4), -torch.ones(4, 1)], 1)  # z_i - x
    precision = tie.T @ tie / 0.3**2 + torch.diag(torch.cat([cavity.precision.flatten(), above.precision.flatten()]))
    covariance = precision.inverse()
    mean = covariance @ torch.cat([cavity.information.flatten(), above.information.flatten()])
    assert_close(belief[0].flatten(), mean[:4], rtol=1e-12, atol=1e-12)
    assert_close(belief[1].flatten(), covariance.diagonal()[:4], rtol=1e-12, atol=1e-12)
    assert_close(coarse[0].flatten(), mean[4:], rtol=1e-12, atol=1e-12)
    assert_close(coarse[1].flatten(), covariance.diagonal()[4:], rtol=1e-12, atol=1e-12)


def test_the_published_five_layers_learn_and_go_on_in_the_next_frame():
    """Table D2 on a small image: less noise, filters that change, a posterior that becomes the prior, in float32."""
    torch.manual_seed(0)
    rows, columns = torch.arange(34)[:, None], torch.arange(38)
    clean = (0.5 + 0.12 * torch.sin(0.3 * (rows + columns))).expand(3, -1, -1)
    noisy = torch.where(torch.rand(34, 38) < 0.1, torch.rand(3, 34, 38), clean)
    model = Denoiser(five_layers(), 0.2, Tukey(0.2))
    model.reset(torch.Generator().manual_seed(0))
    before = copy.deepcopy(model.state_dict())
    found = model.infer(noisy, iterations=150, rate=0.05, generator=torch.Generator().manual_seed(0)).belief
    assert (found.mean - clean).square().mean() < 0.5 * (noisy - clean).square().mean() and bool((found.variance > 0).all())
    learned = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert len(learned) == 12 and all(name.endswith((".mean", ".precision")) for name in learned)
    means = [filters.mean.clone() for filters in model.layer.filters()]
    model.advance(0.25)
    assert all(torch.equal(own.prior_mean, 0.75 * mean) for own, mean in zip(model.layer.filters(), means, strict=True))


BAD = {
    "channels": (lambda: Stack([Reconstruction(1, 2, deviation=0.1, weight_deviation=0.1), Upsampling(3, deviation=0.1)]),
                 "2 coefficients below 3 channels"),
    "odd": (lambda: Denoiser(five_layers()).infer(torch.zeros(3, 35, 38)), "windows of 2 x 2 must fill.*33 x 36"),
    "small": (lambda: Denoiser(five_layers()).infer(torch.zeros(3, 10, 10)), "pixels enough"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "text"), BAD.values(), ids=BAD)
def test_bad_input(call, text):
    with pytest.raises(InvalidInput, match=text):
        call()


def test_divergence_of_a_stack_is_found():
    stack = make(1.4, 0.2, deviation=30.0)
    model = Denoiser(stack, 0.2, Tukey(0.2))
    model.reset()
    with pytest.raises(Diverged, match=r"damping|rate"):
        model.infer(image(), iterations=500, rate=1.0)
