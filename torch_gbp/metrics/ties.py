"""Ties: what is seen with equal scores, shared out evenly, so that no score depends on the order of the examples."""

from __future__ import annotations

from torch import Tensor


def levels(score: Tensor) -> tuple[Tensor, Tensor]:
    """Rank of each example's score among the distinct ones, from 0, and how many examples have each rank.

    Ranks are their own ranks: a bootstrap sorts once, and no level needs to be there.

    >>> import torch
    >>> levels(torch.tensor([0.5, 0.9, 0.5]))
    (tensor([0, 1, 0]), tensor([2, 1]))
    """
    if not score.is_floating_point() and int(score.min()) >= 0 and int(score.max()) < len(score):
        return score, score.bincount()
    _, place, count = score.unique(return_inverse=True, return_counts=True)
    return place, count


def even(score: Tensor, seen: Tensor) -> Tensor:
    """Mean of `seen` over the examples of equal score, for each example: the expectation over their random order.

    >>> import torch
    >>> even(torch.tensor([0.5, 0.9, 0.5]), torch.tensor([1.0, 1.0, 0.0]))
    tensor([0.5000, 1.0000, 0.5000])
    """
    place, count = levels(score)
    return means(place, count, seen)[place]


def means(place: Tensor, count: Tensor, seen: Tensor) -> Tensor:
    """Mean of `seen` over the examples of each rank; 0 where there is none."""
    return seen.new_zeros(len(count)).index_add_(0, place, seen) / count.clamp_min(1)
