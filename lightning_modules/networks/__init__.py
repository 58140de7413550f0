"""Networks of plain torch, to be trained by message passing, by gradients, or in blocks; and named GBP twins of some."""

from lightning_modules.networks.bottleneck import BlockResNet50, BottleneckResNet
from lightning_modules.networks.classic import (
    MLP,
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
from lightning_modules.networks.resnet import BlockResNet, FilterResponseNorm, ResNet
from lightning_modules.networks.sizes import CIFAR_SHAPE, MNIST_SHAPE
from lightning_modules.networks.transformers import SYMBOLS, CharacterModel, ViT

__all__ = [
    "CIFAR_SHAPE",
    "MLP",
    "MNIST_SHAPE",
    "SYMBOLS",
    "BlockResNet",
    "BlockResNet50",
    "BottleneckResNet",
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
