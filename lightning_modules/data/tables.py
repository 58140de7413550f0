"""Tables for regression: pure functions from files to float64 tensors."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput


class Table(NamedTuple):
    """Features (n, d) and targets (n, 1), float64 in original units, with the rows of the train and test parts."""

    x: Tensor
    y: Tensor
    train: Tensor
    test: Tensor


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


def load_csv(path: str | Path, target: str, test: float = 0.1, seed: int = 0) -> Table:
    """A CSV file with a header line and numbers only; every column but `target` is a feature.

    Args:
        target: name of the target's column.
        test: share of the rows that are the test part, dealt by a generator with this seed.

    Raises:
        InvalidInput: no such file or column, or a cell that is not a number.
    """
    names, rows = _read_csv(Path(path))
    if target not in names:
        raise InvalidInput(
            "no such column", where=str(path), got=repr(target), cause="a file without header line", fix=f"use {names}"
        )
    column = names.index(target)
    values = _numbers(rows, Path(path))
    features = [i for i in range(len(names)) if i != column]
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    held_out = round(len(values) * test)
    return Table(values[:, features], values[:, [column]], order[held_out:], order[:held_out])


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
    return Table(values[:, features], values[:, target], train, test)


def _read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    if not path.is_file():
        raise InvalidInput("the file is missing", where=str(path), fix="check the path")
    with path.open(newline="") as file:
        names, *rows = [row for row in csv.reader(file) if row]
    return [name.strip() for name in names], rows


def _numbers(rows: list[list[str]], path: Path) -> Tensor:
    try:
        return torch.tensor([[float(cell) for cell in row] for row in rows], dtype=torch.float64)
    except ValueError as error:
        raise InvalidInput(
            "every cell below the header must be a number, and every row as long as the others",
            where=str(path),
            got=str(error),
            cause="text or missing values",
            fix="encode or drop them before",
        ) from error


def _read_numbers(path: Path, dtype: type[np.generic]) -> np.ndarray:
    if not path.is_file():
        siblings = sorted(folder.name for folder in path.parent.parent.glob("*/") if (folder / "data.txt").is_file())
        raise InvalidInput(
            "a file of the UCI layout is missing", where=str(path), fix=f"check name and split; sets found: {siblings}"
        )
    values = np.loadtxt(path, ndmin=2)  # index files are written as floats by some tools
    return values.astype(dtype)
