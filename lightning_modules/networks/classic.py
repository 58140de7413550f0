"""Perceptrons and small convolutional networks of plain torch, and classes that are their GBP twins for the command line.

Max-pooling comes before the activation: a monotone activation commutes with it, and fewer entries are left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

import torch_gbp
from lightning_modules.networks.sizes import CIFAR_SHAPE, MNIST_SHAPE, Shape, images, sizes_of
from torch_gbp.errors import InvalidInput
from torch_gbp.weights.priors import Prior

SLOPE = 0.1  # of the LeakyReLU, negative side
LENET_SIZE = 32  # smaller images are padded to it


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


def lenet5(in_shape: Shape = MNIST_SHAPE, classes: int = 10, slope: float = SLOPE) -> nn.Sequential:
    """LeNet-5; images narrower than 32 pixels are padded to 32 by the first convolution. A plain torch network.

    >>> [sum(p.numel() for p in lenet5(shape).parameters()) for shape in ((1, 28, 28), (3, 32, 32))]
    [61706, 62006]
    """
    padding = max(0, (LENET_SIZE - in_shape[2]) // 2)
    body = (*_stage(in_shape[0], 6, 5, padding, slope), *_stage(6, 16, 5, 0, slope))
    return _headed(body, in_shape, (120, 84, classes), slope)


def conv890k(in_shape: Shape = CIFAR_SHAPE, classes: int = 10, slope: float = SLOPE) -> nn.Sequential:
    """Four 3 x 3 convolutions without padding (32, 32, pool, 64, 64, pool), then 512 units. A plain torch network.

    Source: the CIFAR-10 network of AMP-BNN.

    >>> sum(p.numel() for p in conv890k().parameters())
    890410
    """
    body = (
        *(nn.Conv2d(in_shape[0], 32, 3), nn.LeakyReLU(slope)),
        *_stage(32, 32, 3, 0, slope),
        *(nn.Conv2d(32, 64, 3), nn.LeakyReLU(slope)),
        *_stage(64, 64, 3, 0, slope),
    )
    return _headed(body, in_shape, (512, classes), slope)


def conv_one_pass(in_shape: Shape = MNIST_SHAPE, classes: int = 10, slope: float = SLOPE) -> nn.Sequential:
    """Convolutions of 16 and 32 channels (5 x 5, no padding), each pooled, then 100 units. A plain torch network.

    For one pass over MNIST, the task on which one-pass methods such as TAGI are compared.

    >>> sum(p.numel() for p in conv_one_pass().parameters())
    65558
    """
    body = (*_stage(in_shape[0], 16, 5, 0, slope), *_stage(16, 32, 5, 0, slope))
    return _headed(body, in_shape, (100, classes), slope)


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


def _headed(body: Sequence[nn.Module], in_shape: Shape, widths: Sequence[int], slope: float) -> nn.Sequential:
    """The convolutions `body`, then linear layers of the given widths with LeakyReLU between them."""
    try:
        features = nn.Sequential(*body)(torch.zeros(1, *in_shape)).numel()
    except RuntimeError as error:
        raise InvalidInput(
            "the images do not go through the convolutions",
            where="lightning_modules.networks",
            got=f"images of shape {tuple(in_shape)}",
            cause="images that convolutions and pooling shrink to nothing",
            fix="give (channels, height, width), or take a smaller network",
        ) from error
    return nn.Sequential(*body, *mlp(features, widths[:-1], widths[-1], slope))


class Network(nn.Module):
    """A named network: the GBP twin of a plain torch network, or with `gbp=False` that network itself.

    Args:
        plain: the torch network.
        gbp: message passing (True), or gradients (False).
        prior: of weights and biases, see `torch_gbp.Prior`.
    """

    def __init__(self, plain: nn.Module, gbp: bool, prior: Prior | None) -> None:
        super().__init__()
        self.layers = torch_gbp.from_torch(plain, fresh=True, prior=prior, moments=True) if gbp else plain

    def forward(self, x: Any) -> Any:
        return self.layers(x)


class MLP(Network):
    """Multilayer perceptron; input (n, ...) of `inputs` values each.

    Args:
        inputs: values of an example, None: 784 pixels.
        hidden: widths of the hidden layers.
        outputs: classes, or real targets; None: 10.
        slope: of the LeakyReLU.
        gbp, prior: as in `Network`.
    """

    def __init__(
        self,
        inputs: int | None = None,
        hidden: Sequence[int] = (256, 256),
        outputs: int | None = None,
        slope: float = SLOPE,
        gbp: bool = True,
        prior: Prior | None = None,
    ) -> None:
        shape, found = sizes_of(None if inputs is None else (inputs,), outputs, MNIST_SHAPE)
        super().__init__(mlp(math.prod(shape), hidden, found, slope), gbp, prior)


class LeNet5(Network):
    """LeNet-5; input (n, *in_shape).

    Args:
        in_shape: channels, height and width of an image; None: (1, 28, 28).
        classes: number of outputs; None: 10.
        gbp, prior: as in `Network`.
    """

    def __init__(
        self,
        in_shape: Shape | None = None,
        classes: int | None = None,
        gbp: bool = True,
        prior: Prior | None = None,
    ) -> None:
        shape, outputs = sizes_of(in_shape, classes, MNIST_SHAPE)
        super().__init__(lenet5(images(shape, "LeNet5"), outputs), gbp, prior)


class Conv890k(Network):
    """The CIFAR-10 network of 890,410 weights, see `conv890k`; input (n, *in_shape).

    Args:
        in_shape: channels, height and width of an image.
        classes: number of outputs.
        gbp, prior: as in `Network`.
    """

    def __init__(self, in_shape: Shape = CIFAR_SHAPE, classes: int = 10, gbp: bool = True, prior: Prior | None = None) -> None:
        super().__init__(conv890k(in_shape, classes), gbp, prior)


class ConvOnePass(Network):
    """Two wide convolutions for a single pass, see `conv_one_pass`; input (n, *in_shape).

    Args:
        in_shape: channels, height and width of an image.
        classes: number of outputs.
        gbp, prior: as in `Network`.
    """

    def __init__(self, in_shape: Shape = MNIST_SHAPE, classes: int = 10, gbp: bool = True, prior: Prior | None = None) -> None:
        super().__init__(conv_one_pass(in_shape, classes), gbp, prior)


class DigitsConv(Network):
    """Small convolutional network; input (n, 1, 8, 8), ten outputs.

    Args:
        channels: of the first convolution; the second has twice as many.
        gbp, prior: as in `Network`.
    """

    def __init__(self, channels: int = 16, gbp: bool = True, prior: Prior | None = None) -> None:
        super().__init__(digits_conv(channels), gbp, prior)
