"""The networks of `anynet`: plain torch modules as anybody would write them, with what the moment sweep has no rule for.

Convolutional networks and perceptrons start by He et al. 2015, transformers by torch's own start.
"""

from __future__ import annotations

from torch import nn

from examples.networks import CIFAR_SHAPE, FilterResponseNorm, ResNet

HALF_SHAPE = (3, 16, 16)  # CIFAR-10 at half its size


def resnet_frn() -> nn.Module:
    """ResNet-20 with filter response normalisation and SiLU, as the long Markov chains of Izmailov et al. 2021 had it."""
    return he_started(ResNet(CIFAR_SHAPE, norm=FilterResponseNorm, activation=nn.SiLU))


def he_started(network: nn.Module) -> nn.Module:
    """The network with weights drawn from N(0, 2 / fan-in) and biases of 0."""
    for layer in network.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network
