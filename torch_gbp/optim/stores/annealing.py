"""A surplus precision that marginals start with, and that is annealed away.

While nothing has been learnt a forward pass carries the prior's own noise, layer upon layer: behind six layers of the default
prior nothing else arrives, the likelihood takes the outputs for noise and its messages are mute. So a marginal starts narrower,

    R = R_sites + ((1 + e)^t - 1) R0        t = max(0, 1 - p / 0.5),  p the share of the passes that is done

where R_sites is what prior and messages say. The surplus is centred on the present mean: it draws the means nowhere, narrows
the belief and damps the steps (as Levenberg's and Marquardt's term does), and leaves no trace behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from torch_gbp.optim.stores.base import State
from torch_gbp.weights.parameter import GaussianParameter

END = 0.5  # share of the passes after which nothing is left
GROWTH = 3  # 1 + e = L^3 for a network of depth L; chosen on held-out digits and MNIST images, see benchmarks/README.md


def begin(marginal: GaussianParameter, state: State, depth: float) -> None:
    """Gives a marginal of a network of depth L the surplus e = max(1, L^3, R_start / R0) - 1, if it has learnt nothing.

    Where no moments are carried nothing drowns, so the start variance alone counts: that of a pretrained network's weights.
    """
    if not (marginal.mean.requires_grad and marginal.fresh()):
        return
    prior, start = float(marginal.floor.mean()), marginal.prior.start_variance
    factor = max(1.0, depth**GROWTH if marginal.moments else 0.0, 0.0 if start is None else 1 / (start * prior))
    if factor > 1:
        state["annealing"] = {"factor": factor, "prior": prior, "surplus": 0.0}
        put(marginal, state, 0.0)


def take(marginal: GaussianParameter, state: State) -> Tensor:
    """R_sites, the precision without the surplus."""
    if "annealing" not in state:
        return marginal.precision
    marginal.surplus = state["annealing"]["surplus"]  # a loaded state brings its own
    return marginal.without_surplus()


def put(marginal: GaussianParameter, state: State, progress: float) -> None:
    """Adds the surplus of this share of the passes to R_sites; forgets it where nothing is left."""
    annealing, left = state["annealing"], max(0.0, 1 - progress / END)
    annealing["surplus"] = (annealing["factor"] ** left - 1) * annealing["prior"]
    marginal.precision.add_(annealing["surplus"])
    marginal.surplus = annealing["surplus"]
    if left == 0:
        del state["annealing"]


@contextmanager
def lifted(marginal: GaussianParameter, state: State) -> Iterator[None]:
    """The marginal without its surplus, which comes back at the end: what prior and messages say, and nothing else."""
    annealing = state.get("annealing", {"surplus": 0.0})
    surplus = annealing["surplus"]
    marginal.precision.copy_(take(marginal, state))
    annealing["surplus"] = marginal.surplus = 0.0
    try:
        yield
    finally:
        marginal.precision.add_(surplus)
        annealing["surplus"] = marginal.surplus = surplus
