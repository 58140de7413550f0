"""FixedBatches: a data set cut once into whole batches, and the proof that a batch is still the same."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from torch_gbp.errors import InvalidInput, Repartitioned

_STEP = 0x9E3779B97F4A7C15 - 2**64  # 2^64 over the golden ratio, as a signed integer


class FixedBatches(Dataset[tuple[Any, ...]]):
    """Whole batches (inputs, targets, batch number) of fixed membership.

    A loader over it shuffles the order of the batches, never who is in which:
    `DataLoader(FixedBatches(data, 100), batch_size=None, shuffle=True)`.

    Args:
        data: map-style data set of (input, target).
        batch_size: examples per batch; the last may be smaller.
        seed: seed of the one shuffle that deals the examples to batches; None keeps the data set's order.

    Raises:
        InvalidInput: an empty data set or a batch size below 1.

    >>> from torch.utils.data import TensorDataset
    >>> batches = FixedBatches(TensorDataset(torch.rand(5, 2), torch.arange(5)), batch_size=2)
    >>> len(batches), batches[2][0].shape, batches[2][2]
    (3, torch.Size([1, 2]), 2)
    """

    whole_batches = True  # what an item is, for those who count examples or look for single ones (`torch_gbp.batches`)

    def __init__(self, data: Dataset[Any], batch_size: int, seed: int | None = 0) -> None:
        size = len(data) if isinstance(data, Sized) else 0
        if size < 1 or batch_size < 1:
            raise InvalidInput(
                "examples and a positive batch size are needed",
                where="FixedBatches",
                got=f"{size} examples, batch_size={batch_size}",
                fix="pass a map-style data set",
            )
        self.data = data
        order = torch.arange(size) if seed is None else torch.randperm(size, generator=torch.Generator().manual_seed(seed))
        self.members: tuple[Tensor, ...] = order.split(batch_size)

    @property
    def num_data(self) -> int:
        """Number of examples over all batches."""
        return sum(len(members) for members in self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, batch: int) -> tuple[Any, ...]:
        inputs, targets = default_collate([self.data[int(i)] for i in self.members[batch]])
        return inputs, targets, batch


def fingerprint(examples: tuple[Tensor, ...]) -> list[list[float]]:
    """Shape, sum and a checksum of each tensor of a batch; other examples, or another order, hardly ever have the same."""
    return [[*part.shape, float(part.double().sum()), _checksum(part)] for part in examples]


def _checksum(values: Tensor) -> int:
    """sum of w_i b_i modulo 2^64, b_i the bits of entry i in float32 and w_i odd numbers in pseudo-random order.

    In integers, so exact: the same on every device, in every order of summation, and for float32 numbers held as float64.
    """
    bits = values.detach().float().view(torch.int32).long() if values.is_floating_point() else values.detach().long()
    weights = torch.arange(bits.numel(), device=bits.device).mul_(_STEP).bitwise_or_(1)
    return int((bits.flatten() * weights).sum())


def check_members(batch: int, found: list[list[float]], known: list[list[float]] | None) -> None:
    """Raises Repartitioned if a batch holds other examples than those that its site speaks for."""
    if known is not None and not (len(known) == len(found) and all(map(_same, found, known))):
        raise Repartitioned(
            f"batch {batch} holds other examples than at its first visit",
            where="BatchSites",
            got=f"shapes, sums and checksums {found}, first {known}",
            cause="shuffling or augmentation re-partitioned or reordered the data",
            fix="iterate over FixedBatches, or use AveragedSites",
        )


def _same(found: list[float], known: list[float]) -> bool:
    """By shape and checksum; older states have no checksum, there the sum has to do."""
    old = len(known) == len(found) - 1
    return found[:-1] == known if old else found[:-2] + found[-1:] == known[:-2] + known[-1:]
