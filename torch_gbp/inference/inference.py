"""Inference: how the messages of one batch are iterated before they enter the weight marginals.

A visit to a batch is one or more inner sweeps, in an order (`orders.py`), and one step of the optimizer, which lets the
last messages in at its rate. A likelihood that learns does so at the step, from outputs that know the batch's targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from torch_gbp.checks import RATE, SHARE, require, require_callable, require_count, require_kind
from torch_gbp.likelihoods import Likelihood
from torch_gbp.optim.message_passing import MessagePassing
from torch_gbp.orders import Order, Parallel, Visit


@dataclass(frozen=True)
class Inference:
    """How a visit to a batch goes: inner sweeps, rate, damping, order.

    Args:
        iterations: inner sweeps per visit; a sequence has one number for each pass, the last for all that follow.
        rate: pass (1, 2, ...) -> rate at which the visit's messages enter the store; None leaves it to the optimizer.
        damping: share of the old message that is kept between the inner sweeps of a visit, in [0, 1).
        order: Parallel(), Sequential(), LayerSweeps() or RandomLayers().

    `inference(model, likelihood, propagate, x, y)` takes the place of zero_grad, sweep and step in a loop, inside
    `propagate.visit` where the store has fixed batches. A failure in the middle leaves the marginals as they were.

    Raises:
        InvalidInput: iterations that are no integers of at least 1, damping out of range, a rate that is no function, or (when
            it is called) one that gives no number in (0, 1].

    >>> import torch
    >>> import torch_gbp as gbp
    >>> model, likelihood = gbp.GBPLinear(2, 1).double(), gbp.Regression(0.1)
    >>> propagate = MessagePassing(model.parameters(), num_data=3, store=gbp.BatchSites(), epochs=None)
    >>> x, y = torch.ones(3, 2).double(), torch.ones(3, 1).double()
    >>> inference = Inference(iterations=(1, 1, 2, 2), rate=thesis_rate, order=gbp.Sequential())
    >>> for epoch in range(1, 5):
    ...     with propagate.visit(0, x, y):
    ...         loss = inference(model, likelihood, propagate, x, y, epoch)
    """

    iterations: int | Sequence[int] = 1
    rate: Callable[[int], float] | None = None
    damping: float = 0.0
    order: Order = field(default_factory=Parallel)

    def __post_init__(self) -> None:
        fix = "use iterations=1, or one number for each pass"
        several = isinstance(self.iterations, Sequence) and not isinstance(self.iterations, str) and len(self.iterations) > 0
        for count in self.iterations if several else (self.iterations,):  # type: ignore[union-attr]
            require_count("iterations", count, "Inference", fix=fix)
        require("damping", self.damping, SHARE, "Inference", fix="use damping=0.0")
        require_kind("order", self.order, Order, "Inference", fix="use Parallel()")
        if self.rate is not None:
            require_callable("rate", self.rate, "Inference", fix="use rate=lambda epoch: 0.5")

    def __call__(
        self, model: nn.Module, likelihood: Likelihood, propagate: MessagePassing, x: Tensor, y: Tensor, epoch: int = 1
    ) -> Tensor:
        """All sweeps of one visit and the step; returns the last sweep's loss, -log evidence of the batch."""
        if self.rate is not None:
            propagate.set_rate(require("rate", self.rate(epoch), RATE, "Inference", fix="return a number such as 0.5"))
        loss = self.order.infer(Visit(model, likelihood, propagate, x, y), self.sweeps(epoch), self.damping)
        propagate.step()
        return loss

    def sweeps(self, epoch: int) -> int:
        """Inner sweeps of a visit in this pass.

        >>> [Inference(iterations=(1, 1, 2)).sweeps(epoch) for epoch in (1, 2, 3, 4)]
        [1, 1, 2, 2]
        """
        if not isinstance(self.iterations, Sequence):
            return self.iterations
        return self.iterations[min(epoch, len(self.iterations)) - 1]


def thesis_rate(epoch: int) -> float:
    """Rate of the published schedule, 0.9 + 0.1 exp(-0.3 (e - 1)) in pass e = 1, 2, ...: the first visit is undamped.

    >>> [round(thesis_rate(epoch), 3) for epoch in (1, 2, 18)]
    [1.0, 0.974, 0.901]
    """
    epoch = require_count("epoch", epoch, "thesis_rate", fix="count passes from 1")
    return 0.9 + 0.1 * math.exp(-0.3 * (epoch - 1))


def thesis_iterations(epochs: int = 18) -> tuple[int, ...]:
    """Inner sweeps of the published schedule: 1, 1, 2, 2, ..., 9, 9 (90 in all).

    >>> thesis_iterations(5), sum(thesis_iterations())
    ((1, 1, 2, 2, 3), 90)
    """
    epochs = require_count("epochs", epochs, "thesis_iterations", fix="use 18")
    return tuple((epoch + 1) // 2 for epoch in range(1, epochs + 1))
