"""Damping: how new messages take the place of old ones in iterated inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torch_gbp.errors.checks import SHARE, require


@dataclass(frozen=True)
class Damping:
    """Damping of messages between the iterations of a batch: new = (1 - d) computed + d old.

    Args:
        messages: d of messages to activations and of duals, in [0, 1).
        weights: d of the summed messages to weights; None for that of all messages.
        dropout: probability with which an element of a message keeps its old value in an iteration, in [0, 1). For summed
            messages, as published; several layers of full covariance in a row were seen to diverge with it.
        undamped_first: take the first messages of a batch as they are, as published; summed messages then overshoot. Else they
            are damped towards silence.
        from_start: damp the messages to independent weights from those after which beliefs have their first means, in place of
            silence, which draws beliefs to the prior's means first. Where weights are stacked those are 0, and a product of two
            variables near 0 says little: three layers with weights need it.

    Raises:
        InvalidInput: a share that is not in [0, 1).

    Source: GBP Learning (arXiv 2311.14649) appendix A: damping first, then dropout between old and damped messages.

    >>> Damping(0.6, weights=0.9).of_weights, Damping(0.6).of_weights
    (0.9, 0.6)
    """

    messages: float = 0.0
    weights: float | None = None
    dropout: float = 0.0
    undamped_first: bool = False
    from_start: bool = False

    def __post_init__(self) -> None:
        for name in ("messages", "weights", "dropout"):
            if name != "weights" or self.weights is not None:
                value = require(name, getattr(self, name), SHARE, "Damping", fix="use a share such as 0.6, or 0.0 for none")
                object.__setattr__(self, name, value)

    @property
    def of_weights(self) -> float:
        """The share that messages to weights keep."""
        return self.messages if self.weights is None else self.weights

    @classmethod
    def of(cls, value: Any, undamped_first: bool) -> Damping:
        """The damping that a number, or a Damping, stands for; a number leaves it to the schedule whether first messages are."""
        if isinstance(value, Damping):
            return value
        return cls(require("damping", value, SHARE, "Damping", fix="use damping=0.0"), undamped_first=undamped_first)


@dataclass
class Iteration:
    """Number (from 0) and damping of the iteration under way; with `watch` changes are measured, a pass over every message."""

    damping: Damping
    number: int = 0
    watch: bool = False

    @property
    def rate(self) -> float:
        """1 - damping of messages to activations and duals."""
        return 1 - self.damping.messages

    @property
    def weight_rate(self) -> float:
        """1 - damping of messages to weights."""
        return 1 - self.damping.of_weights


class DampedMessage:
    """Parts of a message (information and precision; or a dual alone) that new ones are damped towards; None before the first.

    >>> kept = DampedMessage()
    >>> for _ in range(2):
    ...     _ = kept.update([torch.ones(1)], Iteration(Damping()), rate=0.5)
    >>> kept.parts[0].item()
    0.75
    """

    def __init__(self) -> None:
        self.parts: list[Tensor] | None = None
        self.change = 0.0  # the last one, as a share of the largest entry; only where it is watched

    def update(self, new: Sequence[Tensor], now: Iteration, rate: float, joined: bool = False) -> list[Tensor]:
        """(1 - rate) old + rate new, but for dropped elements, which stay old; returns what is kept.

        `joined` drops all rows of a column or none: what was solved together cannot be taken apart.
        """
        old = self.parts
        if old is None:
            undamped = now.damping.undamped_first or rate == 1
            self.parts = list(new) if undamped else [part * rate for part in new]
            self.change = float("inf")
            return self.parts
        share: float | Tensor = rate
        if now.damping.dropout:
            like = new[0][:1] if joined else new[0]
            share = rate * (torch.rand_like(like) >= now.damping.dropout).to(new[0])
        if now.watch:
            self.change = max(_change(before, part, share) for before, part in zip(old, new, strict=True))
        self.parts = [torch.lerp(before, part, share) for before, part in zip(old, new, strict=True)]
        return self.parts


def _change(old: Tensor, new: Tensor, share: float | Tensor) -> float:
    """Largest step towards the new values, as a share of the largest entry."""
    step = float(((new - old) * share).abs().max())
    return step / size if (size := float(torch.maximum(old.abs().max(), new.abs().max()))) > 0 else 0.0
