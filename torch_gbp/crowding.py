"""How much more an example counts where there are more weights than examples."""

import math

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
