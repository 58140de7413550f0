"""Data prepared as those of an earlier task were, by its checkpoint."""

from __future__ import annotations

from typing import NamedTuple

import torch

from lightning_modules.checkpoints.reading import read_checkpoint, read_record
from lightning_modules.data.tables import Scaler, Table
from lightning_modules.preparation import Preparation
from torch_gbp.errors import InvalidInput


class Earlier(NamedTuple):
    """How a checkpoint's run prepared inputs, and its targets if they are real."""

    preparation: Preparation
    targets: Scaler


def earlier(path: str) -> Earlier:
    """What a checkpoint says of the data that it was trained on.

    Raises:
        InvalidInput: no such checkpoint, or one that was not trained on a table.
    """
    preparation, state = read_record(path).preparation, read_checkpoint(path)["state_dict"]
    if preparation is None or not preparation.columns:
        raise InvalidInput("the checkpoint is of no table", where=path, fix="leave prepared_as out, or give the first task's")
    mean, std = (state.get(name, torch.tensor([default])) for name, default in (("target_mean", 0.0), ("target_std", 1.0)))
    return Earlier(preparation, Scaler(mean.double(), std.double()))


def renumbered(table: Table, preparation: Preparation, where: str) -> Table:
    """The table with columns and classes in the order of an earlier one.

    Raises:
        InvalidInput: other columns, or classes that the earlier one did not have.

    >>> row = torch.tensor([0])
    >>> table = Table(torch.tensor([[1.0, 2.0]]), row, row, row[:0], ("a", "b"), "y", ("yes",))
    >>> found = renumbered(table, Preparation(torch.zeros(2), torch.ones(2), ("b", "a"), "y", ("no", "yes")), "first.ckpt")
    >>> found.x, found.y
    (tensor([[2., 1.]]), tensor([1]))
    """
    wrong = {"columns": {*table.columns} ^ {*preparation.columns}, "classes": {*table.classes} - {*preparation.classes}}
    for what, names in wrong.items():
        if names:
            raise InvalidInput(
                f"the data have other {what} than those of the checkpoint",
                where=where,
                got=", ".join(sorted(names)),
                cause="a file of something else, or new classes",
                fix="give the same columns; a head grows by torch_gbp.continual.widen_head, in Python",
            )
    x = table.x[:, [table.columns.index(name) for name in preparation.columns]]
    numbers = torch.tensor([preparation.classes.index(name) for name in table.classes], dtype=torch.long)
    y = numbers[table.y] if table.classes else table.y
    return table._replace(x=x, y=y, columns=preparation.columns, classes=preparation.classes)
