"""Whole networks of plain torch layers with Gaussians in the place of their parameters, against samples of the weights."""

import pytest
import torch
import torch.nn.functional as F
from moment_helpers import beliefs_of, predict, sampled, shadowed
from torch import nn
from torch.testing import assert_close

from torch_gbp import Gaussian
from torch_gbp.factors.torch_functions import dependence


class Residual(nn.Module):
    """The basic block of a residual network."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norm, self.last_norm = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.norm(self.first(x)))
        out = self.last_norm(self.second(out))
        out += x
        return self.relu(out)


class Gated(nn.Module):
    """Squeeze and excitation: channels times gates made from their averages."""

    def __init__(self, width):
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 2, 1), nn.Conv2d(2, width, 1)

    def forward(self, x):
        gate = F.adaptive_avg_pool2d(x, 1)
        return torch.sigmoid(self.up(F.silu(self.down(gate)))) * x


NETWORKS = {  # input shape, and the network
    "mlp": ((6, 8), lambda: nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3))),
    "activations": (
        (6, 8),
        lambda: nn.Sequential(
            *(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 16), nn.SiLU(), nn.LayerNorm(16), nn.Linear(16, 16), nn.Hardswish()),
            *(nn.Linear(16, 16), nn.PReLU(16), nn.RMSNorm(16), nn.Linear(16, 16), nn.ELU(), nn.Linear(16, 3), nn.Softplus()),
        ),
    ),
    "convolutions": (
        (3, 1, 12, 12),
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1, groups=2)),
            *(nn.GroupNorm(2, 8), nn.ReLU6(), nn.Dropout2d(), nn.Flatten(), nn.Linear(200, 4)),
        ),
    ),
    "decoder": (
        (2, 4),
        lambda: nn.Sequential(
            *(
                nn.Linear(4, 16),
                nn.ReLU(),
                nn.Unflatten(1, (4, 2, 2)),
                nn.ConvTranspose2d(4, 3, 2, 2),
                nn.Upsample(scale_factor=2),
            ),
            *(nn.ZeroPad2d(1), nn.Conv2d(3, 1, 3), nn.Sigmoid()),
        ),
    ),
    "one axis": (
        (2, 2, 16),
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3), nn.InstanceNorm1d(4), nn.Mish(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(28, 2)
        ),
    ),
    "three axes": (
        (2, 1, 4, 4, 4),
        lambda: nn.Sequential(nn.Conv3d(1, 3, 2), nn.BatchNorm3d(3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(3, 2)),
    ),
    "residual": ((2, 4, 6, 6), lambda: nn.Sequential(nn.Conv2d(4, 4, 1), Residual(4), nn.Flatten(), nn.Linear(144, 3))),
    "gated": ((2, 4, 5, 5), lambda: nn.Sequential(nn.Conv2d(4, 4, 3), Gated(4), nn.Flatten(), nn.Linear(36, 3))),
}


def network(name):
    torch.manual_seed(5)
    shape, make = NETWORKS[name]
    return make().double().eval(), torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_plain_layers_at_known_weights_is_itself(name):
    model, x = network(name)
    found = predict(model, 0.0, x)
    assert_close(tuple(found), (model(x).detach(), torch.zeros_like(found.mean)))


@pytest.mark.parametrize("name", NETWORKS)
def test_moments_of_a_network_are_near_those_of_samples(name):
    """Means within noise and curvature, average variance within a quarter: correlations are left out."""
    model, x = network(name)
    found, samples = predict(model, 1e-3, x), sampled(model, 1e-3, x, samples=1500)
    assert 0.75 < found.variance.mean() / samples.variance.mean() < 1.25
    assert ((found.mean - samples.mean).abs() / samples.standard_deviation).mean() < 0.15


def test_skip_connections_gates_and_pools_of_a_network_are_recorded():
    records = {}
    for name in ("convolutions", "residual", "gated"):
        model, x = network(name)
        with dependence.recorded() as records[name]:
            predict(model, 1e-3, x)
    assert records == {"convolutions": [], "residual": ["add"], "gated": ["adaptive_avg_pool2d", "mul"]}


def test_marginals_behind_one_plain_layer_with_a_gaussian_input_are_exact():
    model, x = network("mlp")
    model, variance = model[:2], torch.linspace(0.01, 0.5, 8, dtype=torch.float64).expand(6, 8)
    with torch.no_grad():
        found = model(Gaussian(x, variance))
        samples = torch.stack([model(x + variance.sqrt() * torch.randn_like(x)) for _ in range(20_000)])
    assert_close(tuple(found), (samples.mean(0), samples.var(0)), rtol=0.03, atol=0.01)


def test_gradients_reach_the_moments_of_the_weights():
    model, x = network("activations")
    own = {name: Gaussian(*(part.clone().requires_grad_() for part in pair)) for name, pair in beliefs_of(model, 0.01).items()}
    with shadowed(model, own):
        output = model(x)
    (output.mean.square() + output.variance).sum().backward()
    for pair in own.values():
        assert all(part.grad is not None and bool(part.grad.isfinite().all()) for part in pair)
    step, name = 1e-5, "0.weight"
    with torch.no_grad():
        ends = []
        for sign in (-1, 1):
            moved = Gaussian(own[name].mean, own[name].variance + sign * step)
            with shadowed(model, {**own, name: moved}):
                ends.append((model(x).mean.square() + model(x).variance).sum())
    assert_close(own[name].variance.grad.sum(), (ends[1] - ends[0]) / (2 * step), rtol=1e-4, atol=0)


def test_single_precision_is_enough():
    model, x = network("activations")
    exact = predict(model, 1e-2, x)
    found = predict(model.float(), 1e-2, x.float())
    assert_close(tuple(found), tuple(part.float() for part in exact), rtol=1e-3, atol=1e-5)


TORCHVISION = {
    "resnet18": lambda models: models.resnet18(num_classes=3),
    "mobilenet_v2": lambda models: models.mobilenet_v2(num_classes=3, width_mult=0.5),
    "mobilenet_v3": lambda models: models.mobilenet_v3_small(num_classes=3),
    "efficientnet": lambda models: models.efficientnet_b0(num_classes=3),
    "convnext": lambda models: models.convnext_tiny(num_classes=3),
    "densenet": lambda models: models.DenseNet(8, (2, 3), 16, num_classes=3),
    "vision transformer": lambda models: models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3),
}


@pytest.mark.parametrize("make", TORCHVISION.values(), ids=TORCHVISION)
def test_networks_of_torchvision_run_as_they_are(make):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    model, x = make(models).eval(), torch.randn(1, 3, 32, 32)
    found = predict(model, 1e-6, x)
    with torch.no_grad():
        assert_close(found.mean, model(x), rtol=0.1, atol=1e-2)
    assert bool((found.variance >= 0).all()) and found.shape == (1, 3)
