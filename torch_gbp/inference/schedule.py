"""Schedules: which factors of a network speak in an iteration, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from torch_gbp.inference.damping import Iteration
from torch_gbp.inference.node import Node

Send = Callable[[Iteration], None]


@dataclass(frozen=True)
class Schedule:
    """An order of the messages of a batch. All schedules of summed messages have the same fixed points."""

    unlabelled = False  # whether examples with the label -100 are taken
    undamped_first = False  # whether the first messages of a batch are taken as they are, where damping is a number

    def visits(self, nodes: list[Node], first: bool) -> Iterable[Send]:
        """What speaks in an iteration, in order; `nodes` from inputs to outputs, `first` in the first iteration of a batch."""
        raise NotImplementedError


@dataclass(frozen=True)
class AllAtOnce(Schedule):
    """Up through all layers, then down through all: every factor speaks once each way, all examples at once.

    One iteration is exactly the plain loop's sweep. With more, messages to weights and activations want damping: all examples
    answer at once, and together they overshoot.
    """

    undamped_first = True

    def visits(self, nodes: list[Node], first: bool) -> Iterable[Send]:
        return [*(node.up for node in nodes), *(node.down for node in reversed(nodes))]


@dataclass(frozen=True)
class LayerSweeps(Schedule):
    """Layers 0, 1, ..., L - 1, L - 2, ..., 1: the published schedule, in which the two ends are visited once in an iteration.

    So layer 0 answers what it heard in the iteration before, right after its new prediction; at first there is nothing yet.
    Examples with the label -100 have no label. One iteration is exactly the plain loop's sweep. Use with the store `Filtering`
    for one pass. Source: GBP Learning (arXiv 2311.14649) sections 3.2 and 3.4.

    >>> import torch_gbp as gbp
    >>> model = torch.nn.Sequential(gbp.GBPLinear(4, 3, covariance="full"), gbp.GBPNoise(0.1, prior_sigma=2.0))
    >>> propagate = gbp.MessagePassing(model.parameters(), num_data=5, store=gbp.Filtering(), epochs=None)
    >>> inference = gbp.Inference(20, damping=gbp.Damping(0.6, weights=0.9), schedule=LayerSweeps())
    >>> x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, -100])
    >>> loss = inference(model, gbp.SquaredSoftmax(), propagate, x, y)
    >>> inference.trace.iterations
    20
    """

    unlabelled = True

    def visits(self, nodes: list[Node], first: bool) -> Iterable[Send]:
        bottom, *others = nodes
        ends = [bottom.up] if first and others else [bottom.up, bottom.down]
        return [*ends, *(node.up for node in others), *(node.down for node in reversed(others))]


@dataclass(frozen=True)
class RandomLayers(Schedule):
    """As many layers as there are, drawn with replacement, each up and down at once: the asynchronous schedule.

    The first iteration begins with a way up, which gives every variable a belief. A message waits until its layers are drawn in
    its order, so it takes eight to sixteen times the iterations of sweeps. Labels as in `LayerSweeps`.
    Source: GBP Learning (arXiv 2311.14649) section 5.3.
    """

    unlabelled = True

    def visits(self, nodes: list[Node], first: bool) -> Iterable[Send]:
        start = [node.up for node in nodes] if first else []
        drawn = [nodes[k] for k in torch.randint(len(nodes), (len(nodes),)).tolist()]
        return [*start, *(visit for node in drawn for visit in (node.up, node.down))]


@dataclass(frozen=True)
class ExampleByExample(Schedule):
    """One example after the other, by exact scalar messages (inference/exact.py); weights change after each. Small data.

    The first iteration multiplies every example's message into the weights, a later one replaces it. Examples come in an order
    that is drawn for every batch. For a likelihood with `power=1`, Bayes' rule, and without damping. Memory: two numbers per
    weight and example of a batch. Source: AMP-BNN thesis section 4.2 and its code.
    """

    def visits(self, nodes: list[Node], first: bool) -> Iterable[Send]:
        return AllAtOnce().visits(nodes, first)
