"""What a backward sweep carries besides messages: how many examples spoke, and their log evidence.

A likelihood announces this as its backward starts; an optimizer's listener hears it when the sweep reaches
its parameters, in the same thread of the same backward call. So the optimizer knows the size of the
batch without being told, whatever the network did to the batch axis in between, and the likelihood is told
when a step takes the sweep's messages, which is when it may learn from them itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import ref

import torch
import torch.distributed as dist
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.weights.parameter import GaussianParameter, owner_of

MStep = Callable[[bool, float], None]
"""(whether the marginals had seen the examples before, the sweep's share of the data in this process) -> None."""


class Total(NamedTuple):
    """What a step takes in: number of examples and their log p(y), a scalar, over all processes."""

    examples: int
    log_evidence: Tensor


class Outcome(NamedTuple):
    """What a likelihood said of the batch: targets, log evidence of each (n,), and that of other targets (n,)."""

    target: Tensor
    each: Tensor
    evidence_of: Callable[[Tensor], Tensor]


class Sweep:
    """One likelihood's part of a backward sweep (compared by identity)."""

    __slots__ = (
        "automatic",
        "examples",
        "factor",
        "hold",
        "learn",
        "log_evidence",
        "means",
        "outcome",
        "power",
        "rate_factor",
        "spent",
        "steady",
    )

    def __init__(
        self,
        examples: int,
        log_evidence: Tensor,
        automatic: bool = False,
        learn: MStep | None = None,
        hold: float = 0.0,
        rate_factor: Callable[[float, int], float] | None = None,
        outcome: Outcome | None = None,
        power: float = 1.0,
        means: bool = False,
        steady: bool = False,
    ) -> None:
        self.examples, self.log_evidence = examples, log_evidence
        self.learn, self.hold = learn, hold  # what the likelihood does at a step, and after which share of the passes
        self.rate_factor = rate_factor  # (batches in a pass, layers) -> factor on the store's own rate
        self.outcome = outcome  # for the watch over the run (optim/monitor.py)
        self.power, self.means = power, means  # what its messages are to be multiplied by; whether the outputs were plain tensors
        self.steady = steady  # the likelihood's curvature does not fall as the fit gets better
        self.automatic = automatic  # the likelihood leaves it to the optimizer to raise its power (optim/message_weight.py)
        self.factor: Tensor | None = None  # on the loss, known once its backward has started
        self.spent = False  # True once a step used it, or nobody wanted it: a later backward of another loss is no sweep


_current: Any = threading.local()


def announce(sweep: Sweep) -> None:
    """Called by a likelihood as its backward starts."""
    sweep.spent = False
    _current.sweep = sweep


class Listener:
    """Collects, until cleared, the sweeps that bring messages to the parameters it is attached to."""

    def __init__(self) -> None:
        self.sweeps: list[Sweep] = []
        self.m_step: Callable[[float], None] | None = None  # share of the data -> None, in place of the sweeps' own

    def attach(self, marginal: GaussianParameter) -> None:
        """Listens to one more marginal; weakly, so that parameters keep no discarded listener alive."""
        me = ref(self)

        def hear(parameter: Tensor) -> None:
            listener, sweep, owner = me(), getattr(_current, "sweep", None), owner_of(parameter)
            if owner is not None:
                owner.hear(parameter)
            if listener is not None and sweep is not None and not sweep.spent and sweep not in listener.sweeps:
                listener.sweeps.append(sweep)

        for parameter in marginal.halves.values():
            wanted = parameter.requires_grad
            parameter.requires_grad_(True)  # torch takes no hook on a frozen parameter, which may thaw later
            parameter.register_post_accumulate_grad_hook(hear)
            parameter.requires_grad_(wanted)

    def clear(self) -> None:
        for sweep in self.sweeps:
            sweep.spent = True
        self.sweeps.clear()
        self.m_step = None

    def learn(self, seen: bool, num_data: int, progress: float) -> None:
        """Lets the likelihoods learn from all of them, each by its share of the data, unless there is another m_step."""
        if self.m_step is not None:
            self.m_step(self.examples / num_data)
        for sweep in self.sweeps if self.m_step is None else ():
            if sweep.learn is not None and progress >= sweep.hold:
                sweep.learn(seen, sweep.examples / num_data)

    @property
    def examples(self) -> int:
        """How many examples spoke in this process."""
        return sum(sweep.examples for sweep in self.sweeps)

    def total(self, device: torch.device) -> Total:
        """What all of them say together, those of other processes included: one collective of two numbers."""
        evidence = sum((sweep.log_evidence.detach().to(device) for sweep in self.sweeps), torch.zeros((), device=device))
        if processes() == 1:
            return Total(self.examples, evidence)
        numbers = torch.stack([evidence.double(), torch.full_like(evidence, self.examples, dtype=torch.double)])
        dist.all_reduce(numbers)
        return Total(int(numbers[1]), numbers[0])

    def rate_factor(self, batches: float, layers: int) -> float:
        """The smallest of their factors on the store's own rate, with so many batches in a pass, and layers with weights."""
        return min((sweep.rate_factor(batches, layers) for sweep in self.sweeps if sweep.rate_factor is not None), default=1.0)

    @property
    def power(self) -> float:
        """The likelihoods' power.

        Raises:
            InvalidInput: two of them count their examples differently, which one sum of messages cannot.
        """
        powers = {sweep.power for sweep in self.sweeps}
        if len(powers) > 1:
            raise InvalidInput(
                "the likelihoods of a step have different powers",
                where="MessagePassing.step",
                got=", ".join(f"{power:g}" for power in sorted(powers)),
                cause="two losses in one step",
                fix="give both the same power, e.g. power=1",
            )
        return powers.pop() if powers else 1.0

    @property
    def means(self) -> bool:
        """Whether any of the sweeps was one of the means."""
        return any(sweep.means for sweep in self.sweeps)

    @property
    def steady(self) -> bool:
        """Whether none of the likelihoods loses curvature as the fit gets better."""
        return all(sweep.steady for sweep in self.sweeps)

    @property
    def automatic(self) -> bool:
        """Whether all of them leave their power to the optimizer."""
        return all(sweep.automatic for sweep in self.sweeps)


def rank() -> int:
    """Which of the processes this is."""
    return dist.get_rank() if processes() > 1 else 0


def processes() -> int:
    """How many processes torch.distributed joins in one step."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
