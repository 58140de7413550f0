"""Tables: pure functions from files to float64 tensors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from lightning_modules.data.csv_files import read_csv
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import SHARE, require

Task = Literal["regression", "classification"]
TASKS: tuple[str, ...] = get_args(Task)


class Table(NamedTuple):
    """Features (n, d) and targets, with the rows of the train and test parts, and names.

    Both are float64 in original units, the targets (n, 1); those of classification are class numbers (n,).
    """

    x: Tensor
    y: Tensor
    train: Tensor
    test: Tensor
    columns: tuple[str, ...] = ()
    target: str = ""
    classes: tuple[str, ...] = ()


class Scaler(NamedTuple):
    """Standardises columns: (values - mean) / std; a column without spread is only centred.

    >>> Scaler.fit(torch.tensor([[0.0, 5.0], [2.0, 5.0]])).std
    tensor([1., 1.])
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def fit(cls, values: Tensor) -> Scaler:
        """Mean and standard deviation of each column."""
        std = values.std(0, correction=0)
        return cls(values.mean(0), torch.where(std > 0, std, torch.ones_like(std)))

    def __call__(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.std


def load_csv(path: str | Path, target: str, test: float = 0.1, seed: int = 0, task: Task = "regression") -> Table:
    """A CSV file with a header line and numbers below it; every column but `target` is a feature.

    Args:
        target: name of the target's column.
        test: share of the rows that are the test part, dealt by a generator with this seed.
        task: classification takes the target's cells as names of classes, numbered in the order of the alphabet (of the numbers,
            where they are numbers).

    Raises:
        InvalidInput: no such file or column, no rows, a share of the test part that leaves nothing to train on, a cell that is
            no finite number (or an empty one, for classes), or one class only.
    """
    file = read_csv(path)
    test = require("test", test, SHARE, "load_csv", fix="use 0.1")
    columns = tuple(name for name in file.names if name != target)
    classes, y = ((), file.numbers([target])) if task == "regression" else _classes(str(path), file.texts(target))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    held_out = round(len(y) * test)
    return Table(file.numbers(columns), y, order[held_out:], order[:held_out], columns, target, classes)


def _classes(path: str, texts: list[str]) -> tuple[tuple[str, ...], Tensor]:
    """Names of the classes in their order, and the number of each row's."""
    names = sorted(set(texts))  # first as texts, so that numbers written in several ways have one order too
    if all(map(_is_number, names)):
        names = sorted(names, key=float)
    if len(names) < 2 or len(names) == len(texts):
        raise InvalidInput(
            "a classification needs two classes, and one with several examples",
            where=path,
            got=f"{len(names)} classes in {len(texts)} rows",
            cause="another column, or real numbers",
            fix="check target, or use task=regression",
        )
    return tuple(names), torch.tensor([names.index(text) for text in texts])


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def load_uci(data_dir: str | Path, name: str, split: int = 0) -> Table:
    """A UCI regression set in the layout of the usual benchmark: DIR/UCI/<name>/data.txt and index_*.txt.

    Args:
        split: which of the set's own train/test splits (index_train_<split>.txt).

    Raises:
        InvalidInput: a missing file (unknown set or split).
    """
    folder = Path(data_dir) / "UCI" / name
    values = torch.from_numpy(_read_numbers(folder / "data.txt", np.float64))
    features, target, train, test = (
        torch.from_numpy(_read_numbers(folder / f"index_{part}.txt", np.int64).ravel())
        for part in ("features", "target", f"train_{split}", f"test_{split}")
    )
    columns = tuple(f"column {int(number)}" for number in features)
    return Table(values[:, features], values[:, target], train, test, columns, "target")


def _read_numbers(path: Path, dtype: type[np.generic]) -> np.ndarray:
    if not path.is_file():
        siblings = sorted(folder.name for folder in path.parent.parent.glob("*/") if (folder / "data.txt").is_file())
        raise InvalidInput(
            "a file of the UCI layout is missing", where=str(path), fix=f"check name and split; sets found: {siblings}"
        )
    values = np.loadtxt(path, ndmin=2)  # index files are written as floats by some tools
    if not values.size or not np.isfinite(values).all():
        row, column = (0, 0) if not values.size else np.argwhere(~np.isfinite(values))[0]
        raise InvalidInput(
            "every number of the file must be finite, and there must be one",
            where=f"{path}, row {row + 1}, column {column + 1}",
            got=f"{values[row, column]}" if values.size else "an empty file",
            cause="missing values",
            fix="drop those rows before",
        )
    return values.astype(dtype)
