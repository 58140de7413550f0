"""Networks by name: plain torch networks, and modules that are their GBP twins for the command line.

Max-pooling comes before the activation: a monotone activation commutes with it, and fewer entries are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import nn

import torch_gbp
from torch_gbp.layers.base import PRIOR_SCALE

SLOPE = 0.1  # of the LeakyReLU, negative side


def mlp(inputs: int = 784, hidden: Sequence[int] = (256, 256), outputs: int = 10, slope: float = SLOPE) -> nn.Sequential:
    """Flatten, then linear layers with LeakyReLU between them; a plain torch network.

    >>> [tuple(p.shape) for p in mlp(4, (8,), 2).parameters()]
    [(8, 4), (8,), (2, 8), (2,)]
    """
    widths = [inputs, *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


def lenet5(slope: float = SLOPE) -> nn.Sequential:
    """LeNet-5 for images 1 x 28 x 28 and ten classes; a plain torch network of 61706 parameters."""
    return nn.Sequential(
        *_stage(1, 6, 5, 2, slope),
        *_stage(6, 16, 5, 0, slope),
        nn.Flatten(),
        *(nn.Linear(400, 120), nn.LeakyReLU(slope)),
        *(nn.Linear(120, 84), nn.LeakyReLU(slope)),
        nn.Linear(84, 10),
    )


def digits_conv(channels: int = 16, slope: float = SLOPE) -> nn.Sequential:
    """Two convolutions and a linear layer for images 1 x 8 x 8 and ten classes; a plain torch network."""
    return nn.Sequential(
        *_stage(1, channels, 3, 1, slope),
        *_stage(channels, 2 * channels, 3, 1, slope),
        nn.Flatten(),
        nn.Linear(8 * channels, 10),
    )


def _stage(inputs: int, outputs: int, kernel: int, padding: int, slope: float) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.MaxPool2d(2), nn.LeakyReLU(slope)


class Network(nn.Module):
    """A named network: the GBP twin of a plain torch network, or with `gbp=False` that network itself.

    Args:
        plain: the torch network.
        gbp: message passing (True), or gradients and `AdamWClassifier` (False).
        prior_scale: factor on the weight prior's variance, see `torch_gbp.GBPLinear`.
    """

    def __init__(self, plain: nn.Module, gbp: bool, prior_scale: float) -> None:
        super().__init__()
        self.layers = torch_gbp.from_torch(plain, fresh=True, prior_scale=prior_scale) if gbp else plain

    def forward(self, x: Any) -> Any:
        return self.layers(x)


class MLP(Network):
    """Multilayer perceptron; input (n, ...) of `inputs` values each.

    Args:
        inputs: values of an example, e.g. 784 pixels.
        hidden: widths of the hidden layers.
        outputs: classes, or real targets.
        slope: of the LeakyReLU.
        gbp, prior_scale: as in `Network`.
    """

    def __init__(
        self,
        inputs: int = 784,
        hidden: Sequence[int] = (256, 256),
        outputs: int = 10,
        slope: float = SLOPE,
        gbp: bool = True,
        prior_scale: float = PRIOR_SCALE,
    ) -> None:
        super().__init__(mlp(inputs, hidden, outputs, slope), gbp, prior_scale)


class LeNet5(Network):
    """LeNet-5; input (n, 1, 28, 28), ten outputs.

    Args:
        gbp, prior_scale: as in `Network`.
    """

    def __init__(self, gbp: bool = True, prior_scale: float = PRIOR_SCALE) -> None:
        super().__init__(lenet5(), gbp, prior_scale)


class DigitsConv(Network):
    """Small convolutional network; input (n, 1, 8, 8), ten outputs.

    Args:
        channels: of the first convolution; the second has twice as many.
        gbp, prior_scale: as in `Network`.
    """

    def __init__(self, channels: int = 16, gbp: bool = True, prior_scale: float = PRIOR_SCALE) -> None:
        super().__init__(digits_conv(channels), gbp, prior_scale)
