"""PlainParameters: the torch optimizer of the parameters that have no marginal, under the schedule of the marginals' own.

Gains, shifts, biases, positions are few, all examples speak to them, and as Gaussians they were worse (benchmarks/README.md).
They are trained by the loss's gradient, in the same steps; at a higher rate in short runs (`schedule.longer`), unless the
optimizer is the user's own.

Where BatchNorm follows, the length of an output's weights says nothing, and their prior, which pulls it to 0, no longer what it
was meant to say: it is the gain that scales the output. So where the library's own optimizer trains a network from its start,
gains and shifts of BatchNorm and InstanceNorm decay, as AdamW's parameters do (Loshchilov & Hutter 2019), a their rate:

    p <- p (1 - .1 a (2 - c) min(1, W))    c the crowding, W the number of weights for an example (`stores/bounded.py`)

LayerNorm leaves the lengths of one output's weights beside another's; a decay of its gains was worse (benchmarks/TUNING.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from torch_gbp import foreach
from torch_gbp.errors import ImproperMarginal, InvalidInput
from torch_gbp.optim.schedule import stretched, warmup_cosine
from torch_gbp.optim.settings import GAINS, PLAIN, START
from torch_gbp.optim.stores import Run
from torch_gbp.weights.held_prior import Start

RATE = 3e-3  # of AdamW, at its peak
DECAY = 0.1  # of gains and shifts, times the rate


class PlainParameters:
    """A torch optimizer whose rates rise and fall with the passes: lr x `warmup_cosine` down to 0, as no averages are taken.

    Args:
        optimizer: over parameters without marginals; its rates now are the peak rates. None where there are no such parameters.
    """

    def __init__(self, optimizer: Optimizer | None) -> None:
        if not (optimizer is None or isinstance(optimizer, Optimizer)):
            raise InvalidInput(
                "plain parameters need a torch optimizer",
                where="MessagePassing",
                got=type(optimizer).__name__,
                fix="pass e.g. torch.optim.AdamW(parameters, 3e-3)",
            )
        self.optimizer = optimizer
        self._peak: float | None = None  # rate of the marginals before any scheduler: a scheduled one is a share of it
        for group in self._groups:
            group.setdefault("initial_lr", group["lr"])

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return [] if self.optimizer is None else self.optimizer.param_groups

    def begin(self, rate: float, anew: bool) -> None:
        """A run begins with this rate of the marginals, which one before may have had already, unless it is `anew`."""
        self._peak = rate if anew or self._peak is None else self._peak

    def zero_grad(self, set_to_none: bool) -> None:
        """As torch's."""
        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none)

    def restart(self) -> None:
        """Forgets what the optimizer remembers of its steps."""
        if self.optimizer is not None:
            self.optimizer.state.clear()

    def state(self) -> dict[str, Any]:
        """The optimizer's state, under the name that a saved state has it by."""
        return {} if self.optimizer is None else {PLAIN: self.optimizer.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave, which `require_same_parts` has checked."""
        if self.optimizer is not None:
            self.optimizer.load_state_dict(deepcopy(state[PLAIN]))

    def check(self) -> None:
        """Raises ImproperMarginal for gradients that are not finite, before any parameter is written to."""
        gradients = [p.grad for group in self._groups for p in group["params"] if p.grad is not None]
        if gradients and not bool(torch.stack(foreach.norm(gradients)).isfinite().all()):
            bad = sum(int((~gradient.isfinite()).sum()) for gradient in gradients)
            if bad:
                raise ImproperMarginal(
                    f"{bad} gradients of plain parameters are NaN or Inf",
                    where="MessagePassing.step",
                    cause="activations that overflowed",
                    fix="lower lr, or standardise the inputs; everything is as before the step",
                )

    def step(self, group: dict[str, Any], before: float, run: Run) -> None:
        """One step of a run, which takes the passes of the message-passing `group` from the share `before` to its progress.

        A scheduler of that group acts here, too. Without passes the rates of a user's own optimizer are the user's affair.
        """
        if self.optimizer is None:
            return
        scheduled = float(group["lr"]) / (self._peak or 1.0)
        factor = scheduled * (1.0 if group["epochs"] is None else warmup_cosine(before, run.progress, group["warmup"], 0.0))
        steps = 1 / (run.progress - before) if run.progress > before else math.inf
        decay = DECAY * (2 - run.crowding) * min(1.0, run.weights)
        for own in self._groups:
            start = Start(own.get(START, Start.KNOWN))
            if START in own or group["epochs"] is not None:
                own["lr"] = own["initial_lr"] * factor * stretched(steps, run.depth, start)
            if start is Start.NEW:
                _decay((own["params"][i] for i in own.get(GAINS, ())), own["lr"] * decay)
        self.optimizer.step()


@torch.no_grad()
def _decay(parameters: Iterable[Tensor], share: float) -> None:
    reached = [parameter for parameter in parameters if parameter.grad is not None]  # as AdamW, which leaves the others alone
    if reached:
        foreach.mul_(reached, 1 - share)
