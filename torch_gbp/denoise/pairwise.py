"""Pairwise smoothness factors between neighbouring pixels, with exact messages along every edge.

The factor of an edge (p, q) has the residual r = x_p - x_q and precision k / sigma^2, k its robust weight. It hears q's
cavity, the marginal without the factor's own message, N(m, 1 / R), and tells p

    precision 1 / (sigma^2 / k + 1 / R),  mean m.

Four planes hold what every pixel heard from below, above, right and left; an edge's two ends are one shift apart, so no
edge is ever listed. On a grid of one row (a tree) the fixed point is the exact posterior; on a larger one its means are.
Source: GBP Learning, table D3 and the message rule of section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.denoise.robust import QUADRATIC, Robust
from torch_gbp.errors.checks import DEVIATION, require, require_count, require_kind
from torch_gbp.gaussian import Gaussian, Message

_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))  # where the neighbour stands: below, above, right, left
_OPPOSITE = (1, 0, 3, 2)


@dataclass(frozen=True)
class Smoothness:
    """The factors between neighbours: standard deviation of a difference, robust energy, and how often an edge counts.

    With `repeats` = 2 every pixel brings a factor to each of its neighbours, so that an edge has two.
    """

    deviation: float
    robust: Robust = QUADRATIC
    repeats: int = 1

    def __post_init__(self) -> None:
        require("deviation", self.deviation, DEVIATION, "Smoothness", fix="use 1.3")
        require_kind("robust", self.robust, Robust, "Smoothness", fix="use Tukey(0.35)")
        require_count("repeats", self.repeats, "Smoothness", fix="use 1 or 2")

    def precision(self, mean: Tensor) -> Tensor:
        """Precision repeats k / sigma^2 of the factor to each side at these means, (4, ...); 0 where there is no neighbour."""
        squared = torch.stack([(mean - beside(mean, side)).square() for side in _SIDES]) / self.deviation**2
        return self.repeats / self.deviation**2 * self.robust.weight(squared) * _inside(mean)

    def energy(self, mean: Tensor) -> Tensor:
        """The energy that inference descends, summed over the edges, each of which stands on two sides."""
        squared = torch.stack([(mean - beside(mean, side)).square() for side in _SIDES]) / self.deviation**2
        return self.repeats * (self.robust.descended(squared) * _inside(mean)).sum() / 2


def silence(like: Tensor) -> Message:
    """What pixels have heard before the first iteration: nothing, in four planes (4, ...)."""
    nothing = like.new_zeros(len(_SIDES), *like.shape)
    return Message(nothing, nothing)


def total(unary: Message, heard: Message) -> Message:
    """Every pixel's own factor x what it heard from its neighbours; nothing where it is not observed and nobody told it."""
    return Message(unary.information + heard.information.sum(0), unary.precision + heard.precision.sum(0))


def marginal(unary: Message, heard: Message) -> Gaussian:
    """Belief of every pixel.

    Raises:
        ImproperMarginal: a pixel that is neither observed nor has a neighbour that is.
    """
    return total(unary, heard).belief()


def pass_messages(smoothness: Smoothness, unary: Message, heard: Message, rate: float) -> Message:
    """One iteration: all edges at once, both ways; rate = 1 - damping, in information form.

    Args:
        unary: the pixels' own factors, (..., h, w).
        heard: the four planes of the iteration before, (4, ..., h, w).
    """
    own = total(unary, heard)
    mean = own.information / own.precision.clamp_min(torch.finfo(own.precision.dtype).tiny)
    strength = smoothness.precision(mean)
    sent = [_sent(own, heard, strength[plane], plane) for plane in range(len(_SIDES))]
    return Message(*(torch.stack(part) for part in zip(*sent, strict=True))).damp(heard, rate)


def _sent(own: Message, heard: Message, strength: Tensor, plane: int) -> Message:
    """What the factor to one side tells: its neighbour's cavity through N(0, 1 / strength)."""
    back = _OPPOSITE[plane]  # the plane in which the neighbour keeps what it heard over this edge
    precision = beside(own.precision - heard.precision[back], _SIDES[plane])
    information = beside(own.information - heard.information[back], _SIDES[plane])
    share = strength / (strength + precision).clamp_min(torch.finfo(strength.dtype).tiny)  # 0 where both are 0
    return Message(share * information, share * precision)


def beside(values: Tensor, side: tuple[int, int]) -> Tensor:
    """The neighbours' values, 0 beyond the border."""
    (down, right), (high, wide) = side, values.shape[-2:]
    padded = F.pad(values, (max(-right, 0), max(right, 0), max(-down, 0), max(down, 0)))
    top, left = max(down, 0), max(right, 0)
    return padded[..., top : top + high, left : left + wide]


def _inside(mean: Tensor) -> Tensor:
    """1 where a pixel has a neighbour on that side, (4, 1, ..., h, w)."""
    ones = mean.new_ones(*(1 for _ in mean.shape[:-2]), *mean.shape[-2:])
    return torch.stack([beside(ones, side) for side in _SIDES])
