"""ImageGraph: the factors of one image, and iterated inference of its pixels, coefficients, filters and biases.

In the engine's words the image is the output of a generative network whose input are the highest coefficients: `up` leads
towards the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch_gbp.denoise.observation import PixelObservation
from torch_gbp.errors import Diverged, require_positive
from torch_gbp.errors.checks import NOT_NEGATIVE, RATE, require, require_count
from torch_gbp.gaussian import Gaussian
from torch_gbp.inference.damping import Damping, Iteration
from torch_gbp.inference.node import Node, SummedNode
from torch_gbp.inference.schedule import Schedule, Send
from torch_gbp.inference.variable import Variable

GROWTH = 10  # of the energy, as a factor of the first, that counts as diverged


class Denoised(NamedTuple):
    """Belief of the pixels, (channels, h, w), and for every iteration the energy and the largest change of a pixel mean."""

    belief: Gaussian
    energy: list[float]
    change: list[float]


@dataclass(frozen=True)
class PixelsFirst(Schedule):
    """Observations, then the layers 0, 1, ..., L - 1, L - 2, ..., 1 from the pixels on, each both ways at once.

    The two ends come once: layer 0 takes the next message of layer 1 in the next iteration.
    """

    def visits(self, nodes: list[Node], first: bool) -> Iterable[Send]:
        *layers, lowest, pixels = nodes
        order = [*reversed(layers), *layers[1:]]
        ends = pixels.up, lowest.up, pixels.down, lowest.down  # all robust weights at the same belief of the pixels
        return [*ends, *(send for node in order for send in _both_ways(node))]


def _both_ways(node: Node) -> tuple[Send, Send]:
    """What is linearised predicts first; exact messages answer first."""
    return (node.up, node.down) if isinstance(node, SummedNode) else (node.down, node.up)


class ImageGraph:
    """The factor graph of one image: variables and nodes of `torch_gbp.inference`.

    Args:
        pixels: variable of the image, (1, channels, h, w).
        layers: the factors that explain it, from the pixels on.
        observation: what the image says of its pixels.
    """

    def __init__(self, pixels: Variable, layers: Sequence[Node], observation: PixelObservation) -> None:
        observation.connect([pixels.edge()], Variable())
        self.pixels, self.nodes = pixels, [*reversed(layers), observation]

    def infer(self, iterations: int, rate: float, tolerance: float = 0.0, growth: float = GROWTH) -> Denoised:
        """Iterates the messages; rate = 1 - damping.

        Raises:
            Diverged: an energy that is not finite or more than `growth` times the first.
            ImproperMarginal: a pixel that nothing has reached.
        """
        damping, schedule = Damping(1 - rate), PixelsFirst()
        energies: list[float] = []
        changes: list[float] = []
        mean = self.pixels.belief_mean()
        for iteration in range(iterations):
            now = Iteration(damping, iteration)
            for send in schedule.visits(self.nodes, iteration == 0):
                send(now)
            before, mean = mean, self.pixels.belief_mean()
            changes.append(float((mean - before).abs().max()))
            energies.append(self.energy())
            _check_energy(energies, rate, growth)
            if changes[-1] <= tolerance:
                break
        return Denoised(self.belief(), energies, changes)

    def belief(self) -> Gaussian:
        """Belief of the pixels, (channels, h, w)."""
        mean, variance = self.pixels.belief()
        assert variance is not None
        require_positive(variance.reciprocal(), "precision", "pixels that no message has reached yet")
        return Gaussian(mean[0], variance[0])

    def energy(self) -> float:
        """Energy of all factors and priors at the belief means."""
        return self.nodes[0].lower.variable.energy() + sum(node.energy() for node in self.nodes)

    def finish(self) -> None:
        """Hands the beliefs of the filters to the layers, as posterior."""
        for node in self.nodes:
            node.finish()


def check_pace(where: str, iterations: int, rate: float, tolerance: float, fix: str) -> None:
    """Raises InvalidInput for no iterations, a rate that is not in (0, 1], or a negative tolerance."""
    require_count("iterations", iterations, where, fix=fix)
    require("rate", rate, RATE, where, cause="a damping in the place of the rate, which is 1 - damping", fix=fix)
    require("tolerance", tolerance, NOT_NEGATIVE, where, fix=fix)


def _check_energy(energies: list[float], rate: float, growth: float) -> None:
    if not math.isfinite(energies[-1]) or energies[-1] > growth * energies[0]:
        raise Diverged(
            f"inference diverges in iteration {len(energies)}",
            where="the reconstruction layer of Denoiser",
            got=f"energy {energies[0]:.4g} at first, {energies[-1]:.4g} now, damping {1 - rate:.2f}",
            cause="many factors answer at once, and their sum overshoots",
            fix=f"a damping of {1 - rate / 2:.2f} (rate={rate / 2:.3g})",
        )
