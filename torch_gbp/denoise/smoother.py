"""PairwiseSmoother: denoising with smoothness factors between neighbours, nothing learned: the baseline of `Denoiser`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from torch_gbp.denoise.denoiser import Denoised, check_pace
from torch_gbp.denoise.observation import PixelObservation
from torch_gbp.denoise.pairwise import Smoothness, marginal, pass_messages, silence, total
from torch_gbp.denoise.robust import Robust, Tukey


class PairwiseSmoother(NamedTuple):
    """Robust pixel observations and robust smoothness factors; the settings of GBP Learning, table D3.

    `joint`: as of `Denoiser`.
    `repeats` = 2: every pixel brings a factor to each of its neighbours, so each edge has two (the published code).

    >>> PairwiseSmoother().infer(torch.full((3, 6, 6), 0.5), iterations=3).belief.shape
    torch.Size([3, 6, 6])
    """

    deviation: float = 0.2
    robust: Robust = Tukey(0.14)
    smoothness: Smoothness = Smoothness(1.3, Tukey(0.35), 2)
    joint: bool = False

    def infer(
        self, image: Tensor, missing: Tensor | None = None, *, iterations: int = 200, rate: float = 0.3, tolerance: float = 0.0
    ) -> Denoised:
        """The clean image behind a noisy one, (channels, h, w) in [0, 1]; arguments as of `Denoiser.infer`.

        Raises:
            InvalidInput: an image that is not (channels, h, w) in [0, 1]; iterations or a rate out of range.
            ImproperMarginal: so few iterations that nothing has reached some missing pixel yet.
        """
        check_pace("PairwiseSmoother", iterations, rate, fix="take 200 and 0.3")
        observation = PixelObservation(image, self.deviation, self.robust, missing, self.joint)
        heard, mean = silence(observation.pixels), observation.start()
        energies: list[float] = []
        changes: list[float] = []
        for _ in range(iterations):
            unary = observation.message(mean)
            heard = pass_messages(self.smoothness, unary, heard, rate)
            told = total(unary, heard)
            new = torch.where(told.precision > 0, told.information / told.precision, mean)  # not reached yet: as it was
            changes.append(float((new - mean).abs().max()))
            mean = new
            energies.append(float(observation.energy(mean) + self.smoothness.energy(mean)))
            if changes[-1] <= tolerance:
                break
        return Denoised(marginal(observation.message(mean), heard), energies, changes)
