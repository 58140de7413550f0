"""lightning_modules: torch_gbp under Lightning: modules, data, evaluation, command line."""

from lightning_modules.requirements import require_packages

require_packages()

from lightning_modules.baseline import AdamWClassifier
from lightning_modules.block_local_classifier import BlockLocalClassifier
from lightning_modules.calibrate import Calibrate
from lightning_modules.classifier import GBPClassifier
from lightning_modules.data import CIFAR10, CSV, MNIST, UCI, Digits, FashionMNIST
from lightning_modules.denoiser import GBPDenoiser
from lightning_modules.learn_priors import LearnPriors
from lightning_modules.networks import (
    MLP,
    Conv890k,
    ConvOnePass,
    DigitsConv,
    LeNet5,
    conv890k,
    conv_one_pass,
    digits_conv,
    lenet5,
    mlp,
)
from lightning_modules.regressor import GBPRegressor
from lightning_modules.resnet import BlockResNet, FilterResponseNorm, ResNet
from lightning_modules.vit import ViT

__all__ = [
    "CIFAR10",
    "CSV",
    "MLP",
    "MNIST",
    "UCI",
    "AdamWClassifier",
    "BlockLocalClassifier",
    "BlockResNet",
    "Calibrate",
    "Conv890k",
    "ConvOnePass",
    "Digits",
    "DigitsConv",
    "FashionMNIST",
    "FilterResponseNorm",
    "GBPClassifier",
    "GBPDenoiser",
    "GBPRegressor",
    "LeNet5",
    "LearnPriors",
    "ResNet",
    "ViT",
    "conv890k",
    "conv_one_pass",
    "digits_conv",
    "lenet5",
    "mlp",
]
