"""Small networks, data and snapshots that several test files share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp import BatchSites, GBPConv2d, GBPLeakyReLU, GBPLinear, GBPMaxPool2d, Inference, MessagePassing, Prior
from torch_gbp.likelihoods import Likelihood

TRACED = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 9)  # whether torch.compile takes factors


def mlp(inputs: int = 3, hidden: int = 6, outputs: int = 3, **options: Any) -> nn.Sequential:
    return nn.Sequential(GBPLinear(inputs, hidden, **options), GBPLeakyReLU(0.1), GBPLinear(hidden, outputs, **options))


def lenet() -> nn.Sequential:
    """A convolutional network for (n, 1, 8, 8) images and 3 classes."""
    features = GBPConv2d(1, 3, 3, padding=1), GBPMaxPool2d(2), GBPLeakyReLU(0.1)
    return nn.Sequential(*features, nn.Flatten(), GBPLinear(48, 3))


def three_classes(n: int = 60, features: int = 3) -> tuple[Tensor, Tensor]:
    """Three clouds of points and their labels."""
    labels = torch.arange(n) % 3
    return 2 * nn.functional.one_hot(labels, features) - 0.5 + 0.5 * torch.randn(n, features), labels


def messages(*gradients: Tensor | None) -> tuple[Any, ...]:
    """The messages g, G, g, G, ... that came as the gradients -g, G / 2, ..."""
    return tuple(None if part is None else 2 * part if odd % 2 else -part for odd, part in enumerate(gradients))


def as_gradients(*parts: Tensor) -> list[Tensor]:
    """The gradients that carry the messages g, G, ...: the reverse of `messages`."""
    return [0.5 * part if odd % 2 else -part for odd, part in enumerate(parts)]


def sweep(propagate: MessagePassing, model: nn.Module, likelihood: Likelihood, x: Tensor, y: Tensor) -> Tensor:
    """One batch: forward sweep, backward sweep, step."""
    propagate.zero_grad()
    loss = likelihood(model(x), y)
    loss.backward()
    propagate.step()
    return loss.detach()


def marginals(model: nn.Module) -> dict[str, Tensor]:
    """A copy of everything the model stores."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before: dict[str, Tensor], model: nn.Module) -> list[str]:
    """Names of what is no longer what it was, bit for bit."""
    return [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]


def wide(*size: int, **options: Any) -> GBPLinear:
    """A linear layer with a prior of variance 1 around a random start, and a precision for every weight."""
    return GBPLinear(*size, prior=Prior(variance=1.0, mean="start"), covariance="diagonal", **options)


def visit(
    propagate: MessagePassing,
    inference: Inference,
    model: nn.Module,
    likelihood: Likelihood,
    batch: int,
    x: Tensor,
    y: Tensor,
    epoch: int = 1,
) -> Tensor:
    """One visit of iterated inference to a fixed batch."""
    with propagate.visit(batch, x, y):
        return inference(model, likelihood, propagate, x, y, epoch)


def run(
    model: nn.Module, likelihood: Likelihood, inference: Inference, x: Tensor, y: Tensor, size: int, passes: int
) -> MessagePassing:
    """Visits fixed batches pass by pass."""
    propagate = MessagePassing(model.parameters(), len(x), store=BatchSites(), epochs=None)
    for epoch in range(1, passes + 1):
        for batch, part in enumerate(torch.arange(len(x)).split(size)):
            visit(propagate, inference, model, likelihood, batch, x[part], y[part], epoch)
    return propagate
