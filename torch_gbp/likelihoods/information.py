"""Entropy and mutual information of class probabilities, in nats."""

from __future__ import annotations

import torch
from torch import Tensor


def entropy(p: Tensor) -> Tensor:
    """Entropy H(p) = - sum_c p_c log p_c of class probabilities (..., classes), (...).

    >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    tensor([0.6931, 0.0000])
    """
    return torch.special.entr(p).sum(-1)


def mutual_information(p: Tensor) -> Tensor:
    """Mutual information ("BALD") of class and weights, H(E p) - E H(p), from the probabilities of S networks.

    Args:
        p: (S, ..., classes), of networks drawn from the weights' posterior; E is their average.

    Source: Houlsby et al. 2011.

    >>> mutual_information(torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]]))  # apart; alike, and unsure
    tensor([0.6931, 0.0000])
    """
    return (entropy(p.mean(0)) - entropy(p).mean(0)).clamp_min(0)
