"""Networks with a forward of their own: branches, several inputs, functions of torch, exact on trees, stationary on loops."""

import pytest
import torch
from helpers import changed, marginals, three_classes
from oracle import condition
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import AllAtOnce, ExampleByExample, FactorGraph, Gaussian, GBPLinear, GBPNoise, Latent, LayerSweeps, RandomLayers
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.inference.maps import CurvedMap, LinearMap

pytestmark = pytest.mark.usefixtures("float64")
NOISE = 0.3  # variance of the observations


class Branches(nn.Module):
    """Two inputs, both used twice; every entry of a sum, a mean and a scaling is in a tree."""

    def __init__(self):
        super().__init__()
        self.noise = GBPNoise(0.7, 2.0)

    def forward(self, a, b):
        parts = (self.noise(2.0 * a + b), 0.5 * a.flip(1) - 1, torch.mean(b, 1, keepdim=True))
        return torch.cat([part.reshape(2, -1) for part in parts], 1)


def test_a_tree_with_branches_and_several_inputs_has_the_dense_posterior():
    """Variables a (2, 3), b (2, 3) and the noisy sum s; what is observed: s, a reversed, the mean of b."""
    a, b = (Latent(torch.randn(2, 3), 0.5 + torch.rand(2, 3)) for _ in range(2))
    y = torch.randn(2, 7)
    graph = FactorGraph(Branches(), (a, b), gbp.Regression(NOISE), y)
    trace = graph.infer(20, tolerance=1e-13)
    assert trace.iterations < 20
    for n in range(2):
        system = torch.diag(torch.cat([*(part.sigma[n] ** -2 for part in (a, b)), torch.full((3,), 1 / 4)]))
        right = torch.cat([*(part.mean[n] * part.sigma[n] ** -2 for part in (a, b)), torch.zeros(3)])
        eye, zero = torch.eye(3), torch.zeros(3, 3)
        ties = torch.cat([2 * eye, eye, -eye], 1)  # 2 a + b - s = noise
        rows = torch.cat([torch.cat([zero, zero, eye], 1), torch.cat([0.5 * eye.flip(1), zero, zero], 1)])
        rows = torch.cat([rows, torch.cat([torch.zeros(3), torch.full((3,), 1 / 3), torch.zeros(3)])[None]])
        system = system + ties.T @ ties / 0.49 + rows.T @ rows / NOISE
        right = right + rows.T @ (y[n] + torch.tensor([0.0] * 3 + [1.0] * 3 + [0.0])) / NOISE
        covariance = torch.linalg.inv(system)
        found = [graph.input_belief(0), graph.input_belief(1), graph.beliefs()["add"]]
        assert_close(torch.cat([belief.mean[n] for belief in found]), covariance @ right, rtol=1e-10, atol=1e-10)
        assert_close(torch.cat([belief.variance[n] for belief in found]), covariance.diagonal(), rtol=1e-10, atol=0)


class Twice(nn.Module):
    """The outputs of a layer as they are, and a multiple of them."""

    def __init__(self):
        super().__init__()
        self.layer = GBPLinear(2, 3, prior=gbp.Prior(variance=1.0, mean="start"), covariance="diagonal")

    def forward(self, x):
        z = self.layer(x)
        return torch.cat([z, 1.0 - 2.0 * z], 1)


def test_weights_beneath_a_branch_have_the_dense_posterior():
    """One example: every weight and bias, means and variances."""
    model, x, y = Twice(), torch.randn(1, 2), torch.randn(1, 6)
    (mean, variance), (bias, spread) = model.layer.weight.belief(), model.layer.bias.belief()
    row = torch.cat([x[0], torch.ones(1)])
    want = []
    for k in range(3):
        prior = torch.cat([mean[k], bias[k : k + 1]]), torch.cat([variance[k], spread[k : k + 1]])
        seen = torch.stack([y[0, k], y[0, 3 + k] - 1])
        want.append(condition(*prior, torch.stack([row, -2 * row]), NOISE, seen)[:2])
    propagate = gbp.MessagePassing(model.parameters(), 1, store=gbp.BatchSites(), epochs=None)
    with propagate.visit(0, x, y):
        gbp.Inference(2, schedule=ExampleByExample())(model, gbp.Regression(NOISE), propagate, x, y)
    for place, wanted in enumerate(zip(*want, strict=True)):
        weight, bias = (tuple(own.belief())[place] for own in (model.layer.weight, model.layer.bias))
        found = torch.cat([weight, bias[:, None]], 1)
        assert_close(found, torch.stack(wanted), rtol=1e-10, atol=1e-10)


FUNCTIONS = {  # what it is made into, and what it is
    "reshape": ("MovedNode", lambda h: h.reshape(2, 4).transpose(0, 1)),
    "scaling": ("MovedNode", lambda h: 3.0 - h / 2.0),
    "slice": ("MovedNode", lambda h: h[:, 1:]),
    "padding": ("MovedNode", lambda h: nn.functional.pad(h, (1, 2))),
    "difference of halves": ("FactorNode", lambda h: h[:, :2] - h[:, 2:]),
    "mean": ("FactorNode", lambda h: torch.mean(h, 1)),
    "broadcast": ("CopiesNode", lambda h: h.unsqueeze(1).expand(2, 3, 4)),
    "known matrix": ("SummedNode", lambda h: torch.matmul(h, torch.arange(12.0).view(4, 3).sin().to(h.dtype))),
    "rectifier": ("FactorNode", torch.relu),
    "square": ("FactorNode", lambda h: h * h),
    "product": ("FactorNode", lambda h: h[:, :2] * h[:, 2:]),
    "normalisation": ("SummedNode", lambda h: nn.functional.layer_norm(h, (4,))),
}


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, h):
        return self.function(h)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_becomes_the_factor_that_its_entries_ask_for(name, dtype):
    kind, function = FUNCTIONS[name]
    inputs = Latent(torch.randn(2, 4, dtype=dtype), 1.0)
    graph = FactorGraph(Function(function), inputs)
    assert type(graph.nodes[-1]).__name__ == kind
    graph.infer(2, 0.5)
    belief = Gaussian(*inputs.variable().belief())
    assert_close(tuple(graph.output_belief()), tuple(function(belief)))  # nothing is observed: the forward pass


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("reshape", "slice")])
def test_messages_of_a_function_are_those_of_its_jacobian(name):
    """Score: of the expected loss; precision: the diagonal of J' G J, J of the means (C of a linear map)."""
    kind, function = FUNCTIONS[name]
    mean, variance = torch.randn(2, 4), 0.1 + torch.rand(2, 4)
    (jacobian, spread) = torch.autograd.functional.jacobian(lambda m: tuple(function(Gaussian(m, variance))), mean)
    score, precision = torch.randn(spread.shape[:-2]), torch.rand(spread.shape[:-2])
    linear = name in ("scaling", "padding", "difference of halves", "mean", "broadcast", "known matrix")
    factor = LinearMap(function) if linear else CurvedMap(function, apart=kind == "FactorNode")
    moments, saved = factor.moments([(mean, variance)])
    assert_close(moments, tuple(function(Gaussian(mean, variance))))
    ((to_mean, to_precision),) = factor.messages(saved, score, precision)
    axes = list(range(score.ndim))
    want = torch.tensordot(score, jacobian, (axes, axes)) - torch.tensordot(precision / 2, spread, (axes, axes))
    assert_close(to_mean, want, rtol=1e-10, atol=1e-12)
    assert_close(to_precision, torch.tensordot(precision, jacobian.square(), (axes, axes)), rtol=1e-10, atol=1e-12)


class Residual(nn.Module):
    """h + f(h) with noises, so that every activation is a variable."""

    def __init__(self, inputs, hidden, outputs, sigma=0.3):
        super().__init__()
        own = {"prior": gbp.Prior(variance=1.0), "covariance": "diagonal"}
        self.first, self.inner, self.head = (
            GBPLinear(*pair, **own) for pair in ((inputs, hidden), (hidden, hidden), (hidden, outputs))
        )
        self.noises = nn.ModuleList(GBPNoise(sigma, 2.0) for _ in range(4))

    def forward(self, x):
        h = self.noises[0](self.first(x))
        f = self.noises[1](torch.tanh(self.inner(h)))
        return self.noises[3](self.head(self.noises[2](h + f)))


def known_residual():
    """Of known weights, with a latent input."""
    torch.manual_seed(2)
    model = Residual(3, 4, 2)
    for layer in (model.first, model.inner, model.head):
        with torch.no_grad():
            layer.weight.mean.normal_(0.0, 0.7)
    return model, Latent(torch.randn(3, 3), 1.0), torch.randn(3, 2)


def test_a_converged_residual_network_is_a_stationary_point_of_the_energy():
    model, x, y = known_residual()
    graph = FactorGraph(model, x, gbp.Regression(0.2), y, learn=False, approximation="linearised")
    trace = graph.infer(4000, 0.7, tolerance=1e-11, check=50)
    assert trace.changes[-1] < 1e-11
    beliefs = [graph.input_belief(), *graph.beliefs().values()]  # the inner layer, its activation and its noise are one factor
    leaves = [belief.mean.clone().requires_grad_() for belief in beliefs]
    w1, b1, w2, b2, w3, b3 = (
        part.mean.detach() for own in (model.first, model.inner, model.head) for part in (own.weight, own.bias)
    )
    x_, z, f, total, out = leaves
    residuals = [
        *((x_ @ w1.T + b1 - z) / 0.3, (torch.tanh(z @ w2.T + b2) - f) / 0.3),
        *((z + f - total) / 0.3, (total @ w3.T + b3 - out) / 0.3, (y - out) / 0.2**0.5),
        *(part / 2 for part in (z, f, total, out)),
        x_ - x.mean,
    ]
    energy = sum(0.5 * residual.square().sum() for residual in residuals)
    energy.backward()
    assert max(float(leaf.grad.abs().max()) for leaf in leaves) < 1e-7  # the largest single term is above 1
    assert float(torch.cat([r.detach().flatten() for r in residuals]).abs().max()) > 0.5


def test_schedules_of_a_residual_network_have_one_fixed_point():
    found = []
    for schedule in (AllAtOnce(), LayerSweeps(), RandomLayers()):
        model, x, y = known_residual()
        graph = FactorGraph(model, x, gbp.Regression(0.2), y, learn=False)
        assert graph.infer(8000, 0.7, schedule, tolerance=1e-10, check=25).changes[-1] < 1e-10
        found.append([tuple(belief) for belief in (graph.input_belief(), *graph.beliefs().values())])
    assert_close(found[1], found[0], rtol=1e-7, atol=1e-7)
    assert_close(found[2], found[0], rtol=1e-7, atol=1e-7)


def test_a_residual_network_trains_by_layer_sweeps():
    x, y = three_classes(120)
    model = Residual(3, 8, 3, sigma=0.05)
    propagate = gbp.MessagePassing(model.parameters(), 90, store=gbp.Filtering(), epochs=None)
    inference = gbp.Inference(150, damping=gbp.Damping(0.8, 0.9), schedule=LayerSweeps(), check=150)
    for batch in torch.arange(90).split(30):
        inference(model, gbp.SquaredSoftmax(0.05), propagate, x[batch], y[batch])
    with torch.no_grad():
        assert (model(x[90:]).mean.argmax(1) == y[90:]).double().mean() > 0.8


class Attention(nn.Module):
    """Tokens that look at each other, beside a skip connection, and their mean."""

    def __init__(self, inputs, width, outputs):
        super().__init__()
        own = {"prior": gbp.Prior(variance=1.0), "covariance": "diagonal"}
        self.first, self.joint, self.head = (
            GBPLinear(inputs, width, **own),
            GBPLinear(width, 3 * width, **own),
            GBPLinear(width, outputs, **own),
        )
        self.noise = GBPNoise(0.1, 3.0)

    def forward(self, x):
        h = self.noise(self.first(x))
        seen = nn.functional.scaled_dot_product_attention(*self.joint(h).chunk(3, -1))
        return self.noise(self.head(self.noise(torch.mean(h + seen, 1))))


def test_attention_learns_by_iterated_messages():
    """The class is that of the only token that is not zero but for noise, wherever it stands."""
    y = torch.arange(60) % 3
    x = 0.1 * torch.randn(60, 4, 3)
    x[torch.arange(60), torch.randint(4, (60,))] += 2.0 * nn.functional.one_hot(y, 3)
    model = Attention(3, 4, 3)
    propagate = gbp.MessagePassing(model.parameters(), 40, store=gbp.Filtering(), epochs=None)
    inference = gbp.Inference(40, damping=gbp.Damping(0.8, 0.9), schedule=LayerSweeps(), check=40)
    for batch in torch.arange(40).split(20):
        inference(model, gbp.SquaredSoftmax(0.1), propagate, x[batch], y[batch])
    graph = FactorGraph(model, x[40:], learn=False)
    graph.infer(5, 0.5)
    assert (graph.output_belief().mean.argmax(1) == y[40:]).double().mean() > 0.7


class Apart(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = GBPLinear(2, 2)

    def forward(self, x):
        z = self.layer(x)
        return Gaussian(z.mean, z.variance + 1)


class Stranger(Apart):
    def forward(self, x):
        return self.layer(x) + Gaussian(torch.zeros(3, 2), torch.ones(3, 2))


class Backbone(Apart):
    def __init__(self):
        super().__init__()
        self.below = nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(self.below(x))


class Loop(Apart):
    def forward(self, x):
        return self.layer(self.layer(x))


BAD = {
    "moments taken apart": (Apart, MissingRule, "takes a belief apart.*layer model .Apart"),
    "a belief from nowhere": (Stranger, MissingRule, "a belief that no layer made.*GBPNoise"),
    "a plain layer beneath": (Backbone, InvalidInput, r"plain parameters are not trained.*below.weight.*requires_grad_\(False\)"),
    "a layer twice": (Loop, InvalidInput, "used twice in one sweep"),
    "no belief": (lambda: nn.Linear(2, 2).requires_grad_(False), InvalidInput, "only where layers carry moments.*plain outputs"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_a_graph_is_refused_by_name(name):
    make, error, text = BAD[name]
    model, other = make(), GBPLinear(2, 2)
    propagate = gbp.MessagePassing(getattr(model, "layer", other).parameters(), 3, epochs=None)
    before = marginals(model)
    with pytest.raises(error, match=text):
        gbp.Inference(2, damping=0.5)(model, gbp.Regression(0.1), propagate, torch.randn(3, 2), torch.randn(3, 2))
    assert changed(before, model) == []


def test_recording_leaves_nothing_behind():
    """Modules outside of a recording run as before, after an error too."""
    model, x = Apart(), torch.randn(3, 2)
    with pytest.raises(MissingRule):
        FactorGraph(model, x)
    assert type(model(x)) is Gaussian
    state = torch.get_rng_state()
    FactorGraph(Twice(), x).infer(1)
    torch.set_rng_state(state)
    assert type(Twice()(x)) is Gaussian
