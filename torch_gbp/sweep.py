"""What a backward sweep carries besides messages: how many examples spoke, and their log evidence.

A likelihood announces this as its backward starts; an optimizer's listener hears it when the sweep reaches
its parameters, in the same thread of the same backward call. So the optimizer knows the size of the
batch without being told, whatever the network did to the batch axis in between, and the likelihood is told
when a step takes the sweep's messages, which is when it may learn from them itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from weakref import ref

import torch.distributed as dist
from torch import Tensor

Lesson = Callable[[bool, float], None]
"""(whether the marginals had seen the examples before, the sweep's share of the data) -> None."""


class Sweep:
    """One likelihood's part of a backward sweep (compared by identity)."""

    __slots__ = ("automatic", "examples", "learn", "log_evidence", "spent")

    def __init__(self, examples: int, log_evidence: Tensor, automatic: bool = False, learn: Lesson | None = None) -> None:
        self.examples, self.log_evidence = examples, log_evidence
        self.learn = learn  # what the likelihood does at a step
        self.automatic = automatic  # the likelihood leaves it to the optimizer to raise its power (crowding.py)
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
        self.lesson: Callable[[float], None] | None = None  # share of the data -> None, in place of the sweeps' own

    def attach(self, parameter: Tensor) -> None:
        """Listens to one more parameter; weakly, so that parameters keep no discarded listener alive."""
        me = ref(self)

        def hear(_: Tensor) -> None:
            listener, sweep = me(), getattr(_current, "sweep", None)
            if listener is not None and sweep is not None and not sweep.spent and sweep not in listener.sweeps:
                listener.sweeps.append(sweep)

        wanted = parameter.requires_grad
        parameter.requires_grad_(True)  # torch takes no hook on a frozen parameter, which may thaw later
        parameter.register_post_accumulate_grad_hook(hear)
        parameter.requires_grad_(wanted)

    def clear(self) -> None:
        for sweep in self.sweeps:
            sweep.spent = True
        self.sweeps.clear()
        self.lesson = None

    def learn(self, seen: bool, share: float) -> None:
        """Lets the likelihoods learn from all of them, each from its part of `share`, unless there is another lesson."""
        if self.lesson is not None:
            self.lesson(share)
        for sweep in self.sweeps if self.lesson is None else ():
            if sweep.learn is not None:
                sweep.learn(seen, share * sweep.examples / self.examples)

    @property
    def examples(self) -> int:
        """How many examples spoke."""
        return sum(sweep.examples for sweep in self.sweeps)

    @property
    def automatic(self) -> bool:
        """Whether all of them leave their power to the optimizer."""
        return all(sweep.automatic for sweep in self.sweeps)

    @property
    def log_evidence(self) -> float:
        """log p(y) of all of them together."""
        return sum(float(sweep.log_evidence) for sweep in self.sweeps)


def processes() -> int:
    """How many processes torch.distributed joins in one step."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
