"""Tables for regression: pure functions from files to float64 tensors."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import SHARE, require


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
        InvalidInput: no such file or column, no rows, a share of the test part that leaves nothing to train on, or a cell that
            is not a finite number.
    """
    names, rows = _read_csv(Path(path))
    if target not in names:
        raise InvalidInput(
            "no such column", where=str(path), got=repr(target), cause="a file without header line", fix=f"use {names}"
        )
    test = require("test", test, SHARE, "load_csv", fix="use 0.1")
    column = names.index(target)
    values = _numbers(names, rows, Path(path))
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
        found = [row for row in csv.reader(file) if row]
    if len(found) < 2:
        raise InvalidInput(
            "a header line and at least one row of numbers are needed",
            where=str(path),
            got=f"{len(found)} lines",
            cause="an empty file, or a header alone",
            fix="check what wrote it",
        )
    return [name.strip() for name in found[0]], found[1:]


def _numbers(names: list[str], rows: list[list[str]], path: Path) -> Tensor:
    """The cells below the header, all finite; what is wrong is named by row (1 is the first below the header) and column."""
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise InvalidInput(
                "every row must have a cell for each column",
                where=f"{path}, row {number}",
                got=f"{len(row)} cells, {len(names)} columns",
                cause="a comma within a number or a text, or a missing value",
                fix="quote or drop it before",
            )
    cells = [
        [_number(cell, f"{path}, row {number}, column {name!r}") for name, cell in zip(names, row, strict=True)]
        for number, row in enumerate(rows, 1)
    ]
    return torch.tensor(cells, dtype=torch.float64)


def _number(cell: str, where: str) -> float:
    """The number in a cell; the features become float32 after they are standardised, so it must be finite there."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInput(
            "every cell below the header must be a finite number",
            where=where,
            got=repr(cell),
            cause="text, missing values, or a number too large",
            fix="encode or drop them before",
        )
    return value


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
