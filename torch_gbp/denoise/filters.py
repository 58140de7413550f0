"""Filters: Gaussian weights that images are inferred with, and how one frame's posterior becomes the next one's prior.

    prior of the next frame: mean a m0 + (1 - a) m, standard deviation a s0 + (1 - a) s        (a = `towards_first`)

with (m0, s0) the first prior and (m, s) the posterior. Source: GBP Learning, equations 27 to 29.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torch_gbp.errors.checks import DEVIATION, DEVIATION_OR_0, PART, require
from torch_gbp.gaussian import Gaussian, Message


class Filters(nn.Module):
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

    def advance(self, towards_first: float = 0.0) -> None:
        """The posterior becomes the prior, drawn towards the first one (0: plain filtering, 1: forgetting all but the start).

        Raises:
            InvalidInput: a share outside [0, 1].
        """
        towards_first = require("towards_first", towards_first, PART, "Filters", fix="take 0.5")
        deviation = towards_first * self.first_deviation + (1 - towards_first) * self.precision.rsqrt()
        self.prior_mean.copy_((1 - towards_first) * self.mean)
        self.prior_precision.copy_(deviation.pow(-2))

    def prior(self) -> Message:
        """The prior in information form."""
        return Message(self.prior_precision * self.prior_mean, self.prior_precision)

    def energy(self, mean: Tensor) -> Tensor:
        """Energy of the prior at these means."""
        return (self.prior_precision * (mean - self.prior_mean).square()).sum() / 2

    def settle(self, belief: Gaussian) -> None:
        """Takes over the posterior."""
        self.mean.copy_(belief.mean)
        self.precision.copy_(belief.variance.reciprocal())


class Gathered:
    """A variable's belief: its prior, the damped sum of the messages of the factors below it, and what it hears from above.

    The sum is given as precision L and force F = sum of J gamma at the present mean: information mean L - F.
    At first nothing was said, and damping draws the belief to the prior; with `hold`, it starts from the belief of that mean.
    """

    def __init__(self, prior: Message, mean: Tensor, hold: bool = False) -> None:
        self.prior = prior
        nothing = torch.zeros_like(mean)
        self.message = Message(prior.precision * mean - prior.information if hold else nothing, nothing)
        self.above: Message | None = None
        self.belief = Gaussian(mean, prior.precision.reciprocal().expand_as(mean).clone())

    def absorb(self, precision: Tensor, force: Tensor, rate: float) -> None:
        """Damps the new sum into the old."""
        new = Message(torch.addcmul(-force, self.belief.mean, precision), precision)
        self.gather(new.damp(self.message, rate))

    def gather(self, message: Message) -> None:
        """Takes the product of the messages of the factors below as it is."""
        self.message = message
        self._believe()

    def hear(self, message: Message) -> None:
        """Takes the message of the factor above as it is."""
        self.above = message
        self._believe()

    def rest(self) -> Message:
        """Prior x messages from below: what the factor above hears."""
        return self.prior * self.message

    def _believe(self) -> None:
        product = self.rest()
        self.belief = (product if self.above is None else product * self.above).belief()
