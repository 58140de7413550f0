"""Ties: what is seen with equal scores, shared out evenly, so that no score depends on the order of the examples."""

from __future__ import annotations

from torch import Tensor


def even(score: Tensor, seen: Tensor) -> Tensor:
    """Mean of `seen` over the examples of equal score, for each example: the expectation over their random order.

    >>> import torch
    >>> even(torch.tensor([0.5, 0.9, 0.5]), torch.tensor([1.0, 1.0, 0.0]))
    tensor([0.5000, 1.0000, 0.5000])
    """
    levels, place, count = score.unique(return_inverse=True, return_counts=True)
    return (seen.new_zeros(len(levels)).index_add_(0, place, seen) / count)[place]
