"""Probes: the precision of a weight's message as the variance of the message that a typical target would send.

A target is drawn from the network's own prediction at every output, its score r goes backward in a second vector-Jacobian
product, and what arrives at a weight is squared. With z(w) the outputs, J their Jacobian and F = E[r r'] the Fisher information,

    rho = sum_n J_n' r_n            E[rho^2] = diag of sum_n J_n' F_n J_n

the Gauss-Newton diagonal, exact for shared kernels, skips, normalisation and attention: all that a weight says in an example is
added up before it is squared, and the draws of different examples are independent, so that cross terms vanish.
Source: Gauss-Newton-Bartlett, Liu et al. 2023 (Sophia); the Fisher information by drawn targets, Martens & Grosse 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

import torch
import torch.distributed as dist
from torch import Tensor

from torch_gbp.autograd.sweep import current, processes
from torch_gbp.errors import InvalidInput
from torch_gbp.weights.parameter import GaussianParameter

Scores = Callable[[torch.Generator], Tensor]
"""(generator) -> the scores of drawn targets, as the outputs are shaped."""

EARLY, EVERY = 16, 8  # steps with a probe each, and how often then; the precisions are averages over many steps

_PROBERS: WeakSet[Prober] = WeakSet()
# which probers asked for it, the last of those that are still there being the one that is answered
_ASKED_BY: WeakKeyDictionary[GaussianParameter, list[ref[Prober]]] = WeakKeyDictionary()


class Prober:
    """Sends probes to the marginals of an optimizer, in the steps in which they are due.

    Args:
        seed: of the generator of targets; a process adds its rank.
        every: how many steps share a probe, after the first; 1 where a store keeps what a batch said, and not the average.
    """

    def __init__(self, seed: int, every: int = EVERY) -> None:
        self.marginals: list[GaussianParameter] = []
        self.every, self.due = every, True
        self._seed, self._generators = seed, dict[torch.device, torch.Generator]()
        _PROBERS.add(self)

    def attach(self, marginal: GaussianParameter) -> None:
        """Takes a marginal over from the optimizer before, if there was one."""
        self.marginals.append(marginal)
        _ASKED_BY[marginal] = [*(one for one in _ASKED_BY.get(marginal, []) if one() is not None), ref(self)]

    def asks_for(self, marginal: GaussianParameter) -> bool:
        """Whether probes of the marginal are this prober's: its optimizer is the last that took it, of those that are there."""
        probers = (one() for one in reversed(_ASKED_BY.get(marginal, [])))
        return next((one for one in probers if one is not None), None) is self

    def generator(self, device: torch.device) -> torch.Generator:
        """The generator of targets on a device, where it was left off."""
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]

    def state(self) -> dict[str, Tensor]:
        """States of the generators, by device."""
        return {str(device): generator.get_state() for device, generator in self._generators.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Goes on with the draws where they stood; a device that is not here is left out."""
        for name, value in state.items():
            device = torch.device(name)
            if device.type == "cpu" or torch.cuda.is_available():
                self.generator(device).set_state(value.cpu())

    def wait(self, steps: int) -> None:
        """Sets whether the step after so many sends a probe."""
        self.due = steps < EARLY or steps % self.every == 0

    def probe(self, output: Tensor, scores: Scores, weight: Tensor, moments: bool) -> None:
        """Sends a probe from the outputs through their graph, which stays for the ordinary backward pass.

        Args:
            weight: the factor on the loss, by which the precision counts.
            moments: to the marginals of layers that can carry moments too.

        Raises:
            InvalidInput: a graph that cannot be walked a second time.
        """
        reached = [own for own in self.marginals if own.mean.requires_grad and self.asks_for(own)]
        reached = [own for own in reached if moments or not own.moments]
        if not reached:
            return
        generator = self.generator(output.device)
        before = generator.get_state()
        drawn, means, sweep = scores(generator), [own.mean for own in reached], current()
        try:
            found = torch.autograd.grad(output, means, drawn, retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            raise _explained(error) from error
        if not any(score is not None for score in found):
            generator.set_state(before)  # another network's outputs: its draws are not this optimizer's
        for own, score in zip(reached, found, strict=True):
            if score is not None:
                own.probe(score, weight, sweep)


def attached() -> list[GaussianParameter]:
    """The marginals of all optimizers that are there, each with the last that took it."""
    return [own for prober in _PROBERS for own in prober.marginals if prober.asks_for(own)]


def due() -> list[Prober]:
    """Those whose next step wants a probe."""
    return [prober for prober in _PROBERS if prober.due]


def gather(marginals: Sequence[GaussianParameter]) -> None:
    """Averages over the processes of torch.distributed what came to marginals beside the gradients: one collective."""
    if processes() == 1:
        return
    direct = [part for own in marginals if own.direct is not None for part in own.direct]
    parts = direct + [own.rho for own in marginals if own.rho is not None]
    if parts:
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        shares = [1 / processes()] * len(direct) + [processes() ** -0.5] * (len(parts) - len(direct))  # rho^2 is the average
        for part, share, total in zip(parts, shares, flat.split([part.numel() for part in parts]), strict=True):
            part.copy_(total.view_as(part) * share)


def _explained(error: RuntimeError) -> Any:
    """The named error for what keeps a graph from being walked twice, or the error itself."""
    text = str(error)
    for sign, (cause, fix) in _OBSTACLES.items():
        if sign in text:
            what = "the network's graph cannot be walked a second time, for the probe"
            return InvalidInput(what, where="loss.backward()", got=text.splitlines()[0][:160], cause=cause, fix=fix)
    return error


_OBSTACLES = {
    "modified by an inplace operation": (
        "an operation in place on a tensor that the backward pass needs",
        "use the operation that makes a new tensor, e.g. nn.ReLU() in place of nn.ReLU(inplace=True), or x = x + y",
    ),
    "donated buffer": (
        "a network compiled before the optimizer was made",
        "make the optimizer first, or set torch._functorch.config.donated_buffer = False",
    ),
    "not compatible with .grad()": ("reentrant activation checkpointing", "use checkpoint(..., use_reentrant=False)"),
}
