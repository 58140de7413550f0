"""Data modules for tables: CSV files and UCI sets."""

from __future__ import annotations

from torch import Tensor

from lightning_modules.data.base import Parts, TensorDataModule
from lightning_modules.data.earlier import Earlier, earlier, renumbered
from lightning_modules.data.loading import TensorPairs, split_indices
from lightning_modules.data.tables import TASKS, Scaler, Table, Task, load_csv, load_uci
from lightning_modules.preparation import Preparation
from torch_gbp.errors import InvalidInput


class TableDataModule(TensorDataModule):
    """A table in memory as float32, features and real targets standardised by the training part.

    `target_mean` and `target_std` (1,) lead back to the targets' units; `GBPRegressor` takes them from here.

    Args:
        table: as it was read.
        prepared_as: a checkpoint whose standardisation and numbers of the classes hold, in place of the training part's own: for
            the next task of a network that has learnt others.
        batch_size, validation, fixed_batches, seed: as in `TensorDataModule`.

    Raises:
        InvalidInput: a checkpoint of other columns, or without some of the classes.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self, table: Table, batch_size: int, validation: float, fixed_batches: bool, seed: int, prepared_as: str | None = None
    ) -> None:
        super().__init__(batch_size, validation, fixed_batches, seed)
        self.table, self.prepared_as = table, prepared_as
        self._earlier: Earlier | None = None
        if prepared_as is not None:
            self._earlier = earlier(prepared_as)
            self.table = renumbered(table, self._earlier.preparation, prepared_as)

    def make_parts(self) -> Parts:
        table = self.table
        kept, held_out = split_indices(len(table.train), self.validation, self.seed)
        train, validation = table.train[kept], table.train[held_out]
        features = Scaler.fit(table.x[train])
        own = Preparation(features.mean, features.std, table.columns, table.target, table.classes)
        self.preparation = own if self._earlier is None else self._earlier.preparation
        x, y = self.preparation(table.x), table.y if table.classes else self._scaled(table.y, train)
        return Parts(
            train=TensorPairs(x[train], y[train]),
            validation=TensorPairs(x[validation], y[validation]) if len(validation) else None,
            test=TensorPairs(x[table.test], y[table.test]),
            ood={},
        )

    @property
    def outputs(self) -> int:
        return len(self.table.classes) or self.table.y.shape[1]

    def _scaled(self, targets: Tensor, train: Tensor) -> Tensor:
        scaler = Scaler.fit(targets[train]) if self._earlier is None else self._earlier.targets
        self.target_mean, self.target_std = scaler.mean.float(), scaler.std.float()
        return scaler(targets).float()


class CSV(TableDataModule):
    """Regression or classification on a CSV file with a header line; the file is read, and checked, at once.

    Args:
        path: the file.
        target: name of the target's column.
        test: share of the rows held out for testing.
        task: regression, or classification, whose targets are names.
        prepared_as: as in `TableDataModule`.
        batch_size, validation, fixed_batches, seed: as in `TensorDataModule`.

    Raises:
        InvalidInput: as `load_csv`.
    """

    def __init__(
        self,
        path: str,
        target: str,
        test: float = 0.1,
        batch_size: int = 16,
        validation: float = 0.1,
        fixed_batches: bool = False,
        seed: int = 0,
        task: Task = "regression",
        prepared_as: str | None = None,
    ) -> None:
        if task not in TASKS:
            raise InvalidInput("unknown task", where="CSV", got=repr(task), fix=f"use one of {TASKS}")
        super().__init__(load_csv(path, target, test, seed, task), batch_size, validation, fixed_batches, seed, prepared_as)
        self.path, self.target, self.test, self.task = path, target, test, task


class UCI(TableDataModule):
    """A UCI regression set, DIR/UCI/<name>, with one of its own train/test splits; it is read at once.

    Args:
        name: folder of the set, e.g. yacht.
        data_dir: folder that holds UCI/.
        split: number of the split.
        batch_size, validation, fixed_batches, seed: as in `TensorDataModule`.
    """

    def __init__(
        self,
        name: str,
        data_dir: str = "data",
        split: int = 0,
        batch_size: int = 16,
        validation: float = 0.1,
        fixed_batches: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(load_uci(data_dir, name, split), batch_size, validation, fixed_batches, seed)
        self.set_name, self.data_dir, self.split = name, data_dir, split
