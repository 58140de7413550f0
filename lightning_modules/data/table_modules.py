"""Data modules for regression: CSV files and UCI sets."""

from __future__ import annotations

from torch import Tensor

from lightning_modules.data.base import Parts, TensorDataModule
from lightning_modules.data.loading import TensorPairs, split_indices
from lightning_modules.data.tables import Scaler, Table, load_csv, load_uci


class TableDataModule(TensorDataModule):
    """A table in memory as float32, features and targets standardised by the training part.

    `target_mean` and `target_std` (1,) lead back to the targets' units; `GBPRegressor` takes them from here.

    Args:
        batch_size, validation, fixed_batches, seed: as in `TensorDataModule`.
    """

    target_mean: Tensor
    target_std: Tensor

    def load(self) -> Table:
        """The table as it is."""
        raise NotImplementedError

    def make_parts(self) -> Parts:
        table = self.load()
        kept, held_out = split_indices(len(table.train), self.validation, self.seed)
        train = table.train[kept]
        features, targets = Scaler.fit(table.x[train]), Scaler.fit(table.y[train])
        self.target_mean, self.target_std = targets.mean.float(), targets.std.float()
        x, y = features(table.x).float(), targets(table.y).float()
        validation = table.train[held_out]
        return Parts(
            train=TensorPairs(x[train], y[train]),
            validation=TensorPairs(x[validation], y[validation]) if len(validation) else None,
            test=TensorPairs(x[table.test], y[table.test]),
            ood={},
        )


class CSV(TableDataModule):
    """Regression on a CSV file with a header line.

    Args:
        path: the file.
        target: name of the target's column.
        test: share of the rows held out for testing.
        batch_size, validation, fixed_batches, seed: as in `TensorDataModule`.
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
    ) -> None:
        super().__init__(batch_size, validation, fixed_batches, seed)
        self.path, self.target, self.test = path, target, test

    def load(self) -> Table:
        return load_csv(self.path, self.target, self.test, self.seed)


class UCI(TableDataModule):
    """A UCI regression set, DIR/UCI/<name>, with one of its own train/test splits.

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
        super().__init__(batch_size, validation, fixed_batches, seed)
        self.set_name, self.data_dir, self.split = name, data_dir, split

    def load(self) -> Table:
        return load_uci(self.data_dir, self.set_name, self.split)
