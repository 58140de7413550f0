"""Inference: how the messages of one batch are iterated before they enter the weight marginals.

A visit to a batch is one or more iterations of its messages, by a schedule (`schedule.py`), and one step of the optimizer, which
lets the last messages in at its rate. The plain loop is the visit of one iteration. A likelihood that learns does so at the
step, from outputs that know the batch's targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from torch_gbp.autograd.passes import linearised_sweep
from torch_gbp.autograd.sweep import Sweep
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import NOT_NEGATIVE, RATE, require, require_callable, require_count, require_kind
from torch_gbp.errors.renamed import renamed
from torch_gbp.inference.batch import Batch
from torch_gbp.inference.build import require_approximation
from torch_gbp.inference.damping import Damping, Iteration
from torch_gbp.inference.exact import ExactBuilder, ExampleWeights
from torch_gbp.inference.graph import FactorGraph
from torch_gbp.inference.schedule import AllAtOnce, ExampleByExample, Schedule
from torch_gbp.inference.trace import Trace
from torch_gbp.likelihoods import Likelihood
from torch_gbp.memory import require_memory
from torch_gbp.optim.message_passing import MessagePassing
from torch_gbp.optim.monitor import warn_of_loss
from torch_gbp.optim.stores.batch_sites import memory_of_sites
from torch_gbp.weights.parameter import GaussianParameter

DAMPED = 0.9  # damping to advise where there is none
SETTLED, LEFT = 8, 0.1  # iterations after which messages may be judged, and the share of the first ones that may be left in them


@dataclass
class Inference:
    """How a visit to a batch goes: iterations, rate, damping, schedule.

    Args:
        iterations: of the messages in a visit; a sequence has one number for each pass, the last for all that follow.
        rate: pass (1, 2, ...) -> rate at which the visit's messages enter the store; None leaves it to the optimizer.
        damping: share of the old message that is kept from one iteration to the next, in [0, 1); or `Damping`. With a number
            the first messages of a batch are undamped in `AllAtOnce`, and damped towards silence in the other schedules.
        schedule: AllAtOnce(), LayerSweeps(), RandomLayers() or ExampleByExample().
        tolerance: a visit ends where every message changes by less than this share of its largest entry; 0 for never.
        check: energy and changes are looked at every so many iterations.
        approximation: of products and activations: "moments", matched, or "linearised", to first order at the means
            (`linearised_sweep` predicts so).
        exchange: as in `FactorGraph`.

    `inference(model, likelihood, propagate, x, y)` takes the place of zero_grad, sweep and step in a loop, inside
    `propagate.visit` where the store has fixed batches; `x` is a tuple where the network takes several inputs. A failure in the
    middle leaves the marginals as they were. `trace` tells of the last batch, None after a single iteration.

    One iteration of a schedule but `ExampleByExample` is the plain loop's sweep. More of them raise the likelihood itself to its
    power, so that linear factors end at the mean of the tempered posterior. Weights that are frozen are then known at their
    means. All schedules of summed messages have the same fixed points.

    Warns:
        NotLearning: (stores with cavities) the batch's targets are explained worse after iterations that should have settled.

    Raises:
        InvalidInput: iterations that are no integers of at least 1, damping out of range, a rate that is no function, or (when
            it is called) one that gives no number in (0, 1]; plain parameters, which iterated messages do not train.

    >>> import torch
    >>> import torch_gbp as gbp
    >>> model, likelihood = gbp.GBPLinear(2, 1).double(), gbp.Regression(0.1)
    >>> propagate = MessagePassing(model.parameters(), num_data=3, store=gbp.BatchSites(), epochs=None)
    >>> x, y = torch.ones(3, 2).double(), torch.ones(3, 1).double()
    >>> inference = Inference(iterations=(1, 1, 2, 2), rate=thesis_rate, schedule=gbp.ExampleByExample())
    >>> for epoch in range(1, 5):
    ...     with propagate.visit(0, x, y):
    ...         loss = inference(model, likelihood, propagate, x, y, epoch)
    """

    iterations: int | Sequence[int] = 1
    rate: Callable[[int], float] | None = None
    damping: float | Damping = 0.0
    schedule: Schedule = field(default_factory=AllAtOnce)
    tolerance: float = 0.0
    check: int = 8
    approximation: str = "moments"
    exchange: bool = True
    trace: Trace | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fix = "use iterations=1, or one number for each pass"
        several = isinstance(self.iterations, Sequence) and not isinstance(self.iterations, str) and len(self.iterations) > 0
        for count in self.iterations if several else (self.iterations,):  # type: ignore[union-attr]
            require_count("iterations", count, "Inference", fix=fix)
        require_kind("schedule", self.schedule, Schedule, "Inference", fix="use AllAtOnce()")
        self.damping = Damping.of(self.damping, self.schedule.undamped_first)
        self.tolerance = require("tolerance", self.tolerance, NOT_NEGATIVE, "Inference", fix="use 0.0 for never")
        self.check = require_count("check", self.check, "Inference", fix="use 8")
        require_approximation(self.approximation, "Inference")
        if self.rate is not None:
            require_callable("rate", self.rate, "Inference", fix="use rate=lambda epoch: 0.5")

    def __call__(
        self, model: nn.Module, likelihood: Likelihood, propagate: MessagePassing, x: Tensor, y: Tensor, epoch: int = 1
    ) -> Tensor:
        """All iterations of one visit and the step; returns -log evidence of the batch in the last one."""
        if self.rate is not None:
            propagate.set_rate(require("rate", self.rate(epoch), RATE, "Inference", fix="return a number such as 0.5"))
        batch, count, self.trace = Batch(model, likelihood, propagate, x, y), self.sweeps(epoch), None
        if isinstance(self.schedule, ExampleByExample):
            loss = self._example_by_example(batch, count)
        else:
            loss = self._sweep(batch) if count == 1 else self._iterate(batch, count)
        propagate.step()
        return loss

    def sweeps(self, epoch: int) -> int:
        """Iterations of a visit in pass 1, 2, ...

        >>> [Inference(iterations=(1, 1, 2)).sweeps(epoch) for epoch in (1, 2, 3, 4)]
        [1, 1, 2, 2]
        """
        if not isinstance(self.iterations, Sequence):
            return self.iterations
        epoch = require_count("epoch", epoch, "Inference", fix="count passes from 1")
        return self.iterations[min(epoch, len(self.iterations)) - 1]

    def _sweep(self, batch: Batch) -> Tensor:
        """The plain loop's sweep."""
        batch.propagate.zero_grad()
        y, known = batch.labelled() if self.schedule.unlabelled else (batch.y, None)
        with self._approximated():
            loss = batch.likelihood(batch.output(), y, known)
        loss.backward()
        return loss.detach()

    def _iterate(self, batch: Batch, iterations: int) -> Tensor:
        """Summed messages on the graph of the batch."""
        y, known = batch.labelled() if self.schedule.unlabelled else (batch.y, None)
        likelihood = batch.at_full_power()
        options = {"observed": known, "approximation": self.approximation, "exchange": self.exchange}
        graph = FactorGraph(batch.model, batch.x, likelihood, y, **options)  # type: ignore[arg-type]
        batch.require_no_plain_parameters()  # after the graph, which refuses networks that carry no moments at all
        judged = self._settles(iterations) and batch.propagate.store.cavity  # without one a step takes in a share of the messages
        with self._approximated():
            before = batch.log_evidence({}) if judged else None
        self.trace = graph.infer(iterations, self.damping, self.schedule, self.tolerance, self.check)
        graph.send(batch.propagate)
        messages = graph.messages()
        batch.learn_from_outputs(messages)
        if before is not None:
            with self._approximated():
                after = batch.log_evidence(messages)
            warn_of_loss(before, after, "Inference", self._way_out())
        return -graph.log_evidence()

    def _settles(self, iterations: int) -> bool:
        """Whether messages should do more good than harm after so many iterations: little is left of the first ones."""
        assert isinstance(self.damping, Damping)
        return iterations >= SETTLED and self.damping.of_weights**iterations < LEFT

    def _approximated(self) -> AbstractContextManager[None]:
        return linearised_sweep() if self.approximation == "linearised" else nullcontext()

    def _way_out(self) -> str:
        assert isinstance(self.damping, Damping)
        if self.damping.undamped_first:
            return f"damp the first messages too, damping=Damping({max(self.damping.messages, DAMPED):g}), or use smaller batches"
        return f"damp more, damping=Damping({(1 + max(self.damping.messages, DAMPED)) / 2:.4g}), or use smaller batches"

    def _example_by_example(self, batch: Batch, iterations: int) -> Tensor:
        """Exact messages, one graph for each example, all of the same weights."""
        self._check_exact(batch)
        require_count("the number of examples", len(batch.y), "Inference, ExampleByExample", fix="skip empty batches")
        weights: dict[GaussianParameter, ExampleWeights] = {}
        graphs = [
            FactorGraph(batch.model, batch.row(n), batch.likelihood, batch.y[n : n + 1], builder=ExactBuilder(weights, n))
            for n in range(len(batch.y))
        ]
        batch.require_no_plain_parameters()
        order, loss = torch.randperm(len(graphs)).tolist(), torch.zeros(())
        for _ in range(iterations):
            for n in order:
                for send in self.schedule.visits(graphs[n].nodes, False):
                    with torch.no_grad():
                        send(Iteration(Damping()))
            for own in weights.values():
                own.renew()
            loss = -torch.stack([graph.log_evidence() for graph in graphs]).sum()
        messages = {own.marginal: own.message() for own in weights.values() if own.sites}
        batch.propagate.take(messages, Sweep(len(graphs), -loss, batch.likelihood))
        batch.learn_from_outputs(messages)
        return loss

    def _check_exact(self, batch: Batch) -> None:
        assert isinstance(self.damping, Damping)
        likelihood, propagate = batch.likelihood, batch.propagate
        if self.approximation != "moments":
            what, fix = "exact messages have no other approximation", 'use approximation="moments", or another schedule'
            raise InvalidInput(what, where="Inference, ExampleByExample", got=repr(self.approximation), fix=fix)
        if self.damping.messages or self.damping.weights or self.damping.dropout:
            raise InvalidInput(
                "exact messages are replaced one by one, undamped",
                where="Inference, ExampleByExample",
                got=f"damping={self.damping.messages}",
                fix="use damping=0, and a rate to damp what enters the store",
            )
        if likelihood.power != 1:
            raise InvalidInput(
                "exact messages need a likelihood power of 1",
                where="Inference, ExampleByExample",
                got=f"{type(likelihood).__name__} with power {likelihood.power:g}",
                cause="the automatic power, which suits the default schedule and narrow prior",
                fix=f"use {type(likelihood).__name__}(..., power=1), and prior=Prior(scale=1) in the layers",
            )
        what, fix = f"the messages of {len(batch.y)} examples", "use smaller batches, or AllAtOnce()"
        require_memory(memory_of_sites(propagate.marginals, len(batch.y)), propagate.marginals[0].mean.device, what, fix)


Inference.__init__ = renamed(order="schedule={}")(Inference.__init__)


def thesis_rate(epoch: int) -> float:
    """Rate of the published schedule, 0.9 + 0.1 exp(-0.3 (e - 1)) in pass e = 1, 2, ...: the first visit is undamped.

    >>> [round(thesis_rate(epoch), 3) for epoch in (1, 2, 18)]
    [1.0, 0.974, 0.901]
    """
    epoch = require_count("epoch", epoch, "thesis_rate", fix="count passes from 1")
    return 0.9 + 0.1 * math.exp(-0.3 * (epoch - 1))


def thesis_iterations(epochs: int = 18) -> tuple[int, ...]:
    """Iterations of a visit in the published schedule: 1, 1, 2, 2, ..., 9, 9 (90 in all).

    >>> thesis_iterations(5), sum(thesis_iterations())
    ((1, 1, 2, 2, 3), 90)
    """
    epochs = require_count("epochs", epochs, "thesis_iterations", fix="use 18")
    return tuple((epoch + 1) // 2 for epoch in range(1, epochs + 1))
