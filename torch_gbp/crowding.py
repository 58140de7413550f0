"""How much more an example counts where there are more weights than examples, and how much a step's messages count."""

import math

from torch_gbp.sweep import Listener, processes

MOST = 2.0


def crowding(weights: int, examples: int) -> float:
    """Factor on the power of a likelihood whose power is automatic: min(2, max(1, sqrt(weights / examples))).

    Weights that are independent a posteriori add up their noise in every sum, the more of it the fewer examples
    there are for a weight, so the crowded network wants a colder posterior. The form of the rule is empirical: the
    best powers were 64 at one weight per example and 128 from 4.5 on (benchmarks/README.md).

    >>> crowding(60_000, 60_000), crowding(135_000, 60_000), crowding(120_000, 640)
    (1.0, 1.5, 2.0)
    """
    return min(MOST, max(1.0, math.sqrt(weights / examples)))


def strength(heard: Listener, weights: int, examples: int, accumulated: int) -> float:
    """By how much a step multiplies the messages that it finds.

    Undoes the averages that Lightning takes over accumulated batches and DDP over processes; does for a likelihood of
    automatic power what that leaves to the optimizer, which knows weights and examples.
    """
    return accumulated * processes() * (crowding(weights, examples) if heard.automatic else 1.0)
