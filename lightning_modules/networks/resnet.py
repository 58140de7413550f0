"""Residual networks for small images, as an nn.Sequential of their stages, so that they can be cut into blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.sizes import CIFAR_SHAPE, Shape, images, sizes_of
from torch_gbp import GBPLinear, Softmax
from torch_gbp.local import BlockLocal, split_equally

Norm = Callable[[int], nn.Module]
"""(channels) -> their normalisation."""


class FilterResponseNorm(nn.Module):
    """Filter response normalisation, gain x / sqrt(mean of x^2 over the pixels + epsilon) + shift; input (n, channels, h, w).

    Each image and channel by itself, so no batch, no running statistics, and the same in training and prediction.
    Source: Singh & Krishnan 2020.

    >>> norm = FilterResponseNorm(2)
    >>> round(norm(torch.full((1, 2, 3, 3), 5.0)).mean().item(), 4)
    1.0
    """

    def __init__(self, channels: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(channels, 1, 1)), nn.Parameter(torch.zeros(channels, 1, 1))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x * (x.square().mean((2, 3), keepdim=True) + self.epsilon).rsqrt() + self.shift


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, each normalised, around a skip connection; input (n, inputs, h, w).

    The skip takes every `stride`-th pixel and pads the channels with zeros, so it has no weights.

    Args:
        inputs, outputs: channels.
        stride: of the first convolution.
        norm, activation: what makes the normalisation of so many channels, and the activation.

    Source: He et al. 2016, Deep residual learning for image recognition, section 4.2, option A.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int = 1,
        norm: Norm = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), norm(outputs)
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), norm(outputs)
        self.stride, self.added, self.activation = stride, outputs - inputs, activation()

    def forward(self, x: Tensor) -> Tensor:
        inside = self.norm2(self.conv2(self.activation(self.norm1(self.conv1(x)))))
        skip = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return self.activation(inside + skip)


class ResNet(nn.Sequential):
    """Residual network of three stages with `width`, 2 `width` and 4 `width` channels; 6 `depth` + 2 layers.

    Its children, in their order: `stem`, the residual blocks `stage1_1` to `stage3_DEPTH`, and `head`.

    Args:
        in_shape: channels, height and width of an image; None: (3, 32, 32).
        classes: number of outputs; None: 10.
        depth: residual blocks of a stage: 3 for ResNet-20.
        width: channels of the first stage.
        norm, activation: as in `ResidualBlock`.

    >>> sum(p.numel() for p in ResNet().parameters())
    269722
    """

    def __init__(
        self,
        in_shape: Shape | None = None,
        classes: int | None = None,
        depth: int = 3,
        width: int = 16,
        norm: Norm = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        shape, outputs = sizes_of(in_shape, classes, CIFAR_SHAPE)
        channels = images(shape, "ResNet")[0]
        stem = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        children: dict[str, nn.Module] = {"stem": nn.Sequential(stem, norm(width), activation())}
        inputs = width
        for stage, widened in enumerate((width, 2 * width, 4 * width), 1):
            for block in range(1, depth + 1):
                stride = 2 if stage > 1 and block == 1 else 1
                children[f"stage{stage}_{block}"] = ResidualBlock(inputs, widened, stride, norm, activation)
                inputs = widened
        children["head"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, outputs))
        super().__init__(OrderedDict(children))


class BlockResNet(BlockLocal):
    """A `ResNet` in blocks of equally many stages, for `BlockLocalClassifier`; input (n, *in_shape).

    Args:
        in_shape, classes, depth, width: as in `ResNet`.
        blocks: how many, 2 to 3 `depth` + 2.
        gbp_head: the last block is a GBP layer on the pooled channels, trained by message passing, instead of a share of
            the residual blocks and a plain linear layer.

    >>> network = BlockResNet(blocks=3, depth=1, width=4)
    >>> [len(block) for block in network.blocks]
    [2, 1, 2]
    """

    def __init__(
        self,
        in_shape: Shape = CIFAR_SHAPE,
        classes: int = 10,
        depth: int = 3,
        width: int = 16,
        blocks: int = 4,
        gbp_head: bool = False,
    ) -> None:
        stages, example = list(ResNet(in_shape, classes, depth, width)), torch.zeros(2, *in_shape)
        if not gbp_head:
            super().__init__(split_equally(stages, blocks), classes, example)
            return
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), GBPLinear(4 * width, classes))
        super().__init__([*split_equally(stages[:-1], blocks - 1), head], classes, example, end_loss=Softmax())
