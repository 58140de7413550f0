"""Data: the batches of loaders, data sets, tensors and arrays, and the predictions on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import shown
from torch_gbp.evaluation.adapter import Adapter
from torch_gbp.evaluation.checks import WHERE
from torch_gbp.evaluation.outcome import Predictions
from torch_gbp.evaluation.reading import joined, read, tensor

CHUNK = 500  # examples that a model predicts at a time, where the data do not come in batches


def predicted(model: Adapter, data: Any, keep_inputs: bool) -> tuple[Predictions, Tensor]:
    """Predictions on all inputs of data with targets, and the targets.

    Args:
        data: loader or data set of (input, target); or a pair of tensors or arrays.

    Raises:
        InvalidInput: no examples, no targets, targets or predictions for fewer examples than inputs.
    """
    parts, targets = [], []
    for x, y in _pairs(data):
        parts.append(_asked(model, x, keep_inputs))
        targets.append(y)
        if len(y) != len(parts[-1]):
            raise InvalidInput(
                "inputs and targets must be as many", where=WHERE, got=f"{len(parts[-1])}, {len(y)}", fix="match them"
            )
    _require_batches(parts)
    return joined(parts), torch.cat(targets)


def predicted_inputs(model: Adapter, data: Any, keep_inputs: bool) -> Predictions:
    """Predictions on all inputs of data with or without targets."""
    parts = [_asked(model, x, keep_inputs) for x in _inputs(data)]
    _require_batches(parts)
    return joined(parts)


def given(predictions: Any, outputs: str | None) -> Predictions | None:
    """Predictions, if that is what was given in the place of a model: probabilities, (mean, std), a distribution; else None."""
    if _is_array(predictions):
        return read(predictions, outputs or "probabilities")
    if isinstance(predictions, tuple) and len(predictions) == 2 and all(map(_is_array, predictions)):
        return read(predictions, outputs or "mean_std")
    return read(predictions, outputs) if isinstance(predictions, (Predictions, torch.distributions.Distribution)) else None


def _asked(model: Adapter, x: Any, keep_inputs: bool) -> Predictions:
    found = model(x)
    return replace(found, inputs=tensor(x).detach().cpu()) if keep_inputs else found


def _pairs(data: Any) -> Iterator[tuple[Any, Tensor]]:
    """Batches of inputs and targets."""
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(map(_is_array, data)):
        x, y = data[0], tensor(data[1])
        if len(x) != len(y):
            raise InvalidInput("inputs and targets must be as many", where=WHERE, got=f"{len(x)} and {len(y)}", fix="match them")
        yield from ((x[i : i + CHUNK], y[i : i + CHUNK]) for i in range(0, len(y), CHUNK))
        return
    for batch in _batches(data):
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise InvalidInput("batches of (input, target) are needed", where=WHERE, got=shown(batch), fix="add the targets")
        yield batch[0], tensor(batch[1])


def _inputs(data: Any) -> Iterator[Any]:
    """Batches of inputs; a tuple is the pair (inputs, targets), a list one of batches."""
    if isinstance(data, tuple) and len(data) == 2 and all(map(_is_array, data)):
        data = data[0]
    if _is_array(data):
        yield from (data[i : i + CHUNK] for i in range(0, len(data), CHUNK))
        return
    yield from (batch[0] if isinstance(batch, (tuple, list)) else batch for batch in _batches(data))


def _batches(data: Any) -> Iterable[Any]:
    if isinstance(data, Dataset):
        return DataLoader(data, CHUNK)
    if not isinstance(data, Iterable) or isinstance(data, (str, dict)):
        raise InvalidInput(
            "data are a loader, a data set, or tensors",
            where=WHERE,
            got=shown(data),
            fix="pass a DataLoader, or the pair (inputs, targets)",
        )
    return data


def _require_batches(parts: list[Predictions]) -> None:
    if not parts:
        raise InvalidInput(
            "there are no examples", where=WHERE, cause="an empty loader, or one used up", fix="pass a fresh loader"
        )


def _is_array(values: Any) -> bool:
    """Tensors, numpy arrays and what is like them."""
    return isinstance(values, Tensor) or (hasattr(values, "__array__") and hasattr(values, "shape"))
