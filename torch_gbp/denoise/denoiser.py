"""Denoiser: pixels, coefficients, filters and biases of one image inferred together, image after image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torch_gbp.denoise.graph import Denoised, ImageGraph, check_pace
from torch_gbp.denoise.observation import PixelObservation
from torch_gbp.denoise.reconstruction import Reconstruction
from torch_gbp.denoise.robust import Robust, Tukey, require_robust
from torch_gbp.denoise.stack import Stack
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import DEVIATION, require, require_kind, require_values
from torch_gbp.inference.variable import Variable

OBSERVED = Tukey(0.2)  # GBP Learning, table D1


class Denoiser(nn.Module):
    """Denoises images with filters that it learns from the noisy images alone.

    Every pixel is explained by its observation or by the reconstruction from coefficients; both factors are robust, so a
    pixel leaves the one that it disagrees with. Nothing is trained beforehand: filters are inferred with the image, and
    `advance` makes their posterior the prior of the next one.

    Args:
        layer: the reconstruction factors and their filters, or a `Stack` of such layers.
        deviation, robust: of the pixel observations.
        joint: an observation stands for all channels of a pixel, in place of one for each: for noise that strikes whole pixels.

    Raises (on `infer`):
        InvalidInput: an image that is not (channels, h, w) in [0, 1], has other channels, or another size than the one before;
            iterations or a rate out of range.
        Diverged: an energy that is not finite or grows; the filters stay as they were.

    Source: GBP Learning, section 5.2 and table D1.

    >>> denoiser = Denoiser(Reconstruction(1, 2, deviation=0.1, weight_deviation=0.3))
    >>> denoiser.infer(torch.full((1, 8, 8), 0.5), iterations=5).belief.shape
    torch.Size([1, 8, 8])
    """

    def __init__(
        self, layer: Reconstruction | Stack, deviation: float = 0.2, robust: Robust = OBSERVED, joint: bool = False
    ) -> None:
        super().__init__()
        require_kind("layer", layer, (Reconstruction, Stack), "Denoiser", fix="pass a Reconstruction, or a Stack of layers")
        require_robust(robust, "Denoiser")
        self.deviation = require("deviation", deviation, DEVIATION, "Denoiser", fix="use 0.2")
        self.layer, self.robust, self.joint = layer, robust, bool(joint)
        self.size: tuple[int, ...] | None = None  # of the frames since the last reset

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Forgets all images: filters at the first prior, with fresh random means."""
        for filters in self.layer.filters():
            filters.reset(generator)
        self.size = None

    def advance(self, forget: float = 0.5) -> None:
        """The filters' posterior becomes the prior of the next image, drawn towards the first prior (see `Filters`)."""
        for filters in self.layer.filters():
            filters.advance(forget)

    @torch.no_grad()
    def infer(
        self,
        image: Tensor,
        missing: Tensor | None = None,
        *,
        iterations: int = 300,
        rate: float = 0.1,
        tolerance: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Denoised:
        """The clean image behind a noisy one, (channels, h, w) in [0, 1].

        Args:
            missing: marks pixels without a value, (h, w) or (channels, h, w).
            rate: 1 - damping of all messages.
            tolerance: stops when no pixel mean changes by more in an iteration.
            generator: of the coefficients' random first means.
        """
        require_kind("generator", generator, (torch.Generator, type(None)), "Denoiser", fix="use torch.Generator(), or None")
        observation = PixelObservation(_like(image, self.layer), self.deviation, self.robust, missing, self.joint)
        self._check(image)
        check_pace("Denoiser", iterations, rate, tolerance, fix="take iterations=300, rate=0.1 and tolerance=0.0")
        graph = self.graph(observation, generator)
        found = graph.infer(iterations, rate, tolerance)
        graph.finish()
        self.size = tuple(image.shape)
        return found

    def graph(self, observation: PixelObservation, generator: torch.Generator | None = None) -> ImageGraph:
        """The factor graph of one image, its coefficients at random means."""
        start = observation.start()[None]
        pixels = Variable(start=start)
        return ImageGraph(pixels, self.layer.nodes(pixels, start.shape[2], start.shape[3], generator), observation)

    def _check(self, image: Tensor) -> None:
        if image.shape[0] != self.layer.channels or min(self.layer.shrink(*image.shape[1:])) < 1:
            raise InvalidInput(
                f"expected {self.layer.channels} channels, and pixels enough for a coefficient",
                where="Denoiser",
                got=f"shape {tuple(image.shape)}",
                fix="build the layer for the image's channels",
            )
        if self.size not in (None, tuple(image.shape)):
            raise InvalidInput(
                f"this video has frames of shape {self.size}",
                where="Denoiser",
                got=f"shape {tuple(image.shape)}",
                cause="frames of different sizes, or another video",
                fix="resize the frames alike, or call reset() before another video",
            )


def _like(image: Tensor, layer: Reconstruction | Stack) -> Tensor:
    """On the layer's device and, if it is floating point at all, of its type."""
    learned = layer.filters()
    if not learned or not isinstance(image, Tensor) or not image.is_floating_point():
        return image
    require_values(image, "Denoiser")
    return image.to(learned[0].mean)
