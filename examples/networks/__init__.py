"""Networks of plain torch, to be trained by message passing, by gradients, or in blocks; and named GBP twins of some."""

from examples.networks.classic import (
    CIFAR_SHAPE,
    MLP,
    MNIST_SHAPE,
    Conv890k,
    ConvOnePass,
    DigitsConv,
    LeNet5,
    Network,
    conv890k,
    conv_one_pass,
    digits_conv,
    lenet5,
    mlp,
)
from examples.networks.resnet import BlockResNet, FilterResponseNorm, ResNet
from examples.networks.transformers import SYMBOLS, CharacterModel, ViT

__all__ = [
    "CIFAR_SHAPE",
    "MLP",
    "MNIST_SHAPE",
    "SYMBOLS",
    "BlockResNet",
    "CharacterModel",
    "Conv890k",
    "ConvOnePass",
    "DigitsConv",
    "FilterResponseNorm",
    "LeNet5",
    "Network",
    "ResNet",
    "ViT",
    "conv890k",
    "conv_one_pass",
    "digits_conv",
    "lenet5",
    "mlp",
]
