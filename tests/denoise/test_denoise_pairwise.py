"""Smoothness factors on grids against dense posteriors: a strip is a tree, a grid has loops."""

import pytest
import torch
from torch.testing import assert_close

from torch_gbp.denoise import PairwiseSmoother, pairwise
from torch_gbp.denoise.pairwise import Smoothness, SmoothnessNode
from torch_gbp.denoise.robust import Huber, Tukey
from torch_gbp.errors import ImproperMarginal, InvalidInput
from torch_gbp.gaussian import Message
from torch_gbp.inference.damping import Damping, Iteration
from torch_gbp.inference.variable import Variable

pytestmark = pytest.mark.usefixtures("float64")


def observed(high, wide, missing=0):
    """Values over two orders of magnitude, unequal precisions, some pixels not observed."""
    torch.manual_seed(high * wide)
    values, precision = torch.randn(high, wide) * 10 ** torch.rand(high, wide), 10 ** (3 * torch.rand(high, wide) - 1)
    precision.flatten()[torch.randperm(high * wide)[:missing]] = 0
    return Message(values * precision, precision)


def dense(unary, strength):
    """Mean and covariance of the joint posterior, edges listed one by one; strength(p, q) of an edge."""
    high, wide = unary.precision.shape
    joint = torch.diag(unary.precision.flatten())
    for p in range(high * wide):
        for q in [p + 1] * ((p + 1) % wide > 0) + [p + wide] * (p + wide < high * wide):
            joint[[p, q], [p, q]] += strength(p, q)
            joint[[p, q], [q, p]] -= strength(p, q)
    covariance = torch.linalg.inv(joint)
    return (covariance @ unary.information.flatten()).view(high, wide), covariance.diagonal().view(high, wide)


def settle(smoothness, unary, rate, iterations):
    pixels, node = Variable(unary), SmoothnessNode(smoothness)
    node.connect([pixels.edge()], Variable())
    for number in range(iterations):
        node.down(Iteration(Damping(1 - rate), number))
    return pixels.rest().belief()


@pytest.mark.parametrize("shape", [(1, 12), (12, 1), (1, 2)])
@pytest.mark.parametrize("repeats", [1, 2])
def test_a_strip_has_the_exact_marginals(shape, repeats):
    """A tree: undamped messages are exact after as many iterations as there are edges."""
    unary = observed(*shape, missing=shape[0] * shape[1] // 3)
    found = settle(Smoothness(0.7, repeats=repeats), unary, 1.0, 12)
    mean, variance = dense(unary, lambda p, q: repeats / 0.7**2)
    assert_close(found.mean, mean, rtol=1e-10, atol=1e-10)
    assert_close(found.variance, variance, rtol=1e-10, atol=0)


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_a_grid_has_the_exact_means(rate):
    unary = observed(5, 7, missing=8)
    found = settle(Smoothness(0.7), unary, rate, 600)
    mean, variance = dense(unary, lambda p, q: 1 / 0.7**2)
    assert_close(found.mean, mean, rtol=1e-8, atol=1e-8)
    assert (found.variance <= variance * (1 + 1e-9)).all()  # loops: too sure, never exact everywhere
    assert not torch.equal(found.variance, variance)


@pytest.mark.parametrize("robust", [Tukey(1.5), Huber(0.5)], ids=repr)
def test_robust_factors_settle_where_the_energy_has_no_slope(robust):
    unary, smoothness = observed(6, 5, missing=4), Smoothness(0.7, robust, 2)
    mean = settle(smoothness, unary, 0.5, 1000).mean.requires_grad_()
    assert (smoothness.precision(mean.detach()) < 1.9 / 0.7**2).any()  # some edges are beyond the threshold
    energy = (unary.precision * mean.square() / 2 - unary.information * mean).sum() + smoothness.energy(mean)
    (gradient,) = torch.autograd.grad(energy, mean)
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-8)


def test_colours_and_batches_are_grids_of_their_own():
    many = [observed(4, 5) for _ in range(3)]
    unary = Message(*(torch.stack(part)[:, None] for part in zip(*many, strict=True)))
    found = settle(Smoothness(0.7), unary, 0.5, 100)
    for own, each in zip(many, found.mean, strict=True):
        assert_close(each[0], settle(Smoothness(0.7), own, 0.5, 100).mean, rtol=1e-12, atol=1e-12)


def test_a_pixel_that_nothing_holds_is_found():
    unary = Message(torch.zeros(1, 1), torch.zeros(1, 1))
    with pytest.raises(ImproperMarginal, match="1 of 1 entries"):
        settle(Smoothness(0.7), unary, 1.0, 3)


def test_pixels_that_nothing_has_reached_yet_are_refused_and_later_filled():
    image, missing = torch.full((1, 1, 9), 0.25), torch.arange(9)[None] > 0
    with pytest.raises(ImproperMarginal, match=r"6 of 9 entries have no positive precision.*no message has reached"):
        PairwiseSmoother().infer(image, missing, iterations=2, rate=1.0)
    found = PairwiseSmoother().infer(image, missing, iterations=9, rate=1.0)
    assert_close(found.belief.mean, image, rtol=1e-12, atol=0)
    assert found.change[0] == found.change[6] == 0.25 and found.change[8] < 1e-12  # from grey, a pixel further each time


def test_float32_stays_close():
    unary = observed(9, 8, missing=5)
    exact = settle(Smoothness(0.7), unary, 0.5, 200)
    single = settle(Smoothness(0.7), Message(*(part.float() for part in unary)), 0.5, 200)
    assert single.mean.dtype == torch.float32
    assert_close(single.mean.double(), exact.mean, rtol=2e-5, atol=2e-5 * float(exact.mean.abs().max()))


def test_neighbours_stand_where_they_should():
    values = torch.arange(6.0).view(2, 3)
    below, above, right, left = (pairwise.beside(values, side) for side in pairwise._SIDES)
    assert below.tolist() == [[3, 4, 5], [0, 0, 0]] and above.tolist() == [[0, 0, 0], [0, 1, 2]]
    assert right.tolist() == [[1, 2, 0], [4, 5, 0]] and left.tolist() == [[0, 0, 1], [0, 3, 4]]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"iterations": 0},
            r"iterations must be an integer, at least 1.*in PairwiseSmoother.*Got: 0\. Way out: take iterations=200",
        ),
        ({"rate": 0.0}, r"rate must be in \(0, 1\].*Got: 0\.0\."),
        ({"rate": 1.2}, r"rate must be in \(0, 1\].*Got: 1\.2\. Usual cause: a damping in the place of the rate"),
        ({"tolerance": -1.0}, r"tolerance must be finite and not negative.*Got: -1\.0\."),
    ],
    ids=["iterations", "no rate", "rate", "tolerance"],
)
def test_impossible_iterations_are_refused(settings, text):
    with pytest.raises(InvalidInput, match=text):
        PairwiseSmoother().infer(torch.full((1, 4, 4), 0.5), **settings)


def test_an_image_that_wants_a_gradient_gets_no_graph():
    found = PairwiseSmoother().infer(torch.rand(1, 5, 5, requires_grad=True), iterations=2)
    assert not found.belief.mean.requires_grad


def test_the_class_of_a_robust_energy_is_refused():
    with pytest.raises(InvalidInput, match="a class, not an instance"):
        PairwiseSmoother(robust=Tukey)
