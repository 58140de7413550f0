"""Pace: how fast iterated inference moves. Kept: a message that new ones are damped towards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_gbp.checks import RATE, SHARE, require, require_count


@dataclass
class Pace:
    """How new messages take the place of old ones.

    Args:
        rate: 1 - damping, of messages to activations and of duals, in (0, 1].
        weight_rate: 1 - damping, of the summed messages to weights, in (0, 1].
        dropout: probability with which an element of a message keeps its old value, in [0, 1).
        undamped_first: whether the first message of a batch is taken as it is; else it is damped towards silence.
        watch: whether the size of the changes is measured, which takes a pass over every message.
        iteration: counts up from 0 in every batch.

    Raises:
        InvalidInput: a rate that is not in (0, 1], a dropout that is not in [0, 1).

    Source: GBP Learning (arXiv 2311.14649) appendix A: damping first, then dropout between old and damped messages.
    """

    rate: float = 1.0
    weight_rate: float = 1.0
    dropout: float = 0.0
    undamped_first: bool = False
    watch: bool = False
    iteration: int = 0

    def __post_init__(self) -> None:
        fix = "use a rate such as 0.3, which is 1 - damping"
        self.rate, self.weight_rate = (
            require(name, getattr(self, name), RATE, "Pace", fix=fix) for name in ("rate", "weight_rate")
        )
        self.dropout = require("dropout", self.dropout, SHARE, "Pace", fix="use 0.0")
        self.iteration = require_count("iteration", self.iteration, "Pace", fix="use 0", least=0)


class Kept:
    """The parts of a message (information and precision; or a dual alone), None before the first.

    >>> kept = Kept()
    >>> for _ in range(2):
    ...     _ = kept.keep([torch.ones(1)], Pace(), 0.5)
    >>> kept.parts[0].item()
    0.75
    """

    def __init__(self) -> None:
        self.parts: list[Tensor] | None = None
        self.change = 0.0  # the last one, as a share of the largest entry; only where it is watched

    def keep(self, new: Sequence[Tensor], pace: Pace, rate: float, joined: bool = False) -> list[Tensor]:
        """(1 - rate) old + rate new, but for dropped elements, which stay old; returns what is kept.

        `joined` drops all rows of a column or none: what was solved together cannot be taken apart.
        """
        old = self.parts
        if old is None:
            undamped = pace.undamped_first or rate == 1
            self.parts = list(new) if undamped else [part * rate for part in new]
            self.change = float("inf")
            return self.parts
        share = rate
        if pace.dropout:
            share = rate * (torch.rand_like(new[0][:1] if joined else new[0]) >= pace.dropout).to(new[0])
        if pace.watch:
            self.change = max(_change(before, part, share) for before, part in zip(old, new, strict=True))
        self.parts = [torch.lerp(before, part, share) for before, part in zip(old, new, strict=True)]
        return self.parts


def _change(old: Tensor, new: Tensor, share: float | Tensor) -> float:
    """Largest step towards the new values, as a share of the largest entry."""
    step = float(((new - old) * share).abs().max())
    return step / size if (size := float(torch.maximum(old.abs().max(), new.abs().max()))) > 0 else 0.0
