"""A small network in three blocks, images for it and its optimizers, for the tests of block-local learning."""

import torch
from torch import nn

from torch_gbp.local import BlockLocal

CLASSES = 3


def conv(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


def images(size=12):
    return torch.randn(size, 2, 8, 8), torch.arange(size) % CLASSES


def network(**options):
    """Three blocks of convolutions; (n, 2, 8, 8) to 3 classes."""
    head = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(24, CLASSES))
    return BlockLocal([conv(2, 4), conv(4, 6), head], CLASSES, images(2)[0], **options)


def sgd(model, lr=0.05):
    return [torch.optim.SGD(parameters, lr, momentum=0.9) for parameters in model.block_parameters()]
