"""Filters: Gaussian weights that images are inferred with, and how one frame's posterior becomes the next one's prior.

    prior of the next frame: mean a m0 + (1 - a) m, standard deviation a s0 + (1 - a) s        (a = `forget`)

with (m0, s0) the first prior and (m, s) the posterior. Source: GBP Learning, equations 27 to 29.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.errors.checks import DEVIATION, DEVIATION_OR_0, PART, require
from torch_gbp.gaussian import Message
from torch_gbp.inference.weights import WeightBelief
from torch_gbp.weights.loading import CheckedModule, Saved, require_all, require_saved


class Filters(CheckedModule):
    """Marginals N(mean, 1 / precision) of a weight tensor and their prior, all buffers.

    Args:
        shape: of the weights.
        prior_deviation: standard deviation of the first prior, whose mean is 0.
        start_deviation: of the random means at which the first linearisation starts; 0 starts at the prior mean.

    >>> filters = Filters((2, 3), prior_deviation=0.5)
    >>> filters.advance(0.5)
    >>> filters.prior_precision.unique()
    tensor([4.])
    """

    mean: Tensor
    precision: Tensor
    prior_mean: Tensor
    prior_precision: Tensor

    def __init__(self, shape: tuple[int, ...], prior_deviation: float, start_deviation: float = 0.0) -> None:
        super().__init__()
        self.first_deviation = require("prior_deviation", prior_deviation, DEVIATION, "Filters", fix="use 0.3")
        self.start_deviation = require("start_deviation", start_deviation, DEVIATION_OR_0, "Filters", fix="use 0.1")
        for name in ("mean", "precision", "prior_mean", "prior_precision"):
            self.register_buffer(name, torch.zeros(shape))
        self.reset()

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Back to the first prior, with fresh random means."""
        self.prior_mean.zero_()
        self.prior_precision.fill_(self.first_deviation**-2)
        self.precision.copy_(self.prior_precision)
        start = torch.randn(self.mean.shape, generator=generator)  # drawn on the CPU, the same for every device
        self.mean.copy_(self.start_deviation * start)

    def advance(self, forget: float = 0.0) -> None:
        """The posterior becomes the prior, drawn towards the first one (0: plain filtering, 1: forgetting all but the start).

        Raises:
            InvalidInput: a share outside [0, 1].
        """
        forget = require("forget", forget, PART, "Filters", fix="take 0.5")
        deviation = forget * self.first_deviation + (1 - forget) * self.precision.rsqrt()
        learnt = self.precision != self.prior_precision  # the others stand at a random start, which nobody has confirmed
        self.prior_mean.copy_((1 - forget) * torch.where(learnt, self.mean, self.prior_mean))
        self.prior_precision.copy_(deviation.pow(-2))

    def check_saved(self, saved: Saved, prefix: str) -> None:
        """Raises InvalidInput for means that are not finite and precisions that are not positive, before anything is loaded."""
        for name, own in self.named_buffers(recurse=False):
            if prefix + name in saved.state:
                value = require_saved(prefix + name, saved.state[prefix + name], own, saved.assign)
                if name.endswith("precision"):
                    require_all(prefix + name, value > 0, "positive", value)

    def batch_prior(self) -> Message:
        """The prior of the next image, in information form."""
        return Message(self.prior_precision * self.prior_mean, self.prior_precision.clone())

    def belief(self, initial_message: bool) -> WeightBelief:
        """The weights while an image is looked at: the prior, first linearised at the stored mean.

        With `initial_message`, the factors' first message is the one after which the belief has that mean.
        """
        found = WeightBelief(self)
        found.precision, found.variance = found.before.precision, found.before.precision.reciprocal()
        if initial_message:
            found.message_so_far.parts = [found.precision * found.mean - found.before.information, torch.zeros_like(found.mean)]
        return found

    def keep(self, belief: WeightBelief) -> None:
        """Takes over the posterior."""
        self.mean.copy_(belief.mean)
        self.precision.copy_(belief.precision)
