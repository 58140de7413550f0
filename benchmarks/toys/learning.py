"""One batch, learned by summed messages or by exact ones: the same network, data and start for both methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.toys.exact import Observe, adopt, scalar_graph

START = 0.1  # deviation of the weights where the factors are linearised first
QUICK_ITERATIONS = 20


class Toy(NamedTuple):
    """Data (n, i), targets, what the targets say about the outputs (to either method), and the network."""

    x: Tensor
    y: Tensor
    likelihood: gbp.Likelihood
    observe: Observe
    network: nn.Sequential


class Pacing(NamedTuple):
    """Iterations, and the damping and dropout of the messages in each."""

    iterations: int
    damping: float
    weight_damping: float | None = None
    dropout: float = 0.0


def layer(i: int, o: int, seed: int, prior: gbp.Prior, noise: gbp.GBPNoise, *bend: nn.Module) -> nn.Sequential:
    """A linear layer in float64 with random weights, prior means 0; an activation, if there is one, and noise."""
    made = gbp.GBPLinear(i, o, covariance="diagonal", prior=prior, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        made.weight.mean.copy_(START * torch.randn(o, i, generator=generator, dtype=torch.float64))
    return nn.Sequential(made, *bend, noise)


def learn(method: str, toy: Toy, pacing: Pacing, seed: int, quick: bool) -> float:
    """Puts the posterior means into the network; seconds of the processor."""
    torch.manual_seed(seed)  # of the dropout
    started = time.process_time()
    METHODS[method](toy, pacing._replace(iterations=QUICK_ITERATIONS) if quick else pacing)
    return time.process_time() - started


def _summed(toy: Toy, pacing: Pacing) -> None:
    propagate = gbp.MessagePassing(toy.network.parameters(), num_data=len(toy.x), store=gbp.Filtering(), epochs=None)
    damping, count = gbp.Damping(pacing.damping, pacing.weight_damping, pacing.dropout), pacing.iterations
    inference = gbp.Inference(count, damping=damping, schedule=gbp.LayerSweeps(), check=count, approximation="linearised")
    inference(toy.network, toy.likelihood, propagate, toy.x, toy.y)


def _exact(toy: Toy, pacing: Pacing) -> None:
    graph, places = scalar_graph(toy.network, toy.x, toy.observe)
    graph.infer(pacing.iterations, pacing.damping, pacing.dropout)
    adopt(toy.network, graph, places)


METHODS: dict[str, Callable[[Toy, Pacing], None]] = {"graph_exact": _exact, "graph": _summed}
TITLES = {"graph_exact": "exact messages", "graph": "summed messages"}
