"""Feedback networks: one linear layer from the label to the mean of the backward message at a boundary.

They have weights of their own and need the labels alone, so no block waits for a later one. With the forward
network held still, the local loss is a sum of squares in these weights: least squares gives the optimum at once
(block-local learning, section 2.1), a gradient step gets there slowly.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import SHARE, VARIANCE, require, require_count


class Feedback(nn.Module):
    """Mean b = y' W of the backward message, from labels y (n, classes) to channels (n, channels).

    `fit(y, a)` learns from a batch and returns a loss whose gradient reaches W alone (0 if W is not learnt by gradient).
    """

    def forward(self, labels: Tensor) -> Tensor:
        """b, (n, channels)."""
        raise NotImplementedError

    def fit(self, labels: Tensor, activations: Tensor) -> Tensor:
        """Learns that labels (n, classes) go with activations (n, channels), taken as known."""
        raise NotImplementedError


class RidgeFeedback(Feedback):
    """Ridge regression in closed form over a running window of batches: W = (Y'Y + ridge I)^-1 Y'A.

    Y'Y and Y'A are multiplied by `decay` before a batch is added. For integer labels W's rows are the
    classes' mean activations, drawn towards 0 by the ridge; decay = 0 is the published per-batch optimum.

    Args:
        classes, channels: widths of labels and boundary.
        decay: what is left of the batches before, in [0, 1).
        ridge: positive, in units of examples.

    Raises:
        InvalidInput: decay or ridge out of range; activations that are not finite (the running sums are kept).

    >>> feedback = RidgeFeedback(2, 1, ridge=1e-6)
    >>> loss = feedback.fit(torch.eye(2), torch.tensor([[1.0], [3.0]]))
    >>> feedback(torch.eye(2)).round(decimals=3).flatten()
    tensor([1., 3.])
    """

    gram: Tensor
    moment: Tensor
    weight: Tensor

    def __init__(self, classes: int, channels: int, decay: float = 0.99, ridge: float = 1.0) -> None:
        super().__init__()
        where, fix = "RidgeFeedback", "use decay=0.99 and ridge=1, or decay=0 for the batch alone"
        classes, channels = _widths(classes, channels, where)
        self.decay = require("decay", decay, SHARE, where, cause="a decay that is meant as a rate", fix=fix)
        self.ridge = require("ridge", ridge, VARIANCE, where, fix=fix)
        self.register_buffer("gram", torch.zeros(classes, classes))
        self.register_buffer("moment", torch.zeros(classes, channels))
        self.register_buffer("weight", torch.zeros(classes, channels))

    def _apply(self, fn: Any, recurse: bool = True) -> RidgeFeedback:
        super()._apply(fn, recurse)
        for name, sums in list(self.named_buffers(recurse=False)):  # sums over many batches, which half precision does not hold
            setattr(self, name, sums.to(torch.promote_types(sums.dtype, torch.float32)))
        return self

    def forward(self, labels: Tensor) -> Tensor:
        return labels @ self.weight

    @torch.no_grad()
    def fit(self, labels: Tensor, activations: Tensor) -> Tensor:
        moment = labels.T @ activations.to(labels.dtype)
        if not bool(moment.isfinite().all()):
            raise InvalidInput(
                "the activations are NaN or Inf",
                where="RidgeFeedback",
                cause="a learning rate that is too large",
                fix="go back to a checkpoint, lower the rate of the block",
            )
        self.gram.mul_(self.decay).add_(labels.T @ labels)
        self.moment.mul_(self.decay).add_(moment)
        ridge = self.ridge * torch.eye(len(self.gram), dtype=self.gram.dtype, device=self.gram.device)
        self.weight.copy_(torch.linalg.solve(self.gram + ridge, self.moment))
        return self.weight.new_zeros(())

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, {self.weight.shape[1]}, decay={self.decay:g}, ridge={self.ridge:g}"


class GradientFeedback(Feedback):
    """The same layer learnt by the block's own optimizer, from the loss |y' W - a|^2 / 2, mean over the batch.

    Args:
        classes, channels: widths of labels and boundary.

    >>> feedback = GradientFeedback(3, 4)
    >>> feedback.fit(torch.eye(3), torch.zeros(3, 4)).item()
    0.0
    """

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        classes, channels = _widths(classes, channels, "GradientFeedback")
        self.weight = nn.Parameter(torch.zeros(classes, channels))  # says nothing before it has seen a batch

    def forward(self, labels: Tensor) -> Tensor:
        return labels @ self.weight.to(labels.dtype)

    def fit(self, labels: Tensor, activations: Tensor) -> Tensor:
        return 0.5 * F.mse_loss(self(labels), activations.detach().to(labels.dtype), reduction="sum") / len(labels)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, {self.weight.shape[1]}"


def _widths(classes: int, channels: int, where: str) -> tuple[int, int]:
    """Widths of labels and boundary, checked."""
    fix = "use the number of classes, and activations.shape[1]"
    return require_count("classes", classes, where, fix=fix), require_count("channels", channels, where, fix=fix)
