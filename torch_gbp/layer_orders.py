"""Orders over layers: iterated inference on the noisy factors of a network (`graph.py`), within `Inference`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from torch_gbp.checks import NOT_NEGATIVE, SHARE, require, require_count
from torch_gbp.graph import FactorGraph, Trace
from torch_gbp.likelihoods.base import MISSING
from torch_gbp.nodes import Pace, Schedule, random_layers, sweeps
from torch_gbp.orders import Order, Visit, learn_from_outputs, messages_of


@dataclass
class LayerSweeps(Order):
    """Up through all layers and down again, in every iteration; one iteration is exactly the plain loop's sweep.

    Args:
        weight_damping: damping of the summed messages to weights; None for that of all messages.
        dropout: probability with which an element of a message keeps its old value in an iteration, in [0, 1). For summed
            messages, as published; several joint layers in a row were seen to diverge with it.
        undamped_first: take the first messages of a batch as they are, as published; summed messages then overshoot.
        tolerance: stop where every message changes by less than this share of its largest entry; 0 for never.
        check: energy and changes are looked at every so many iterations.

    Raises:
        InvalidInput: settings out of range.

    Examples with the label -100 have no label. With more than one iteration the likelihood itself is raised to its power, so
    that linear factors end at the mean of the tempered posterior; `Parallel` multiplies messages. `trace` tells of the last
    batch. Use with the store `Filtering` for one pass.
    Source: GBP Learning (arXiv 2311.14649) sections 3.2 and 3.4.

    >>> import torch_gbp as gbp
    >>> model = gbp.GBPLinear(4, 3, noise=0.1, activation_sigma=2.0, joint=True)
    >>> propagate = gbp.MessagePassing(model.parameters(), num_data=5, store=gbp.Filtering(), epochs=None)
    >>> inference = gbp.Inference(iterations=20, damping=0.6, order=LayerSweeps(weight_damping=0.9))
    >>> x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, MISSING])
    >>> loss = inference(model, gbp.SquaredSoftmax(), propagate, x, y)
    >>> inference.order.trace.iterations
    20
    """

    weight_damping: float | None = None
    dropout: float = 0.0
    undamped_first: bool = False
    tolerance: float = 0.0
    check: int = 8
    trace: Trace | None = None
    schedule: ClassVar[Schedule] = staticmethod(sweeps)

    def __post_init__(self) -> None:
        where = type(self).__name__
        if self.weight_damping is not None:
            self.weight_damping = require("weight_damping", self.weight_damping, SHARE, where, fix="use 0.9, or None")
        self.dropout = require("dropout", self.dropout, SHARE, where, fix="use 0.0")
        self.tolerance = require("tolerance", self.tolerance, NOT_NEGATIVE, where, fix="use 0.0 for never")
        self.check = require_count("check", self.check, where, fix="use 8")

    def infer(self, visit: Visit, iterations: int, damping: float) -> Tensor:
        visit.propagate.zero_grad()
        labels, known = _labelled(visit.y)
        if iterations == 1:
            return visit._replace(y=labels).sweep(known=known)
        visit = visit.at_full_power()
        weights = damping if self.weight_damping is None else self.weight_damping
        pace = Pace(1 - damping, 1 - weights, self.dropout, self.undamped_first)
        graph = FactorGraph(visit.model, visit.x, visit.likelihood, labels, observed=known)
        self.trace = graph.infer(iterations, pace, self.schedule, self.tolerance, self.check)
        loss = graph.loss()
        loss.backward()
        learn_from_outputs(visit, messages_of(visit))
        return loss.detach()


@dataclass
class RandomLayers(LayerSweeps):
    """As many layers as the network has, drawn with replacement, in every iteration: asynchronous inference.

    A message waits until its layers are drawn in its order, so it takes eight to sixteen times the iterations of sweeps.
    Arguments as in `LayerSweeps`. Source: GBP Learning (arXiv 2311.14649) section 5.3.
    """

    schedule: ClassVar[Schedule] = staticmethod(random_layers)


def _labelled(y: Tensor) -> tuple[Tensor, Tensor | None]:
    """Labels with any class in the place of a missing one, and which are known (None for all)."""
    if y.is_floating_point():
        return y, None
    known = y != MISSING
    return (y, None) if bool(known.all()) else (torch.where(known, y, 0), known)
