"""The rate of a step: linear warm-up, then a cosine, by the share of the passes already done."""

import math

FINAL_RATE = 0.025  # of the peak rate, where the cosine ends


def warmup_cosine(before: float, after: float, warmup: float) -> float:
    """Factor on the peak rate for the step that takes the progress from `before` to `after` (shares of 1).

    min(1, after / warmup) * (f + (1 - f) (1 + cos(pi before)) / 2), f = 0.025. The rise keeps the first pass from
    overshooting while the precisions are still the prior's.

    >>> warmup_cosine(0.0, 0.1, warmup=0.2), round(warmup_cosine(1.0, 1.0, warmup=0.2), 4)
    (0.5, 0.025)
    """
    rise = min(1.0, after / warmup) if warmup else 1.0
    return rise * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, before))))
