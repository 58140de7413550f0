"""The upsampling factors between activations x and the finer ones z: every entry of x stands for a window of z.

    E = sum over the entries of all windows of (z - x)^2 / (2 sigma^2)

Each factor ties two variables, so its messages are exact: where N(m, 1 / R) is one end without this factor, the other hears

    precision R / (1 + sigma^2 R),  mean m.

Source: GBP Learning, equation 15.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_gbp.denoise.filters import Filters
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import DEVIATION, require, require_count
from torch_gbp.gaussian import Message
from torch_gbp.inference.damping import Iteration
from torch_gbp.inference.node import Node
from torch_gbp.inference.variable import Variable


class Upsampling(nn.Module):
    """Settings of a layer of upsampling factors; nothing in it is learned.

    Args:
        channels: of z, and of x.
        factor: rows and columns of a window.
        deviation: sigma of the factors.

    Raises:
        InvalidInput: settings out of range.

    >>> Upsampling(4, deviation=0.03).shrink(256, 452)
    (128, 226)
    """

    def __init__(self, channels: int, factor: int = 2, *, deviation: float) -> None:
        super().__init__()
        self.channels = self.coefficients = require_count("channels", channels, "Upsampling", fix="use those of the layer below")
        self.factor = require_count("factor", factor, "Upsampling", fix="use 2")
        self.deviation = require("deviation", deviation, DEVIATION, "Upsampling", fix="use 0.03")

    def shrink(self, high: int, wide: int) -> tuple[int, int]:
        """Rows and columns of x where z has these.

        Raises:
            InvalidInput: rows or columns that windows do not fill.
        """
        if high % self.factor or wide % self.factor:
            raise InvalidInput(
                f"windows of {self.factor} x {self.factor} must fill the activations",
                where="Upsampling",
                got=f"{high} x {wide}",
                cause="an image whose rows or columns do not divide at every upsampling",
                fix="crop or pad the image",
            )
        return high // self.factor, wide // self.factor

    def filters(self) -> list[Filters]:
        """What is learned: nothing."""
        return []

    def nodes(self, z: Variable, high: int, wide: int, generator: torch.Generator | None = None) -> list[UpsamplingNode]:
        """The factors of activations z of this size, with new ones x below them."""
        self.shrink(high, wide)
        node = UpsamplingNode(self)
        node.connect([Variable().edge()], z)
        return [node]


class UpsamplingNode(Node):
    """The factors of a layer, with their last messages to x. They come before those to z, for x may have no prior.

    (`CopiesNode` has the same messages in terms of moments, for an x that has a belief without its copies.)
    """

    def __init__(self, layer: Upsampling) -> None:
        self.layer, self.noise = layer, layer.deviation**2

    def down(self, now: Iteration) -> None:
        rest = self.upper.rest()
        assert rest is not None  # a reconstruction factor has spoken
        share = (1 + self.noise * rest.precision).reciprocal()
        self.sent = Message(rest.information * share, rest.precision * share)
        self.lower.replace(Message(*(F.avg_pool2d(part, self.layer.factor, divisor_override=1) for part in self.sent)))

    def up(self, now: Iteration) -> None:
        mean, variance = self.lower.belief()
        assert variance is not None
        cavity = Message(*(self.predicted(part) for part in (mean / variance, variance.reciprocal()))) / self.sent
        self.upper.predict(cavity.information / cavity.precision, cavity.precision.reciprocal() + self.noise)

    def predicted(self, *means: Tensor) -> Tensor:
        """Every entry over its window."""
        return F.interpolate(means[0], scale_factor=self.layer.factor, mode="nearest")
