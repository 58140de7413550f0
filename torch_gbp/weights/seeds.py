"""Seeds of the library's own random numbers, which follow from torch's and leave torch's own as they were."""

from __future__ import annotations

import torch

PREDICTING = 0x9E3779B9  # far from the numbers of processes; of 32 bits, as torch's CPU generator looks at no more


def own_seed(stream: int) -> int:
    """A seed that follows from torch's and the number of the stream: a process that probes, or `PREDICTING`.

    torch's own seed would draw the numbers once more that the weights began with. Source of the multiplier: Knuth's linear
    congruential generator MMIX; neighbouring seeds give unrelated streams.

    >>> _ = torch.manual_seed(0)
    >>> len({own_seed(0), own_seed(1), own_seed(PREDICTING), 0})
    4
    """
    return ((torch.initial_seed() + stream) * 6364136223846793005 + 1442695040888963407) % 2**63
