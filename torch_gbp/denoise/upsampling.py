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

from torch_gbp.denoise.filters import Filters, Gathered
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import DEVIATION, require, require_count
from torch_gbp.gaussian import Message


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

    def begin(self, high: int, wide: int, generator: torch.Generator | None = None) -> UpsamplingVisit:
        """The state of inference for z of this size: nothing said yet."""
        self.shrink(high, wide)
        return UpsamplingVisit(self)


class UpsamplingVisit:
    """What the layer keeps while one image is inferred: the belief of x."""

    def __init__(self, layer: Upsampling) -> None:
        self.layer = layer
        nothing = torch.zeros(())
        self.x = Gathered(Message(nothing, nothing), nothing)

    def energy(self, z: Tensor) -> Tensor:
        """Energy of the factors at the belief means."""
        return (z - self._copy(self.x.belief.mean)).square().sum() / (2 * self.layer.deviation**2)

    def update(self, z: Tensor, cavity: Message, rate: float) -> Message:
        """One iteration of all messages of the layer; returns the message to z. They are exact, so none is damped.

        Args:
            z: belief mean.
            cavity: z without this layer's message.
            rate: 1 - damping, of other layers.
        """
        said = self._through(cavity)
        self.x.gather(Message(*(self._gather(part) for part in said)))
        total = Message(*(self._copy(part) for part in self.x.belief.message()))
        return self._through(total / said)

    def settle(self) -> None:
        """Nothing is learned."""

    def _through(self, cavity: Message) -> Message:
        """What the other end hears."""
        share = (1 + self.layer.deviation**2 * cavity.precision).reciprocal()
        return Message(cavity.information * share, cavity.precision * share)

    def _copy(self, part: Tensor) -> Tensor:
        """Every entry over its window."""
        return F.interpolate(part, scale_factor=self.layer.factor, mode="nearest")

    def _gather(self, part: Tensor) -> Tensor:
        """The sum of every window."""
        return F.avg_pool2d(part, self.layer.factor, divisor_override=1)
