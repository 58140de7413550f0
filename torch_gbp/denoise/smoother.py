"""PairwiseSmoother: denoising with smoothness factors between neighbours, nothing learned: the baseline of `Denoiser`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_gbp.denoise.graph import Denoised, ImageGraph, check_pace
from torch_gbp.denoise.observation import PixelObservation
from torch_gbp.denoise.pairwise import Smoothness, SmoothnessNode
from torch_gbp.denoise.robust import Robust, Tukey, require_robust
from torch_gbp.errors.checks import DEVIATION, require, require_kind
from torch_gbp.inference.variable import Variable

OBSERVED, SMOOTHNESS = Tukey(0.14), Smoothness(1.3, Tukey(0.35), 2)


@dataclass(frozen=True)
class PairwiseSmoother:
    """Robust pixel observations and robust smoothness factors; the settings of GBP Learning, table D3.

    `joint`: as of `Denoiser`.
    `repeats` = 2: every pixel brings a factor to each of its neighbours, so each edge has two (the published code).

    >>> PairwiseSmoother().infer(torch.full((3, 6, 6), 0.5), iterations=3).belief.shape
    torch.Size([3, 6, 6])
    """

    deviation: float = 0.2
    robust: Robust = OBSERVED
    smoothness: Smoothness = SMOOTHNESS
    joint: bool = False

    def __post_init__(self) -> None:
        require("deviation", self.deviation, DEVIATION, "PairwiseSmoother", fix="use 0.2")
        require_robust(self.robust, "PairwiseSmoother")
        require_kind("smoothness", self.smoothness, Smoothness, "PairwiseSmoother", fix="use Smoothness(1.3, Tukey(0.35), 2)")

    @torch.no_grad()
    def infer(
        self, image: Tensor, missing: Tensor | None = None, *, iterations: int = 200, rate: float = 0.3, tolerance: float = 0.0
    ) -> Denoised:
        """The clean image behind a noisy one, (channels, h, w) in [0, 1]; arguments as of `Denoiser.infer`.

        Raises:
            InvalidInput: an image that is not (channels, h, w) in [0, 1]; iterations or a rate out of range.
            ImproperMarginal: so few iterations that nothing has reached some missing pixel yet.
        """
        check_pace("PairwiseSmoother", iterations, rate, tolerance, fix="take iterations=200, rate=0.3 and tolerance=0.0")
        observation = PixelObservation(image, self.deviation, self.robust, missing, self.joint)
        pixels, node = Variable(start=observation.start()[None]), SmoothnessNode(self.smoothness)
        node.connect([pixels.edge()], Variable())
        return ImageGraph(pixels, [node], observation).infer(iterations, rate, tolerance, growth=math.inf)
