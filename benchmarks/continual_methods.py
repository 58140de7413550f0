"""Methods of the benchmark `continual`: torch_gbp and its rivals, with the settings that a search tries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from benchmarks.continual_learners import GBP, Learner, Shuffled, Stream
from benchmarks.continual_rivals import EWC, KEPT, Finetune, OnlineLaplace, Replay
from benchmarks.methods.base import Settings, grid


class Entrant(NamedTuple):
    """A row of the tables; a search tries `grid` on held-out training images, of data that drift `drifting`."""

    title: str
    make: Callable[..., Learner]
    grid: Sequence[Settings] = ()
    drifting: Sequence[Settings] = ()


STRENGTHS, GAMMAS = grid(strength=(1.0, 10.0, 30.0, 100.0, 300.0)), grid(gamma=(1.0, 0.8, 0.5))
ENTRANTS = {
    "gbp": Entrant("torch_gbp", GBP, grid(strength=(1.0, 4.0, 16.0)), grid(drift=(0.0, 0.03, 0.3))),
    "gbp_stream": Entrant("torch_gbp, one optimizer that is told how many examples will come", Stream),
    "gbp_stream_4": Entrant("torch_gbp, one optimizer that is told four times as many", partial(Stream, told=4.0)),
    "gbp_shuffled": Entrant("torch_gbp, all at hand and shuffled", Shuffled),
    "finetune": Entrant("fine-tuning", Finetune),
    "ewc": Entrant("EWC, online (diagonal Laplace)", EWC, STRENGTHS, GAMMAS),
    "laplace": Entrant("online Laplace, Kronecker", OnlineLaplace, STRENGTHS, GAMMAS),
    "replay": Entrant(f"replay, {KEPT} stored examples a task", Replay),
}
OF_ONE = ("gbp_stream", "gbp_stream_4", "gbp_shuffled")  # take the tasks for parts of one
