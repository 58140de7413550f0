"""Files of predictions: CSV with a row for each example, or the tensors as they are (.pt)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from torch_gbp.errors import InvalidInput

FORMATS = (".csv", ".pt")
_DIGITS = 6  # significant, of a number in a CSV file


class PredictionFile(BasePredictionWriter):
    """Writes what `predict` returns to a file: a CSV table, or a .pt file with one entry for each batch.

    Args:
        path: of the file, .csv or .pt.
    """

    def __init__(self, path: str) -> None:
        super().__init__(write_interval="epoch")
        self.path = require_format(path)

    def write_on_epoch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        if self.path.suffix == ".pt":
            torch.save(list(predictions), self.path)
            return
        batches = [{"probabilities": batch} if isinstance(batch, Tensor) else batch for batch in predictions]
        preparation = getattr(pl_module, "preparation", None)
        write_predictions(self.path, joined(batches), () if preparation is None else preparation.classes)


def require_format(path: str | Path) -> Path:
    """The path.

    Raises:
        InvalidInput: a name that ends otherwise than .csv or .pt, or a folder that is not there.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise InvalidInput(
            "predictions are written as .csv or .pt", where=str(path), got=path.suffix or "no ending", fix="rename it"
        )
    if not path.parent.is_dir():
        raise InvalidInput("the folder is missing", where=str(path.parent), fix="make it before")
    return path


def joined(batches: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Predictions of all batches, by name.

    >>> joined([{"mean": torch.ones(2)}, {"mean": torch.zeros(1)}])
    {'mean': tensor([1., 1., 0.])}
    """
    return {name: torch.cat([batch[name] for batch in batches]).cpu() for name in batches[0]}


def write_predictions(path: str | Path, found: dict[str, Tensor], classes: Sequence[str] = ()) -> None:
    """Writes predictions, tensors (n, ...) by name, to a .csv or .pt file.

    Args:
        classes: names of the classes; without them they are their numbers.
    """
    path = require_format(path)
    if path.suffix == ".pt":
        torch.save(found, path)
        return
    table = columns(found, classes)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))


def columns(found: dict[str, Tensor], classes: Sequence[str] = ()) -> dict[str, list[str]]:
    """A table's columns by their names: the class and its probability first, then each class's; real numbers by their names.

    >>> columns({"probabilities": torch.tensor([[0.25, 0.75]])}, ["no", "yes"])
    {'class': ['yes'], 'probability': ['0.75'], 'p(no)': ['0.25'], 'p(yes)': ['0.75']}
    >>> columns({"mean": torch.tensor([[1.0, 2.0]])})
    {'mean_0': ['1'], 'mean_1': ['2']}
    """
    found = dict(found)
    table = _of_classes(found.pop("probabilities"), classes) if "probabilities" in found else {}
    for name, values in found.items():
        rows = values.reshape(len(values), -1)
        names = [name] if rows.shape[1] == 1 else [f"{name}_{k}" for k in range(rows.shape[1])]
        table |= {own: _texts(rows[:, k]) for k, own in enumerate(names)}
    return table


def _of_classes(probabilities: Tensor, classes: Sequence[str]) -> dict[str, list[str]]:
    names = classes or [str(number) for number in range(probabilities.shape[1])]
    best = probabilities.max(1)
    first = {"class": [names[k] for k in best.indices.tolist()], "probability": _texts(best.values)}
    return first | {f"p({name})": _texts(probabilities[:, k]) for k, name in enumerate(names)}


def _texts(values: Tensor) -> list[str]:
    return [f"{value:.{_DIGITS}g}" for value in values.tolist()]
