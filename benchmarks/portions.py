"""Networks on a part of a data set, for so many passes: the cases of `untuned`, `onepass` and `cost`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from benchmarks import untouched
from benchmarks.contest import trials_of
from benchmarks.results import Request
from benchmarks.tasks import QUICK_EPOCHS, QUICK_PLANS, TASKS, Trial

Source = Callable[[Request, bool], Iterator[Trial]]
"""(call, held_out) -> the trials of another benchmark."""


class Portion(NamedTuple):
    """A network of another benchmark, with fewer examples and passes than there.

    Args:
        title: the data and the network.
        source: the other benchmark's trials.
        net: the network's name there.
        limit: training examples; None for all.
        passes: one trial for each of these numbers.
        search: training examples of a search; None for as many as are left when some are held out.
    """

    title: str
    source: Source
    net: str
    limit: int | None
    passes: tuple[int, ...]
    search: int | None = None

    def trials(self, name: str, request: Request, held_out: bool) -> Iterator[Trial]:
        """A trial for each seed and number of passes, under a name of its own."""
        limit = request.limit or (self.search if held_out else self.limit)
        for trial in self.source(request._replace(net=self.net, limit=limit), held_out):
            for epochs in self.asked(request):
                yield trial._replace(name=name, plan=trial.plan._replace(epochs=epochs))

    def asked(self, request: Request) -> list[int]:
        """The numbers of passes of the call."""
        passes = [request.epochs] if request.epochs else list(self.passes)
        return [min(own, QUICK_EPOCHS) for own in passes[:QUICK_PLANS]] if request.quick else passes


def of_task(name: str, net: str, limit: int | None, passes: tuple[int, ...], search: int | None = None) -> Portion:
    """A network of an image task, without its OOD sets and with the same images for every seed."""
    task = TASKS[name]._replace(ood={}, few=False)
    title = f"{task.title.partition(',')[0]}, {task.nets[net].title}"
    return Portion(title, partial(trials_of, task), net, limit, passes, search)


def of_untouched(net: str, passes: int) -> Portion:
    """A table of scikit-learn, all of its training rows."""
    case = untouched.CASES[net]
    return Portion(f"{case.data}, {case.net.title}", untouched.trials, net, None, (passes,))
