"""The common part of the data modules: from tensors in memory to Lightning's loaders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import lightning
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_modules.data.loading import TensorPairs, evaluation_loader, training_loader
from lightning_modules.preparation import Preparation
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import SHARE, require, require_count


class Parts(NamedTuple):
    """What a data module serves, normalised; `ood` are named out-of-distribution test sets."""

    train: TensorPairs
    validation: TensorPairs | None
    test: TensorPairs
    ood: dict[str, TensorPairs]


class TensorDataModule(lightning.LightningDataModule):
    """Serves `Parts`: shuffled training batches, validation, and test loaders (in-distribution first, then OOD).

    A subclass may set `augment`, which changes the inputs of training batches and of no others.

    Args:
        batch_size: examples per training batch.
        validation: share of the training set held out for validation, 0 <= validation < 1.
        fixed_batches: training batches (x, y, batch number) of fixed membership, for `BatchSites`.
        seed: of the split, the shuffle and the made-up OOD sets.
    """

    sizes: tuple[tuple[int, ...], int] | None = None  # of an input, and how many outputs, where they are known before loading

    def __init__(self, batch_size: int, validation: float, fixed_batches: bool, seed: int) -> None:
        super().__init__()
        batch_size = require_count("batch_size", batch_size, type(self).__name__, fix="use 64")
        validation = require("validation", validation, SHARE, type(self).__name__, fix="use 0.1")
        self.batch_size, self.validation, self.fixed_batches, self.seed = batch_size, validation, fixed_batches, seed
        self.augment: Callable[[Tensor], Tensor] | None = None  # of training inputs, batch by batch
        self.preparation: Preparation | None = None  # of inputs; a subclass sets it when it makes the parts
        self._parts: Parts | None = None

    def make_parts(self) -> Parts:
        """Loads, splits and normalises the data."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Loads once; every stage uses the same parts."""
        if self._parts is None:
            self._parts = self.make_parts()

    @property
    def parts(self) -> Parts:
        """The loaded parts.

        Raises:
            InvalidInput: before `setup()`.
        """
        if self._parts is None:
            raise InvalidInput(
                "the data are not loaded yet", where=type(self).__name__, fix="call setup(), as Lightning's trainer does"
            )
        return self._parts

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an input; the data are loaded for it where it is not known before."""
        if self.sizes is not None:
            return self.sizes[0]
        self.setup()
        return tuple(self.parts.train.tensors[0].shape[1:])

    @property
    def outputs(self) -> int:
        """Number of classes, or of real targets: how many outputs a network needs."""
        if self.sizes is not None:
            return self.sizes[1]
        self.setup()
        targets = self.parts.train.tensors[1]
        return int(targets.max()) + 1 if not targets.is_floating_point() else targets.shape[-1]

    @property
    def test_names(self) -> list[str]:
        """Names of the test loaders, in their order."""
        return ["test", *self.parts.ood]

    def train_dataloader(self) -> DataLoader[Any]:
        return training_loader(self.parts.train, self.batch_size, self.seed, self.fixed_batches, self.augment)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        held_out = self.parts.validation
        return [] if held_out is None else [evaluation_loader(held_out)]

    def test_dataloader(self) -> list[DataLoader[Any]]:
        return [evaluation_loader(data) for data in (self.parts.test, *self.parts.ood.values())]

    def predict_dataloader(self) -> DataLoader[Any]:
        return evaluation_loader(self.parts.test)
