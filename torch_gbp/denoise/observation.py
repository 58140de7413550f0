"""Pixel observations: a robust Gaussian factor between each pixel and the value seen there; no factor where it is missing.

    E = sum over observed pixels of rho(M^2)        message: precision k / sigma^2, information k y / sigma^2

with M^2 = (x - y)^2 / sigma^2 of a channel, or, `joint`, summed over the channels of a pixel: noise that strikes whole pixels
is easier known from the image by all of them, and a pixel struck in one channel leaves its observation in every one.
A missing pixel has precision 0, so inpainting is nothing but denoising with fewer factors.
Source: GBP Learning, tables D1 to D3 (a factor for every channel).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torch_gbp.denoise.robust import QUADRATIC, Robust, require_robust
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import DEVIATION, require, require_kind
from torch_gbp.gaussian import Message
from torch_gbp.inference.damping import Iteration
from torch_gbp.inference.node import Node


class PixelObservation(Node):
    """What an image (channels, h, w) says of its pixels, in [0, 1].

    Args:
        deviation: sigma of the factors.
        robust: their energy.
        missing: marks pixels that were not seen, (h, w) or (channels, h, w).
        joint: one factor for all channels of a pixel that were seen, in place of one for each.

    Raises:
        InvalidInput: other axes, integers, NaN or values outside [0, 1] where observed, or no pixel observed.

    >>> seen = PixelObservation(torch.full((1, 2, 2), 0.5), deviation=0.5)
    >>> seen.message(seen.pixels).precision.unique().tolist()
    [4.0]
    """

    def __init__(
        self, image: Tensor, deviation: float, robust: Robust = QUADRATIC, missing: Tensor | None = None, joint: bool = False
    ) -> None:
        where = "PixelObservation"
        self.deviation = require("deviation", deviation, DEVIATION, where, fix="use 0.2")
        require_robust(robust, where)
        _check_image(image)
        seen = torch.ones_like(image, dtype=torch.bool) if missing is None else ~_mask(missing, image)
        _check_pixels(image, seen)
        self.pixels = torch.where(seen, image, torch.zeros_like(image))
        self.present = seen.to(image.dtype)
        self.robust, self.joint = robust, bool(joint)

    def up(self, now: Iteration) -> None:
        """Nothing is above; the robust weights are taken at the belief."""
        self.next = self.message(self.lower.belief_mean())

    def down(self, now: Iteration) -> None:
        self.lower.replace(self.next)

    def message(self, mean: Tensor) -> Message:
        """The factors at the pixels' belief means, in information form; nothing where a pixel is missing."""
        precision = self.robust.weight(self._squared(mean)) * self.present / self.deviation**2
        return Message(precision * self.pixels, precision)

    def start(self) -> Tensor:
        """Where means begin: at the observations, missing pixels at grey."""
        return torch.where(self.present > 0, self.pixels, 0.5)

    def energy(self) -> float:
        return self.energy_at(self.lower.belief_mean())

    def energy_at(self, mean: Tensor) -> float:
        """The energy that inference descends, summed."""
        return float(self.robust.descended(self._squared(mean)).sum())

    def _squared(self, mean: Tensor) -> Tensor:
        """M^2 of every factor, (..., channels or 1, h, w); 0 where nothing was seen."""
        squared = ((mean - self.pixels) / self.deviation).square() * self.present
        return squared.sum(-3, keepdim=True) if self.joint else squared


def _mask(missing: Any, image: Tensor) -> Tensor:
    """The mask of missing pixels, of the image's shape."""
    require_kind("missing", missing, Tensor, "PixelObservation", fix="pass a mask of dtype bool, or None")
    if missing.dtype != torch.bool or missing.shape not in (image.shape, image.shape[1:], (1, *image.shape[1:])):
        raise InvalidInput(
            "missing must be a mask (h, w) or (channels, h, w)",
            where="PixelObservation",
            got=f"{missing.dtype}, shape {tuple(missing.shape)}, image {tuple(image.shape)}",
            fix="use a bool tensor, True where a pixel has no value",
        )
    return missing.to(image.device).expand_as(image)


def _check_image(image: Any) -> None:
    require_kind("image", image, Tensor, "PixelObservation", fix="pass one frame (channels, h, w)")
    if image.ndim != 3 or not image.is_floating_point():
        raise InvalidInput(
            "an image is a floating-point tensor (channels, h, w)",
            where="PixelObservation",
            got=f"{image.dtype}, shape {tuple(image.shape)}",
            cause="uint8 images, or a batch of frames at once",
            fix="convert with image.float() / 255 and give one frame at a time",
        )


def _check_pixels(image: Tensor, seen: Tensor) -> None:
    values = image[seen]
    if values.numel() == 0:
        raise InvalidInput("no pixel is observed", where="PixelObservation", fix="leave some pixels unmasked")
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise InvalidInput(
            "observed pixels must lie in [0, 1]",
            where="PixelObservation",
            got=f"{values.min().item():.4g} ... {values.max().item():.4g}",
            cause="pixels in 0 ... 255, standardised images, or NaN",
            fix="divide by 255, or mark pixels without a value as missing",
        )
