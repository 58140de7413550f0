"""Pairwise smoothness factors between neighbouring pixels, with exact messages along every edge.

The factor of an edge (p, q) has the residual r = x_p - x_q and precision k / sigma^2, k its robust weight. It hears q's
cavity, the marginal without the factor's own message, N(m, 1 / R), and tells p

    precision 1 / (sigma^2 / k + 1 / R),  mean m.

Four planes hold the messages to every pixel from below, above, right and left; an edge's two ends are one shift apart, so no
edge is ever listed. On a grid of one row (a tree) the fixed point is the exact posterior; on a larger one its means are.
Source: GBP Learning, table D3 and the message rule of section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.denoise.robust import QUADRATIC, Robust, require_robust
from torch_gbp.errors.checks import DEVIATION, require, require_count
from torch_gbp.gaussian import Message
from torch_gbp.inference.damping import DampedMessage, Iteration
from torch_gbp.inference.node import Node

_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))  # where the neighbour stands: below, above, right, left
_ENDS = ((0, 1), (1, 0), (2, 3), (3, 2))  # a plane, and that in which the neighbour keeps what the same edge sent to it


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
        require_robust(self.robust, "Smoothness")
        require_count("repeats", self.repeats, "Smoothness", fix="use 1 or 2")

    def precision(self, mean: Tensor) -> Tensor:
        """Precision repeats k / sigma^2 of the factor to each side at these means, (4, ...); 0 where there is no neighbour."""
        squared = torch.stack([(mean - beside(mean, side)).square() for side in _SIDES]) / self.deviation**2
        return self.repeats / self.deviation**2 * self.robust.weight(squared) * _inside(mean)

    def energy(self, mean: Tensor) -> Tensor:
        """The energy that inference descends, summed over the edges, each of which stands on two sides."""
        squared = torch.stack([(mean - beside(mean, side)).square() for side in _SIDES]) / self.deviation**2
        return self.repeats * (self.robust.descended(squared) * _inside(mean)).sum() / 2


class SmoothnessNode(Node):
    """The factors between all neighbours; on (n, channels, h, w), every channel is a grid of its own."""

    def __init__(self, smoothness: Smoothness) -> None:
        self.smoothness, self.planes = smoothness, DampedMessage()

    def up(self, now: Iteration) -> None:
        """Nothing is above."""

    def down(self, now: Iteration) -> None:
        """All edges at once, both ways."""
        own = self.lower.variable.rest()
        assert own is not None
        mean = own.information / own.precision.clamp_min(torch.finfo(own.precision.dtype).tiny)  # 0 where nothing has arrived
        strength, planes = self.smoothness.precision(mean), self.planes.parts or [own.precision.new_zeros(len(_SIDES), 1)] * 2
        sent = [_sent(own, Message(*(part[back] for part in planes)), strength[plane], _SIDES[plane]) for plane, back in _ENDS]
        self.planes.update([torch.stack(part) for part in zip(*sent, strict=True)], now, now.rate)
        self.lower.replace(Message(*(part.sum(0) for part in self.planes.parts or [])))

    def energy(self) -> float:
        return float(self.smoothness.energy(self.lower.belief_mean()))


def _sent(own: Message, received: Message, strength: Tensor, side: tuple[int, int]) -> Message:
    """What the factor to one side sends: its neighbour's cavity through N(0, 1 / strength)."""
    cavity = own / received
    information, precision = beside(cavity.information, side), beside(cavity.precision, side)
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
