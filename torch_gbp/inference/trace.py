"""Trace: what an iterated inference went through, and whether it diverges."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch_gbp.errors import Diverged
from torch_gbp.inference.damping import Damping

GROWTH = 1e5  # energy above the lowest so far, as a factor, that counts as diverged; 3e3 was seen to come down again


class Trace(NamedTuple):
    """What an inference went through: iterations, and at those that were checked energy and largest relative change."""

    iterations: int
    checked: list[int]
    energies: list[float]
    changes: list[float]

    def add(self, energies: dict[str, float], change: float, examples: int, damping: Damping) -> None:
        """Notes the energies by layer and the largest change, after the iteration that `iterations` tells.

        Raises:
            Diverged: an energy that is not finite, or far above the lowest so far and one of 1 per example.
        """
        energy = sum(energies.values())
        lowest = min((abs(known) for known in self.energies), default=math.inf)
        if not math.isfinite(energy) or energy > GROWTH * max(lowest, examples):
            raise diverged(self.iterations, energies, damping)
        self.checked.append(self.iterations)
        self.energies.append(energy)
        self.changes.append(change)


def diverged(iteration: int, energies: dict[str, float], damping: Damping) -> Diverged:
    """The error of an inference that ran away, with the layer of the largest energy and the damping to try."""
    worst = next(
        (name for name, energy in energies.items() if not math.isfinite(energy)), max(energies, key=energies.__getitem__)
    )
    messages, weights = (1 - (1 - share) / 2 for share in (damping.messages, damping.of_weights))
    first = damping.undamped_first and damping.messages > 0  # seen to be the cause where stronger damping did not help
    gentle = f"damp the first messages too, damping=Damping({damping.messages:g}), else " if first else ""
    return Diverged(
        f"the energy diverged in iteration {iteration}, most of it in layer {worst}",
        where="FactorGraph",
        got=f"energy {sum(energies.values()):.4g}",
        cause="messages of many examples that answer at once and overshoot",
        fix=f'{gentle}use damping {messages:.3g} (weights {weights:.3g}), covariance="full" in linear layers, or smaller batches',
    )
