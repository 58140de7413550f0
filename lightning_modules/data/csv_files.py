"""CSV files with a header line: columns of finite numbers or of names, and errors that name row and column."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput


class CSVFile(NamedTuple):
    """Names of the columns, and the cells below them as text; rows are counted from 1, the first below the header."""

    path: Path
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def numbers(self, columns: Sequence[str]) -> Tensor:
        """Columns as float64, (rows, columns).

        Raises:
            InvalidInput: no such column, or a cell that is not a finite number.
        """
        places = [self._place(name) for name in columns]
        cells = [[_number(row[k], self._where(n, k)) for k in places] for n, row in enumerate(self.rows, 1)]
        return torch.tensor(cells, dtype=torch.float64)

    def texts(self, column: str) -> list[str]:
        """A column of names.

        Raises:
            InvalidInput: no such column, or an empty cell.
        """
        place = self._place(column)
        for number, row in enumerate(self.rows, 1):
            if not row[place]:
                raise InvalidInput(
                    "the cell is empty, and a class is needed",
                    where=self._where(number, place),
                    cause="a missing value",
                    fix="fill it, or drop the row",
                )
        return [row[place] for row in self.rows]

    def _place(self, name: str) -> int:
        if name not in self.names:
            raise InvalidInput(
                "no such column",
                where=str(self.path),
                got=repr(name),
                cause="another separator than the comma" if len(self.names) == 1 else "a file without header line",
                fix=f"use {[*self.names]}",
            )
        return self.names.index(name)

    def _where(self, row: int, place: int) -> str:
        return f"{self.path}, row {row}, column {self.names[place]!r}"


def read_csv(path: str | Path) -> CSVFile:
    """A CSV file, spaces around its cells left out.

    Raises:
        InvalidInput: no such file, no rows, two columns of one name, or a row with more or fewer cells than there are columns.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInput("the file is missing", where=str(path), fix="check the path")
    with path.open(newline="", encoding="utf-8-sig") as file:
        found = [tuple(cell.strip() for cell in row) for row in csv.reader(file) if row]
    if len(found) < 2:
        raise InvalidInput(
            "a header line and at least one row of numbers are needed",
            where=str(path),
            got=f"{len(found)} lines",
            cause="an empty file, or a header alone",
            fix="check what wrote it",
        )
    names, *rows = found
    _check_names(path, names)
    _check_lengths(path, names, rows)
    return CSVFile(path, names, tuple(rows))


def _check_names(path: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput("columns must have names of their own", where=str(path), got=f"{twice} twice", fix="rename them")


def _check_lengths(path: Path, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise InvalidInput(
                "every row must have a cell for each column",
                where=f"{path}, row {number}",
                got=f"{len(row)} cells, {len(names)} columns",
                cause="a comma within a number or a text, or a missing value",
                fix="quote or drop it before",
            )


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
            fix="encode or drop them before; a target of names needs task=classification",
        )
    return value
