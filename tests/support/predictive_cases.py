"""Networks with marginals as training leaves them, and their outputs by brute force, for the tests of predictions."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from torch_gbp.gaussian import Gaussian
from torch_gbp.weights.attached import attach, marginals
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.priors import Prior

DEVIATION = 0.08  # of a weight, as a share of the root mean square of its tensor; each has a factor of its own


class Skip(nn.Module):
    """A first convolution, a residual block with BatchNorm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 2, 1)
        self.inside = nn.Sequential(
            nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.SiLU(), nn.Conv2d(2, 2, 3, padding=1)
        )
        self.head = nn.Linear(2 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        return self.head((h + self.inside(h)).flatten(1))


class Attention(nn.Module):
    """One block of a transformer over 6 tokens, and a head over their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x).mean(1))


class Recurrent(nn.Module):
    """A classifier on the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x)[0][:, -1])


class Branching(nn.Module):
    """Another function where the outputs of the first layer are large: control flow that depends on the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(x)
        return self.head(h.tanh() if h.sum() > 0 else h.relu())


def conv_pool() -> nn.Sequential:
    """Convolutions whose kernels all positions share, averaged over the positions."""
    features = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(4, 3))


CASES = {
    "conv_pool": (conv_pool, (2, 6, 6)),
    "skip": (Skip, (2, 4, 4)),
    "attention": (Attention, (6, 8)),
    "recurrent": (Recurrent, (3, 4)),
    "branching": (Branching, (4,)),
}


def case(name: str, n: int = 3) -> tuple[nn.Module, Tensor]:
    """A network of this kind with marginals on all weights with two axes or more, and inputs."""
    make, size = CASES[name]
    return scattered(with_marginals(make())), torch.randn(n, *size)


def with_marginals(model: nn.Module) -> nn.Module:
    for module in list(model.modules()):
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and parameter.ndim > 1:
                attach(module, name, Prior(1.0, 0.0))
    return model


def scattered(model: nn.Module, share: float = DEVIATION) -> nn.Module:
    """Precisions of many sizes, and statistics of norms that are not those of a start."""
    with torch.no_grad():
        for own in marginals(model).values():
            deviation = share * own.mean.square().mean().sqrt() * torch.exp(0.5 * torch.randn_like(own.precision))
            own.precision.copy_(deviation**-2)
            own.mark_written()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2.0)
    return model


def brute_force(model: nn.Module, x: Tensor, draws: int) -> Tensor:
    """Outputs (draws, n, ...) of copies of the network into which drawn weights were written, one after the other."""
    network = copy.deepcopy(model).eval()
    beliefs = [(own, Gaussian(*(part.clone() for part in own.belief()))) for own in marginals(network).values()]
    found = []
    with torch.no_grad():
        for _ in range(draws):
            for own, belief in beliefs:
                write(own, belief)
            output = network(x)
            found.append(output.mean if isinstance(output, Gaussian) else output)
    return torch.stack(found)


def write(own: GaussianParameter, belief: Gaussian) -> None:
    """A draw in the place of the mean, nearly certain."""
    own.mean.copy_(belief.mean + belief.variance.sqrt() * torch.randn_like(belief.mean))
    own.precision.fill_(1e30)
    own.mark_written()
