"""LowRank: a frozen weight W and a product of two narrow matrices, W + B A, in its place."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LowRank(nn.Module):
    """The map W -> W + B A of a weight (outputs, inputs, ...), a parametrisation of `torch.nn.utils.parametrize`.

    A ("down", rank x inputs) starts at N(0, 1 / inputs), B ("up", outputs x rank) at 0, so that nothing changes at first.
    Source: low-rank adaptation, Hu et al. 2022 (LoRA), section 4.1; no factor alpha / rank, as no rate depends on the size of A.

    >>> adapter = LowRank(torch.zeros(5, 3), rank=2)
    >>> adapter(torch.ones(5, 3)).sum().item()
    15.0
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        inputs = weight[0].numel()
        self.down = nn.Parameter(torch.randn_like(weight.detach().new_empty(rank, inputs)).div_(math.sqrt(inputs)))
        self.up = nn.Parameter(weight.detach().new_zeros(len(weight), rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)

    def extra_repr(self) -> str:
        return f"outputs={len(self.up)}, inputs={self.down.shape[1]}, rank={len(self.down)}"
