"""Stack: layers of factors on top of each other, the coefficients of one being what the next one reconstructs.

Source: GBP Learning, section 3.1 and table D2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from torch_gbp.denoise.filters import Filters
from torch_gbp.denoise.reconstruction import Reconstruction
from torch_gbp.denoise.robust import Tukey
from torch_gbp.denoise.upsampling import Upsampling
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_count, shown
from torch_gbp.inference.node import Node
from torch_gbp.inference.variable import Variable

Layer = Reconstruction | Upsampling
UPPER_WEIGHT_RATE = 0.1  # with rate 0.05; 0.3 diverges, for 72 weights reach every activation and answer alike


class Stack(nn.Module):
    """Layers of factors from the pixels upwards, for `Denoiser`.

    Args:
        layers: `Reconstruction` and `Upsampling`; each has as many channels as the one before has coefficients.

    Raises:
        InvalidInput: no layers, or channels that do not fit.

    >>> bottom = Reconstruction(1, 2, deviation=0.1, weight_deviation=0.3)
    >>> stack = Stack([bottom, Upsampling(2, deviation=0.03), Reconstruction(2, 3, deviation=0.1, weight_deviation=0.3)])
    >>> stack.channels, stack.coefficients, stack.shrink(10, 12)
    (1, 3, (2, 3))
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        layers = _require_layers(layers)
        self.layers = nn.ModuleList(layers)
        for lower, upper in pairwise(layers):
            if lower.coefficients != upper.channels:
                raise InvalidInput(
                    "a layer reconstructs the coefficients of the one below",
                    where="Stack",
                    got=f"{lower.coefficients} coefficients below {upper.channels} channels",
                    fix="make them equal",
                )
        self.channels, self.coefficients = layers[0].channels, layers[-1].coefficients

    def shrink(self, high: int, wide: int) -> tuple[int, int]:
        """Rows and columns of the highest coefficients under an image of this size."""
        for layer in self._layers():
            high, wide = layer.shrink(high, wide)
        return high, wide

    def filters(self) -> list[Filters]:
        """What is learned."""
        return [own for layer in self._layers() for own in layer.filters()]

    def nodes(self, z: Variable, high: int, wide: int, generator: torch.Generator | None = None) -> list[Node]:
        """The factors of all layers over an image of this size, from the pixels z upwards."""
        found: list[Node] = []
        for layer in self._layers():
            found += layer.nodes(z, high, wide, generator)
            z, (high, wide) = found[-1].lower.variable, layer.shrink(high, wide)
        return found

    def _layers(self) -> list[Layer]:
        return list(self.layers)  # type: ignore[arg-type]


def _require_layers(layers: Any) -> list[Layer]:
    """The layers as a list, at least one."""
    found = list(layers) if isinstance(layers, Iterable) else [layers]
    if not found or not all(isinstance(layer, (Reconstruction, Upsampling)) for layer in found):
        raise InvalidInput(
            "a stack is made of Reconstruction and Upsampling layers, at least one",
            where="Stack",
            got=shown(layers),
            fix="pass a list of them",
        )
    return found


def five_layers(channels: int = 3) -> Stack:
    """The five layers of GBP Learning, table D2, for a rate of 0.05 and images of 4 i + 2 rows and 4 j + 2 columns (258 x 454).

    >>> five_layers().shrink(258, 454)
    (61, 110)
    """
    channels = require_count("channels", channels, "five_layers", fix="use 3 for colour, 1 for grey")
    bottom = Reconstruction(channels, 4, deviation=0.12, robust=Tukey(2.5), weight_deviation=0.15, initial_message=True)
    bent = partial(
        Reconstruction, deviation=0.07, slope=0.2, weight_deviation=0.3, weight_rate=UPPER_WEIGHT_RATE, initial_message=True
    )
    return Stack([bottom, Upsampling(4, deviation=0.03), bent(4, 8), Upsampling(8, deviation=0.03), bent(8, 8)])
