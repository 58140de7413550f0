"""ImageGraph: the factors of one image, and iterated inference of its pixels, coefficients, filters and biases.

In the engine's words the image is the output of a generative network whose input are the highest coefficients: `up` leads
towards the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from torch_gbp.denoise.observation import PixelObservation
from torch_gbp.denoise.reconstruction import Reconstruction
from torch_gbp.denoise.stack import Stack
from torch_gbp.errors import Diverged
from torch_gbp.errors.checks import NOT_NEGATIVE, RATE, require, require_count
from torch_gbp.gaussian import Gaussian
from torch_gbp.inference.damping import Damping, Iteration
from torch_gbp.inference.node import Node, SummedNode
from torch_gbp.inference.schedule import Schedule, Send
from torch_gbp.inference.variable import Variable

BLOWN_UP = 10  # times the first energy


class Denoised(NamedTuple):
    """Belief of the pixels, (channels, h, w), and for every iteration the energy and the largest change of a pixel mean."""

    belief: Gaussian
    energy: list[float]
    change: list[float]


@dataclass(frozen=True)
class PixelsFirst(Schedule):
    """Observations, then the layers 0, 1, ..., L - 1, L - 2, ..., 1 from the pixels on, each both ways at once.

    The two ends come once: what layer 0 would hear again, it hears in the next iteration.
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
        layer: a reconstruction, or a stack.
        observation: what the image says of its pixels.
        generator: of the coefficients' random first means.
    """

    def __init__(
        self, layer: Reconstruction | Stack, observation: PixelObservation, generator: torch.Generator | None = None
    ) -> None:
        start = observation.start()[None]
        self.pixels = Variable()
        self.pixels.predict(start, torch.ones_like(start))  # the first linearisation; the lowest layer's message replaces it
        observation.connect([self.pixels.edge()], Variable())
        layers = layer.nodes(self.pixels, start.shape[2], start.shape[3], generator)
        self.nodes: list[Node] = [*reversed(layers), observation]

    def infer(self, iterations: int, rate: float, tolerance: float = 0.0) -> Denoised:
        """Iterates the messages; rate = 1 - damping.

        Raises:
            Diverged: an energy that is not finite or grows.
        """
        check_pace("Denoiser", iterations, rate, tolerance, fix="take iterations=300, rate=0.1 and tolerance=0.0")
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
            _check_energy(energies, iteration, rate)
            if changes[-1] <= tolerance:
                break
        return Denoised(self.belief(), energies, changes)

    def belief(self) -> Gaussian:
        """Belief of the pixels, (channels, h, w)."""
        mean, variance = self.pixels.belief()
        assert variance is not None
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


def _check_energy(energies: list[float], iteration: int, rate: float) -> None:
    if not math.isfinite(energies[-1]) or energies[-1] > BLOWN_UP * energies[0]:
        raise Diverged(
            f"inference diverges in iteration {iteration + 1}",
            where="the reconstruction layer of Denoiser",
            got=f"energy {energies[0]:.4g} at first, {energies[-1]:.4g} now, damping {1 - rate:.2f}",
            cause="many factors answer at once, and their sum overshoots",
            fix=f"a damping of {1 - rate / 2:.2f} (rate={rate / 2:.3g})",
        )
