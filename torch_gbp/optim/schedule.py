"""The rate of a step: linear warm-up, then a cosine, by the share of the passes already done; longer steps in short runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch_gbp.weights.held_prior import Start

NO_SCHEDULE = 2.0  # passes that count as a run where none are told
FEW_STEPS, LONGEST = 2000, 4.0  # runs of fewer steps make longer ones, by this much at most in a network of depth 1
NEAR_STEPS = 500  # runs of fewer steps keep a network near weights that are its prior's centre
NARROW = 64  # inputs of a layer up to which they do so in full
SHALLOWEST = 0.2  # depth of a linear model
FINAL = 0.4  # of the peak rate is left at the end: the means are averaged, so they need not come to rest


def warmup_cosine(before: float, after: float, warmup: float, final: float = FINAL) -> float:
    """Factor on the peak rate for the step that takes the progress from `before` to `after` (shares of 1).

    min(1, after / warmup) * (f + (1 - f) (1 + cos(pi before)) / 2), f = final. The rise keeps the first pass from
    overshooting while the precisions are still the prior's.

    >>> warmup_cosine(0.0, 0.1, warmup=0.2), round(warmup_cosine(1.0, 1.0, warmup=0.2), 4)
    (0.5, 0.4)
    """
    rise = min(1.0, after / warmup) if warmup else 1.0
    return rise * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, before))))


def rate_of(group: Mapping[str, Any], examples: int) -> float:
    """The rate of a parameter group's next step, which takes in so many examples; its lr if it has no passes."""
    rate, epochs, seen = float(group["lr"]), group["epochs"], group["examples_seen"]
    if epochs is None:
        return rate
    total = epochs * group["num_data"]
    return rate * warmup_cosine(seen / total, (seen + examples) / total, group["warmup"], group["final"])


def progress_of(group: Mapping[str, Any], examples: int) -> float:
    """Share of the passes that is done after a step with so many examples; of the first two where there is no schedule.

    >>> progress_of({"epochs": 2, "num_data": 10, "examples_seen": 5}, examples=5)
    0.5
    """
    passes = NO_SCHEDULE if group["epochs"] is None else group["epochs"]
    return min(1.0, (group["examples_seen"] + examples) / (passes * group["num_data"]))


def longer(steps: float, depth: float, inputs: int = 1) -> float:
    """Factor on the longest step of a weight in a run of so many steps: max(1, min(4, 2000 / steps) min(1, 64 / inputs) / depth).

    In a short run no weight gets far. What stands longer steps are linear models and layers of few inputs, whose outputs do not
    move by as much at once (Yang et al. 2021, table 3, say so of Adam). Chosen on held-out rows, see benchmarks/TUNING.md.

    Args:
        depth: of the network (`message_weight.depth`).
        inputs: of a weight's output; 1 for biases.

    >>> longer(5000, depth=1.0), longer(500, depth=1.0), longer(500, depth=4.0), longer(500, depth=1.0, inputs=128)
    (1.0, 4.0, 1.0, 2.0)
    """
    return max(1.0, min(LONGEST, FEW_STEPS / steps) * min(1.0, NARROW / inputs) / max(SHALLOWEST, depth))


def shorter(steps: float) -> float:
    """Factor on the longest step of a weight that is to stay near the known one it starts at: min(1, steps / 500).

    So a run moves no weight farther than its examples can tell. Chosen on held-out images, see benchmarks/TUNING.md.

    >>> shorter(125), shorter(5000)
    (0.25, 1.0)
    """
    return min(1.0, steps / NEAR_STEPS)


def stretched(steps: float, depth: float, start: Start, inputs: int = 1) -> float:
    """Factor on the longest step: `longer` from nothing known, 1 from known weights, `shorter` where the prior is around these.

    >>> [stretched(250, 1.0, start) for start in Start]
    [4.0, 1.0, 0.5]
    """
    if start is Start.NEW:
        return longer(steps, depth, inputs)
    return shorter(steps) if start is Start.PRIOR else 1.0


def complete(group: Mapping[str, Any], examples: int) -> bool:
    """Whether a step with so many examples, already counted, is the one that completes the passes; true of one step only.

    It is the step with which epochs x num_data examples are through, whatever their batches were. A loader that drops what
    fills no batch never comes so far; it shows by equal batches for longer than a pass could have them, and is through
    after as many whole batches. In a single pass nothing tells that a batch will be dropped: there, call `use_averaged_means`.

    >>> group = {"epochs": 2, "num_data": 10}
    >>> complete(group | {"steps": 6, "examples_seen": 20}, examples=2)  # batches of 4, 4, 2, 4, 4, 2
    True
    >>> complete(group | {"steps": 4, "examples_seen": 16}, examples=4)  # batches of 4, 4, 4, 4
    True
    """
    if group["epochs"] is None:
        return False
    steps, seen, in_pass = group["steps"], group["examples_seen"], group["num_data"] // examples
    if seen == steps * examples and steps > in_pass:
        return steps == _whole(group["epochs"] * in_pass)
    return seen - examples < _whole(group["epochs"] * group["num_data"]) <= seen


def _whole(number: float) -> int:
    """The next integer, but for rounding: passes may be a quotient of steps."""
    return math.ceil(number * (1 - 1e-9))
