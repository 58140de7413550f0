"""The watch over a run: whether the outputs say anything about the targets of their inputs, and more than at first; if not, it
warns, once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from torch_gbp.autograd.sweep import Sweep
from torch_gbp.errors import DividedLoss, NotLearning, explain

FIRST, EVERY = 0.1, 0.1  # shares of the passes at which it judges
SPARSE = 0.0025  # share of the passes between two batches that it looks at
FEWEST = 16  # batches that it judges by
SIGNIFICANT = 1.5  # standard errors; no more, as a run in which nothing is learnt has to pass every time
DOUBTS = 2  # judgements in turn that find nothing learnt; a network that starts at a symmetric point leaves it late
LOSS = 1.0  # nats an example that must not be lost: rounding and a badly matched message cost less
FAR = 3.0  # standard errors by which the evidence must fall: no network that learns should be warned of


class Gain(NamedTuple):
    """After which share of the passes, and by how many nats an example's log evidence was better than with another's target."""

    progress: float
    nats: float
    evidence: float  # of an example, in nats; NaN of a likelihood that learns, as its unit changes


class Watch:
    """Compares the log evidence of every target with that of the target before it, log p(y_n | x_n) - log p(y_(n-1) | x_n).

    Where the outputs do not depend on the inputs, or depend on them in a way that has nothing to do with the targets, the
    difference is 0 on the average and of either sign as often, whatever the likelihood and the units; a network that learns is
    soon many standard errors above. Judged are the batches since half of the present share of the passes. A network whose
    outputs are thrown about by steps that are too long may be above, too, as it follows its last batches: so the evidence is
    also compared with that of the first batches, unless the likelihood learns.

    Args:
        divided: whether losses are known to be divided, by the number of accumulated batches.
    """

    def __init__(self, divided: bool = False) -> None:
        self.divided, self._looked = divided, False
        self.gains: list[Gain] = []
        self._last: Tensor | None = None  # target of the batch before
        self._next_look, self._next_judgement = 0.0, FIRST
        self._warned, self._doubts = False, 0

    def look(self, sweeps: Iterable[Sweep], progress: float, way_out: str = "") -> None:
        """Takes in the sweeps of a step, after which this share of the passes is done; may warn `NotLearning`."""
        sweeps = list(sweeps)
        if not (self._looked or self.divided):
            for sweep in sweeps:
                self._warn_if_divided(sweep)
        self._looked = True
        if self._warned:
            return
        if progress >= min(self._next_look, 1.0):
            self._next_look = progress + SPARSE
            gains = [gain for sweep in sweeps if math.isfinite((gain := self._gain(sweep, progress)).nats)]
            self.gains += [_average(gains)] if gains else []  # sweeps of a step are not independent
        if progress >= min(self._next_judgement, 1.0):
            self._judge(progress, way_out)

    def _warn_if_divided(self, sweep: Sweep) -> None:
        """Warns `DividedLoss` if the factor on a loss is one over the number of its examples."""
        factor = 1.0 if sweep.factor is None else float(sweep.factor)
        if sweep.examples > 1 and math.isclose(factor * sweep.examples, 1.0, rel_tol=1e-4):
            text = explain(
                "the loss was divided by the size of its batch, so that an example counts for less than one",
                where="MessagePassing, first step",
                got=f"a factor of {factor:.3g} on the loss of {sweep.examples} examples",
                cause="the habit of a mean loss",
                fix="leave it a sum: likelihood(model(x), y).backward()",
            )
            warnings.warn(text, DividedLoss, stacklevel=5)

    def _gain(self, sweep: Sweep, progress: float) -> Gain:
        if sweep.outcome is None or not len(sweep.outcome.target):
            return Gain(progress, math.nan, math.nan)
        target, each, evidence_of = sweep.outcome
        others = target.roll(1, 0)
        if self._last is not None and self._last.shape == others[0].shape and self._last.dtype == others.dtype:
            others[0] = self._last
        self._last = target[-1].clone()
        evidence = float(each.mean()) if sweep.learn is None else math.nan
        return Gain(progress, float((each - evidence_of(others)).mean()), evidence)

    def _judge(self, progress: float, way_out: str) -> None:
        recent = [gain for gain in self.gains if gain.progress > progress / 2]
        if len(recent) < FEWEST:
            return
        self._next_judgement = progress + EVERY if progress < 1 else math.inf
        first = self.gains[:FEWEST]
        text = _nothing(recent, progress, way_out) or _lost(first, recent, progress, way_out)
        if not text:
            self._doubts = 0
            return
        self._doubts += 1
        if self._doubts < DOUBTS and progress < 1:
            return
        self._warned = True
        warnings.warn(text, NotLearning, stacklevel=4)


def _average(gains: list[Gain]) -> Gain:
    return Gain(*(sum(numbers) / len(gains) for numbers in zip(*gains, strict=True)))


def _estimate(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard error."""
    numbers = torch.tensor(list(values), dtype=torch.float64)
    return float(numbers.mean()), float(numbers.std()) / math.sqrt(len(numbers))


def _nothing(recent: list[Gain], progress: float, way_out: str) -> str:
    """What to say if the outputs say nothing about the targets of their inputs; else nothing."""
    nats = [gain.nats for gain in recent]
    mean, error = _estimate(nats)
    signs = sum((gain > 0) - (gain < 0) for gain in nats) / math.sqrt(len(nats))  # few large gains must not hide many small ones
    if mean > SIGNIFICANT * error or signs > SIGNIFICANT or not any(nats):  # all targets alike: nothing can be told
        return ""
    return explain(
        "the network is not learning: its outputs say no more about the target of an input than about any other's",
        where=f"MessagePassing, {progress:.0%} of the passes",
        got=f"a gain in log evidence of {mean:.2g} +- {error:.2g} nats an example",
        cause="inputs far from mean 0 and scale 1, a signal that noise drowns in a deep network, or targets in another order",
        fix=way_out or "put gbp.Standardise() first, use residual connections or fewer layers, and check the targets",
    )


def _lost(first: list[Gain], recent: list[Gain], progress: float, way_out: str) -> str:
    """What to say if the targets are explained worse than at first; else nothing."""
    (start, noise), (mean, error) = (_estimate(gain.evidence for gain in part) for part in (first, recent))
    if not mean < start - max(LOSS, FAR * math.hypot(error, noise)):
        return ""
    return explain(
        "the network is not learning: it explains its targets worse than in its first steps",
        where=f"MessagePassing, {progress:.0%} of the passes",
        got=f"a log evidence of {mean:.3g} +- {error:.2g} nats an example, {start:.3g} at first",
        cause="steps that are too long for so deep a network, or inputs far from mean 0 and scale 1",
        fix=way_out or "lower lr or leave it out, put gbp.Standardise() first, use residual connections or fewer layers",
    )


def warn_of_loss(before: Tensor, after: Tensor, where: str, way_out: str) -> None:
    """Warns `NotLearning` where messages that settled explain their own targets worse than no message at all.

    Args:
        before, after: log evidence of each example (n,), without and with the messages of the batch; fewer than 16 tell nothing.
        where, way_out: for the text.

    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_of_loss(torch.zeros(16), torch.ones(16), "here", "use smaller batches")
    ...     warn_of_loss(torch.zeros(16), torch.full((16,), -5.0), "here", "use smaller batches")
    >>> [entry.category.__name__ for entry in caught], "-5 +- 0 nats" in str(caught[0].message)
    (['NotLearning'], True)
    """
    if len(before) < FEWEST:
        return
    mean, error = _estimate((after.double() - before.double()).tolist())
    if mean >= -max(LOSS, SIGNIFICANT * error):
        return
    text = explain(
        "the messages of a batch make the network worse at its own targets",
        where=where,
        got=f"a gain in log evidence of {mean:.2g} +- {error:.2g} nats an example",
        cause="messages of many examples that answer at once and overshoot, then damped too much to come back or to run away",
        fix=way_out,
    )
    warnings.warn(text, NotLearning, stacklevel=5)
