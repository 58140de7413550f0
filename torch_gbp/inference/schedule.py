"""Schedules: which layers of a factor graph are visited in an iteration, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from torch_gbp.inference.node import Node
from torch_gbp.inference.damping import Iteration

Visit = Callable[[Iteration], None]
Schedule = Callable[[list[Node], bool], Iterable[Visit]]
"""(nodes from input to output, whether it is the first iteration) -> the visits of one iteration, in their order."""


def sweeps(nodes: list[Node], first: bool) -> Iterable[Visit]:
    """Layers 0, 1, ..., L - 1, L - 2, ..., 1: the published schedule, in which the two ends are visited once.

    So layer 0 answers what it heard in the iteration before, right after its new prediction; at first there is nothing yet.
    """
    bottom, *others = nodes
    ends = [bottom.up] if first and others else [bottom.up, bottom.down]
    return [*ends, *(node.up for node in others), *(node.down for node in reversed(others))]


def random_layers(nodes: list[Node], first: bool) -> Iterable[Visit]:
    """As many layers as there are, drawn with replacement, each up and down at once: the asynchronous schedule.

    The first iteration begins with a way up, which gives every variable a belief.
    """
    start = [node.up for node in nodes] if first else []
    drawn = [nodes[k] for k in torch.randint(len(nodes), (len(nodes),)).tolist()]
    return [*start, *(visit for node in drawn for visit in (node.up, node.down))]
