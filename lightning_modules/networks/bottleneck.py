"""Deep residual networks of bottlenecks for small images, ResNet-50 among them, whole and in blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lightning_modules.networks.resnet import Norm
from lightning_modules.networks.sizes import CIFAR_SHAPE, Shape, images, sizes_of
from torch_gbp.local import BlockLocal, split_at

EXPANSION = 4  # outputs of a bottleneck, as a multiple of its inner channels
DEPTHS = (3, 4, 6, 3)  # bottlenecks of each stage of a ResNet-50


class Bottleneck(nn.Module):
    """Convolutions 1 x 1, 3 x 3, 1 x 1, each normalised, around a skip connection; input (n, inputs, h, w).

    The skip is a normalised 1 x 1 convolution where pixels or channels change.

    Args:
        inputs: channels.
        inner: channels of the 3 x 3 convolution; there are four times as many outputs.
        stride: of the 3 x 3 convolution.
        norm, activation: as in `ResidualBlock`.

    Source: He et al. 2016, Deep residual learning for image recognition, figure 5 and option B.
    """

    def __init__(self, inputs: int, inner: int, stride: int, norm: Norm, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        outputs = EXPANSION * inner
        self.inside = nn.Sequential(
            *(nn.Conv2d(inputs, inner, 1, bias=False), norm(inner), activation()),
            *(nn.Conv2d(inner, inner, 3, stride, 1, bias=False), norm(inner), activation()),
            *(nn.Conv2d(inner, outputs, 1, bias=False), norm(outputs)),
        )
        changed = nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs)
        self.skip = nn.Identity() if stride == 1 and inputs == outputs else nn.Sequential(*changed)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.inside(x) + self.skip(x))


class BottleneckResNet(nn.Sequential):
    """Residual network of bottlenecks behind a 3 x 3 stem without pooling, for small images; as it comes, ResNet-50.

    Its children, in their order: `stem`, the bottlenecks `stage1_1`, `stage1_2`, ..., and `head`.

    Args:
        in_shape: channels, height and width of an image; None: (3, 32, 32).
        classes: number of outputs; None: 10.
        depths: bottlenecks of each stage; every stage but the first halves the image.
        width: inner channels of the first stage; every stage doubles them.
        norm, activation: as in `ResidualBlock`.

    >>> sum(p.numel() for p in BottleneckResNet().parameters())
    23520842
    """

    def __init__(
        self,
        in_shape: Shape | None = None,
        classes: int | None = None,
        depths: Sequence[int] = DEPTHS,
        width: int = 64,
        norm: Norm = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        shape, outputs = sizes_of(in_shape, classes, CIFAR_SHAPE)
        stem = nn.Conv2d(images(shape, "BottleneckResNet")[0], width, 3, 1, 1, bias=False)
        children: dict[str, nn.Module] = {"stem": nn.Sequential(stem, norm(width), activation())}
        channels = width
        for stage, depth in enumerate(depths):
            for place in range(depth):
                stride, inner = 2 if stage and not place else 1, width * 2**stage
                children[f"stage{stage + 1}_{place + 1}"] = Bottleneck(channels, inner, stride, norm, activation)
                channels = EXPANSION * inner
        children["head"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))
        super().__init__(OrderedDict(children))


class BlockResNet50(BlockLocal):
    """A `BottleneckResNet` in blocks of equally many bottlenecks, for `BlockLocalClassifier`; input (n, *in_shape).

    The four blocks of a ResNet-50 have 13, 12, 12 and 13 layers; published are (12, 13, 12, 13), of which it is not told what is
    counted (block-local learning, section 3).

    Args:
        in_shape, classes, depths, width: as in `BottleneckResNet`.
        blocks: how many, 2 to the number of bottlenecks.

    >>> network = BlockResNet50(in_shape=(1, 8, 8), depths=(1, 2, 1), width=2, blocks=2)
    >>> [len(block) for block in network.blocks]
    [3, 3]
    """

    def __init__(
        self,
        in_shape: Shape = CIFAR_SHAPE,
        classes: int = 10,
        depths: Sequence[int] = DEPTHS,
        width: int = 64,
        blocks: int = 4,
    ) -> None:
        network = BottleneckResNet(in_shape, classes, depths, width)
        names = [name for name in dict(network.named_children()) if name.startswith("stage")]
        begins = [names[round(k * len(names) / blocks)] for k in range(1, blocks)]
        super().__init__(split_at(network, begins), classes, torch.zeros(2, *in_shape))
