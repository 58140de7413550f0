"""Pictures of examples: inputs as small PNG images inside the page, where they have the shape of images."""

from __future__ import annotations

import base64
import io
import math

import matplotlib.image
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

LARGEST = 64  # pixels of a side; larger images are averaged down
BUDGET = 2_500_000  # bytes of all the pictures of a page, if they were noise, which no format makes smaller
SMALLEST = 4  # pixels of a side of what is an image without an axis of channels


def image_shaped(inputs: Tensor | None) -> bool:
    """Whether inputs can be shown as images: (n, 1 or 3, height, width), or (n, height, width).

    >>> [image_shaped(torch.zeros(2, *shape)) for shape in ((1, 8, 8), (3, 8, 8), (8, 8), (5, 8, 8), (64,))]
    [True, True, True, False, False]
    """
    if inputs is None or inputs.ndim not in (3, 4):
        return False
    return inputs.shape[1] in (1, 3) if inputs.ndim == 4 else min(inputs.shape[1:]) >= SMALLEST


class Pictures:
    """Inputs on a common scale of brightness: black and white are the ends of what `scale` has, channel by channel.

    Args:
        scale: images as `image_shaped` tells, whose values say what black and white are. Bytes and values in [0, 1] stay.
        number: of pictures that the page will have; very many are smaller.
    """

    def __init__(self, scale: Tensor, number: int = 1) -> None:
        images = _channels(scale)
        self._side = min(LARGEST, math.isqrt(BUDGET // (4 * number)))  # three bytes a pixel, a third more in base64
        self._low, self._high = (end[:, None, None] for end in _ends(images))

    def png(self, image: Tensor) -> str:
        """A single input as the source of an `<img>` element."""
        own = _channels(image[None])[0]
        shown = ((own - self._low) / (self._high - self._low)).clamp(0, 1)
        return "data:image/png;base64," + base64.b64encode(_encoded(_shrunk(shown, self._side))).decode()


def _channels(images: Tensor) -> Tensor:
    """Floats (n, channels, height, width)."""
    return (images if images.ndim == 4 else images[:, None]).detach().cpu().double()


def _ends(images: Tensor) -> tuple[Tensor, Tensor]:
    """Black and white of each channel."""
    low, high = images.amin((0, 2, 3)), images.amax((0, 2, 3))
    if low.min() >= 0 and high.max() <= 1:
        return torch.zeros_like(low), torch.ones_like(high)
    if low.min() >= 0 and high.max() > 128 and high.max() <= 255:  # bytes
        return torch.zeros_like(low), torch.full_like(high, 255.0)
    return low, torch.where(high > low, high, low + 1)


def _shrunk(image: Tensor, side: int) -> Tensor:
    """At most so many pixels a side, by averages."""
    height, width = image.shape[1:]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = max(1, round(factor * height)), max(1, round(factor * width))
    return F.interpolate(image[None], size, mode="area")[0]


def _encoded(image: Tensor) -> bytes:
    pixels: NDArray[np.uint8] = (255 * image).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    matplotlib.image.imsave(
        file, pixels.repeat(3, 2) if pixels.shape[2] == 1 else pixels, format="png", metadata={"Software": ""}
    )
    return file.getvalue()
