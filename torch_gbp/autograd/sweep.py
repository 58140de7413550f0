"""What a backward sweep carries besides messages: how many examples spoke, and their log evidence.

A likelihood announces this as its backward starts; an optimizer's listener hears it when the sweep reaches
its parameters, in the same thread of the same backward call. So the optimizer knows the size of the
batch without being told, whatever the network did to the batch axis in between, and the likelihood is told
when a step takes the sweep's messages, which is when it may learn from them itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from weakref import WeakSet

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from torch_gbp.errors import InvalidInput
from torch_gbp.weights.parameter import GaussianParameter, owner_of

MStep = Callable[[bool, float], None]
"""(whether the marginals had seen the examples before, the sweep's share of the data in this process) -> None."""


class Total(NamedTuple):
    """The examples of a step: their number and their log p(y), a scalar, over all processes."""

    examples: int
    log_evidence: Tensor


class Outcome(NamedTuple):
    """What a likelihood said of the batch: targets, log evidence of each (n,), and that of other targets (n,)."""

    target: Tensor
    each: Tensor
    evidence_of: Callable[[Tensor], Tensor]


class Asking(Protocol):
    """What a likelihood asks of the step that takes its messages (`torch_gbp.likelihoods.Likelihood`)."""

    automatic: bool  # it leaves it to the optimizer to raise its power (optim/message_weight.py)
    hold: float  # share of the passes before which it learns nothing
    steady: bool  # its curvature does not fall as the fit gets better

    def rate_factor(self, batches: float, layers: int) -> float:
        """Factor on the store's own rate, with so many batches in a pass, and layers with weights."""
        ...


@dataclass(eq=False, slots=True)
class Sweep:
    """One likelihood's part of a backward sweep (compared by identity)."""

    examples: int
    log_evidence: Tensor
    likelihood: Asking | None = None
    power: float = 1.0  # what its messages are to be multiplied by
    means: bool = False  # whether the outputs were plain tensors
    outcome: Outcome | None = None  # for the watch over the run (optim/monitor.py)
    learn: MStep | None = None  # what the likelihood does at a step
    factor: Tensor | None = None  # on the loss, known once its backward has started
    spent: bool = False  # True once a step used it, or nobody wanted it: a later backward of another loss is no sweep


_current: Any = threading.local()
_LISTENERS: Any = WeakIdKeyDictionary()  # parameter -> its listeners; one hook tells all of them, however many there were


def announce(sweep: Sweep) -> None:
    """Called by a likelihood as its backward starts."""
    sweep.spent = False
    _current.sweep = sweep


def current() -> Sweep | None:
    """The last sweep whose backward has started, in this thread."""
    return getattr(_current, "sweep", None)


def _hear(parameter: Tensor) -> None:
    """The hook on a parameter that just got its gradient."""
    sweep, owner = current(), owner_of(parameter)
    if owner is not None:
        owner.hear(parameter, sweep)
    for listener in _LISTENERS.get(parameter, ()) if sweep is not None else ():
        listener.hear(sweep)


class Listener:
    """Collects, until cleared, the sweeps that bring messages to the parameters it is attached to."""

    def __init__(self) -> None:
        self.sweeps: list[Sweep] = []
        self.m_step: Callable[[float], None] | None = None  # share of the data -> None, in place of the sweeps' own

    def attach(self, marginal: GaussianParameter) -> None:
        """Listens to one more marginal; weakly, so that parameters keep no discarded listener alive."""
        for parameter in marginal.halves.values():
            if parameter not in _LISTENERS:
                _LISTENERS[parameter] = WeakSet()
                wanted = parameter.requires_grad
                parameter.requires_grad_(True)  # torch takes no hook on a frozen parameter, which may thaw later
                parameter.register_post_accumulate_grad_hook(_hear)
                parameter.requires_grad_(wanted)
            _LISTENERS[parameter].add(self)

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
            if sweep.learn is not None and (sweep.likelihood is None or progress >= sweep.likelihood.hold):
                sweep.learn(seen, sweep.examples / num_data)

    def hear(self, sweep: Sweep) -> None:
        """A sweep has reached one of the parameters."""
        if not sweep.spent and sweep not in self.sweeps:
            self.sweeps.append(sweep)

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
        return min((asking.rate_factor(batches, layers) for asking in self._asking if asking is not None), default=1.0)

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
        return all(asking is not None and asking.steady for asking in self._asking)

    @property
    def automatic(self) -> bool:
        """Whether all of them leave their power to the optimizer."""
        return all(asking is not None and asking.automatic for asking in self._asking)

    @property
    def _asking(self) -> list[Asking | None]:
        return [sweep.likelihood for sweep in self.sweeps]


def rank() -> int:
    """Which of the processes this is."""
    return dist.get_rank() if processes() > 1 else 0


def processes() -> int:
    """How many processes torch.distributed joins in one step."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
