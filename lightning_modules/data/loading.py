"""Tensors in memory as loaders: whole batches are indexed at once, and the shuffle depends on the pass alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import SHARE, require
from torch_gbp.optim.fixed_batches import FixedBatches

EVALUATION_BATCH = 512  # no gradients are kept, so larger than a training batch


class TensorPairs(TensorDataset):
    """Inputs and targets in memory; a loader fetches a batch by one indexing instead of item by item.

    >>> pairs = TensorPairs(torch.arange(4.0)[:, None], torch.arange(4))
    >>> [part.shape for part in pairs.__getitems__([0, 2])]
    [torch.Size([2, 1]), torch.Size([2])]
    """

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        picked = torch.as_tensor(indices)
        return tuple(part[picked] for part in self.tensors)


class EpochShuffle(RandomSampler):
    """A random order that is a function of (seed, epoch), so a resumed run sees the batches of an unbroken one.

    Lightning calls `set_epoch` before every pass, also the first after a resume; a plain loop does so itself.
    A generator would have to be saved with the checkpoint, in the state it had before the pass.

    >>> sampler = EpochShuffle(TensorPairs(torch.zeros(5, 1), torch.zeros(5)), seed=1)
    >>> first = list(sampler)
    >>> sampler.set_epoch(1)
    >>> sorted(first) == sorted(sampler), first == list(sampler)
    (True, False)
    """

    def __init__(self, data_source: Any, seed: int = 0) -> None:
        super().__init__(data_source)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        # The multiplier keeps the orders of (seed, epoch + 1) and (seed + 1, epoch) apart.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        yield from torch.randperm(self.num_samples, generator=generator).tolist()


def training_loader(
    data: TensorPairs,
    batch_size: int,
    seed: int = 0,
    fixed_batches: bool = False,
    augment: Callable[[Tensor], Tensor] | None = None,
) -> DataLoader[Any]:
    """Shuffled batches (x, y); with `fixed_batches` batches (x, y, batch number) of fixed membership for `BatchSites`.

    Args:
        data, batch_size: examples, and how many of them in a batch.
        seed: of the shuffle, and of the membership.
        augment: changes the inputs of a batch at every visit, by torch's global generator.

    Raises:
        InvalidInput: `fixed_batches` and `augment` at once.
    """
    if fixed_batches:
        _require_same_inputs(augment)
        batches = FixedBatches(data, batch_size, seed)
        return DataLoader(batches, batch_size=None, sampler=EpochShuffle(batches, seed))
    collate = _whole if augment is None else partial(_augmented, augment=augment)
    # By name: Lightning makes the loader anew for several processes and cannot see positional arguments.
    return DataLoader(data, batch_size=batch_size, sampler=EpochShuffle(data, seed), collate_fn=collate)


def evaluation_loader(data: TensorPairs) -> DataLoader[Any]:
    """Batches (x, y) in the data's order."""
    return DataLoader(data, batch_size=EVALUATION_BATCH, collate_fn=_whole)


def split_indices(size: int, validation: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Indices of the training and the validation part, dealt by a generator of its own.

    Args:
        size: number of examples.
        validation: share of the validation part, 0 <= validation < 1.

    Raises:
        InvalidInput: a share out of range.

    >>> [len(part) for part in split_indices(10, 0.3)]
    [7, 3]
    """
    validation = require("validation", validation, SHARE, "split_indices", fix="use 0.1")
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    held_out = round(size * validation)
    return order[held_out:], order[:held_out]


def _whole(batch: Any) -> Any:
    """`TensorPairs` has collated already."""
    return batch


def _augmented(batch: tuple[Tensor, ...], augment: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
    return augment(batch[0]), *batch[1:]


def _require_same_inputs(augment: Callable[[Tensor], Tensor] | None) -> None:
    """A stored site speaks for the very inputs of its batch; other inputs would be divided out by a foreign message."""
    if augment is not None:
        raise InvalidInput(
            "fixed batches must hold the same inputs at every visit, and augmentation changes them",
            where="training_loader",
            got="fixed_batches=True with augmentation (crop, flip)",
            cause="BatchSites, which needs fixed batches, with an augmented data set",
            fix="use AveragedSites (the default store) without fixed_batches, or leave out crop and flip",
        )
