"""Average pooling, upsampling and transposed convolution in a factor graph, against the dense posterior."""

import pytest
import torch
import torch.nn.functional as F
from helpers import messages
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import Damping, FactorGraph, GBPNoise, Latent, Message
from torch_gbp.inference.damping import Iteration
from torch_gbp.inference.maps import in_order, is_view

pytestmark = pytest.mark.usefixtures("float64")
NOISE, SIGMA, OBSERVED = 0.4, 1.5, 0.3  # deviations of the factor and of the unary prior, variance of the observations


def matrix(function, shape):
    """The matrix of a linear function of images, by its columns."""
    size = torch.Size(shape).numel()
    return torch.stack([function(column.view(1, *shape)).flatten() for column in torch.eye(size)], 1)


def dense(rows, shift, prior, target, sigma=SIGMA):
    """Means and variances of inputs a and outputs z = rows a + shift + noise, z ~ N(0, sigma^2), target = z + e."""
    outputs, inputs = rows.shape
    factor = torch.cat([rows, -torch.eye(outputs)], 1)
    system = factor.T @ factor / NOISE**2
    system.diagonal()[:inputs] += prior[1].flatten().square().reciprocal()
    system.diagonal()[inputs:] += 1 / sigma**2 + 1 / OBSERVED
    right = -factor.T @ shift / NOISE**2
    right[:inputs] += (prior[0] / prior[1].square()).flatten()
    right[inputs:] += target.flatten() / OBSERVED
    covariance = torch.linalg.inv(system)
    return covariance @ right, covariance.diagonal()


def noisy(layer, prior=None):
    """A layer with noise and a prior of its output behind it."""
    return nn.Sequential(layer, GBPNoise(NOISE, SIGMA if prior is None else prior))


def infer(layer, prior, target, iterations, damping, **options):
    """Means and variances that the graph finds, and its trace."""
    graph = FactorGraph(layer, Latent(prior[0][None], prior[1][None]), gbp.Regression(OBSERVED), target, learn=False, **options)
    trace = graph.infer(iterations, damping, tolerance=1e-13, check=1)
    beliefs = graph.input_belief(), graph.output_belief()
    return [torch.cat([getattr(belief, moment).flatten() for belief in beliefs]) for moment in ("mean", "variance")], trace


WIDE = 1000.0  # deviation of a prior of maxima, which are far from 0
TREES = {
    "average": (lambda: noisy(gbp.GBPAvgPool2d(2)), lambda x: F.avg_pool2d(x, 2), (2, 4, 4)),
    "average with gaps": (lambda: noisy(gbp.GBPAvgPool2d((2, 1), 3)), lambda x: F.avg_pool2d(x, (2, 1), 3), (1, 5, 4)),
    "padded average": (
        lambda: noisy(gbp.GBPAvgPool2d(3, padding=1, count_include_pad=False)),
        lambda x: F.avg_pool2d(x, 3, padding=1, count_include_pad=False),
        (1, 4, 4),
    ),
    "global average": (lambda: noisy(gbp.GBPAdaptiveAvgPool2d(1)), lambda x: F.adaptive_avg_pool2d(x, 1), (2, 3, 4)),
    "average of rows": (
        lambda: noisy(gbp.GBPAdaptiveAvgPool2d((None, 1))),
        lambda x: F.adaptive_avg_pool2d(x, (None, 1)),
        (1, 3, 4),
    ),
    "upsampled": (lambda: noisy(gbp.GBPUpsample(scale_factor=2)), lambda x: F.interpolate(x, scale_factor=2), (2, 2, 3)),
    "upsampled unevenly": (lambda: noisy(gbp.GBPUpsample(size=(5, 4))), lambda x: F.interpolate(x, size=(5, 4)), (1, 2, 3)),
}


@pytest.mark.parametrize("name", TREES)
def test_trees_have_the_dense_posterior(name):
    make, function, shape = TREES[name]
    rows, prior = matrix(function, shape), (torch.randn(shape), torch.rand(shape) + 0.5)
    target = torch.randn(function(torch.zeros(1, *shape)).shape)
    found, trace = infer(make(), prior, target, 10, 0.0)
    assert trace.iterations <= 3  # up, down, and back to the outputs
    answer = dense(rows, torch.zeros(len(rows)), prior, target)
    assert_close(found[0], answer[0], rtol=1e-10, atol=1e-10)
    assert_close(found[1], answer[1], rtol=1e-10, atol=0)


@pytest.mark.parametrize("options", [{"kernel_size": 3, "stride": 1}, {"kernel_size": (2, 4), "stride": 2}, {"kernel_size": 2}])
def test_maxima_of_windows_have_the_dense_posterior_of_the_chosen_entries(options):
    """Which entries are the largest is clear here; windows that share one share what they know of it."""
    shape = (2, 6, 7)
    prior = 9 * torch.randperm(84).view(shape).double(), torch.rand(shape) + 0.5
    rows = matrix(lambda x: chosen(x, prior[0], options), shape)
    target = (rows @ prior[0].flatten()).view(chosen(prior[0][None], prior[0], options).shape)
    target = target + torch.randn_like(target)
    found, trace = infer(noisy(gbp.GBPMaxPool2d(**options), WIDE), prior, target, 20, 0.0)
    assert trace.iterations <= 4
    answer = dense(rows, torch.zeros(len(rows)), prior, target, 1000.0)
    assert_close(found[0], answer[0], rtol=1e-10, atol=1e-8)
    assert_close(found[1], answer[1], rtol=1e-10, atol=0)


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("apart", [1, 2])
def test_a_window_hears_what_the_others_told_the_entry_that_it_chooses(apart, exchange):
    """Written out window by window, after the choice of some has changed."""
    shape, options = (2, 9, 11), {"kernel_size": 2 if apart > 1 else 3, "stride": 2, "dilation": apart}
    prior = torch.randn(shape), torch.rand(shape) + 0.5
    target = chosen(prior[0][None], prior[0], options)
    target = target + 4 * torch.randn_like(target)  # some of the largest fall, and others take their places
    layer = noisy(gbp.GBPMaxPool2d(**options))
    graph = FactorGraph(
        layer, Latent(prior[0][None], prior[1][None]), gbp.Regression(OBSERVED), target, learn=False, exchange=exchange
    )
    pool, outputs = graph.nodes
    for visit in (pool.up, outputs.up, outputs.down, pool.down, pool.up):
        visit(Iteration(Damping()))
    kept = 1 / (1 / SIGMA**2 + 1 / OBSERVED)  # variance of the maximum, without the factor
    message = Message(target * kept / OBSERVED / (kept + NOISE**2), torch.full_like(target, 1 / (kept + NOISE**2)))
    channel = 99 * torch.arange(2).view(2, 1, 1)  # places are counted in every channel
    told, now = ((places + channel).flatten().tolist() for places in (pool.previous, pool.index))
    assert told != now and any(told.count(entry) > (to == entry) for to, entry in zip(told, now, strict=True))
    for window, entry in enumerate(now):
        others = [k for k, to in enumerate(told) if exchange and to == entry and k != window]
        precision = prior[1].flatten()[entry] ** -2 + sum(message.precision.flatten()[k] for k in others)
        information = (prior[0] / prior[1] ** 2).flatten()[entry] + sum(message.information.flatten()[k] for k in others)
        assert_close(pool.chosen[0].flatten()[window], information / precision, rtol=1e-12, atol=1e-12)
        assert_close(pool.chosen[1].flatten()[window], 1 / precision, rtol=1e-12, atol=0)


@pytest.mark.parametrize("seed", range(1, 6))
def test_windows_that_choose_anew_forget_what_they_told_the_entry_before(seed):
    """Evidence for larger maxima raises entries above others; at rest the posterior is that of the entries chosen then."""
    torch.manual_seed(seed)
    shape, options = (1, 5, 6), {"kernel_size": 3, "stride": 2, "padding": 1}
    prior = torch.randn(shape), torch.rand(shape) + 0.5
    target = chosen(prior[0][None], prior[0], options)
    target = target + 4 * torch.rand_like(target)
    (mean, variance), trace = infer(noisy(gbp.GBPMaxPool2d(**options)), prior, target, 200, 0.0)
    last = mean[: prior[0].numel()].view(shape)
    rows = matrix(lambda x: chosen(x, last, options), shape)
    assert trace.iterations < 200 and not torch.equal(rows, matrix(lambda x: chosen(x, prior[0], options), shape))
    answer = dense(rows, torch.zeros(len(rows)), prior, target)
    assert_close(mean, answer[0], rtol=1e-10, atol=1e-10)
    assert_close(variance, answer[1], rtol=1e-10, atol=0)


def chosen(x, at, options):
    """The entries of x that are the largest of their windows at other values."""
    index = F.max_pool2d(at[None], **options, return_indices=True)[1].expand(len(x), *(-1,) * 3)
    return x.flatten(2).gather(2, index.flatten(2)).view(index.shape)


def transposed():
    layer = gbp.GBPConvTranspose2d(2, 3, 3, stride=2, covariance="diagonal")
    for own in (layer.weight, layer.bias):
        own.mean.data.normal_()
        own.mark_written()
    return layer


@pytest.mark.parametrize("approximation", ["moments", "linearised"])
@pytest.mark.parametrize("name", ["overlapping average", "adaptive average", "transposed convolution"])
def test_loops_have_the_means_of_the_dense_posterior(name, approximation):
    """Windows that overlap, and entries that several kernels reach; known weights."""
    if name == "overlapping average":
        layer, shift, shape = gbp.GBPAvgPool2d(3, 1), None, (1, 5, 4)

        def function(x):
            return F.avg_pool2d(x, 3, 1)
    elif name == "adaptive average":
        layer, shift, shape = gbp.GBPAdaptiveAvgPool2d((1, 3)), None, (1, 5, 4)

        def function(x):
            return F.adaptive_avg_pool2d(x, (1, 3))
    else:
        layer, shape = transposed(), (2, 3, 2)
        kernel, shift = layer.weight.mean.detach().transpose(0, 1), layer.bias.mean.detach()

        def function(x):
            return F.conv_transpose2d(x, kernel, stride=2)

    rows, prior = matrix(function, shape), (torch.randn(shape), torch.rand(shape) + 0.5)
    target = torch.randn(function(torch.zeros(1, *shape)).shape)
    full = torch.zeros_like(target) if shift is None else shift[:, None, None].expand_as(target)
    found, trace = infer(noisy(layer), prior, target, 4000, 0.7, approximation=approximation)
    assert trace.changes[-1] < 1e-13
    assert_close(found[0], dense(rows, full.flatten(), prior, target)[0], rtol=1e-8, atol=1e-8)


def test_a_kernel_over_one_pixel_is_learned_exactly():
    """Without bias every weight is in one factor: the weights' marginals by one visit, damped by nothing."""
    layer = noisy(gbp.GBPConvTranspose2d(1, 1, 2, bias=False, covariance="diagonal", prior=gbp.Prior(variance=0.7)))
    x, y = torch.tensor([[[[1.7]]]]), torch.randn(1, 1, 2, 2)
    graph = FactorGraph(layer, x, gbp.Regression(OBSERVED), y, approximation="linearised")
    graph.infer(400, Damping(0.7, 0.7), tolerance=1e-14)
    (weight,) = graph.nodes[0].weights
    kept = 1 / (1 / SIGMA**2 + 1 / OBSERVED)  # of the output, without the factor
    spread = NOISE**2 + kept
    precision = 1 / 0.7 + 1.7**2 / spread
    assert_close(weight.mean[0, 0], 1.7 * y[0, 0] * kept / OBSERVED / spread / precision, rtol=1e-9, atol=1e-12)


def test_the_first_sweep_of_a_transposed_convolution_is_that_of_autograd():
    model, x = gbp.GBPConvTranspose2d(2, 3, 3, stride=2, covariance="diagonal"), torch.randn(4, 2, 3, 3)
    y, likelihood = torch.randn_like(model(x).mean), gbp.Regression(0.5)
    likelihood(model(x), y).backward()
    plain = messages(*(parameter.grad.clone() for parameter in model.parameters()))
    for own in (model.weight, model.bias):
        own.set_prior_mean(own.mean)
    graph = FactorGraph(model, x, likelihood, y)
    with torch.no_grad():
        for visit in (graph.nodes[0].up, graph.nodes[1].down, graph.nodes[0].down):
            visit(Iteration(Damping()))
    for belief, (mean, precision) in zip(graph.nodes[0].weights, zip(plain[::2], plain[1::2], strict=True), strict=True):
        information, told = belief.message_so_far.parts
        assert_close(told, precision, rtol=1e-9, atol=1e-12)
        assert_close(information - told * belief.marginal.mean, mean, rtol=1e-9, atol=1e-9)


def test_a_generative_network_is_inferred_from_its_picture():
    """Codes - upsampling - transposed convolution - average, all known but the codes: a stationary point of the energy."""
    inner, kernels = GBPNoise(0.3, 2.0), transposed()
    layers = gbp.GBPUpsample(scale_factor=2), inner, kernels, GBPNoise(NOISE, SIGMA), gbp.GBPAvgPool2d(3, 2), inner
    target = torch.randn(1, 3, 4, 4)
    codes, options = Latent(torch.zeros(1, 2, 2, 2), 1.0), {"learn": False, "approximation": "linearised"}
    graph = FactorGraph(nn.Sequential(*layers), codes, gbp.Regression(0.1), target, **options)
    trace = graph.infer(6000, 0.8, tolerance=1e-11, check=20)
    assert trace.changes[-1] < 1e-11 and trace.energies[-1] < trace.energies[0]
    leaves = [part.mean.clone().requires_grad_() for part in (graph.input_belief(), *graph.beliefs().values())]
    code, copies, image, means = leaves
    kernel, shift = kernels.weight.mean.detach().transpose(0, 1), kernels.bias.mean.detach()
    residuals = [
        *(code, copies / 2, image / SIGMA, means / 2, (target - means) / 0.1**0.5),
        (F.interpolate(code, scale_factor=2) - copies) / 0.3,
        (F.conv_transpose2d(copies, kernel, shift, 2) - image) / NOISE,
        (F.avg_pool2d(image, 3, 2) - means) / 0.3,
    ]
    energy = sum(0.5 * residual.square().sum() for residual in residuals)
    energy.backward()
    assert max(float(leaf.grad.abs().max()) for leaf in leaves) < 1e-7
    offset = 0.5 * target.numel() * float(torch.log(torch.tensor(2 * torch.pi * 0.1)))  # the density's constant
    assert_close(graph.energy(), energy.item() + offset, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("run", "view"),
    [
        (nn.Flatten(), True),
        (lambda x: x.reshape(2, 2, 6), True),
        (lambda x: x.transpose(1, 2), False),
        (lambda x: x[:1], False),
        (lambda x: x + 1.0, False),
    ],
    ids=["flatten", "reshape", "transpose", "part", "shift"],
)
def test_a_view_is_a_reshape_and_no_other_map_is(run, view):
    belief = gbp.Gaussian(torch.randn(2, 3, 4), torch.rand(2, 3, 4))
    assert is_view(run, belief) is view and in_order(run, belief) is view
