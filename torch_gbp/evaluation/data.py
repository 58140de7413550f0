"""Data: the batches of loaders, data sets, tensors and arrays, and the predictions on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from torch_gbp.batches import batches, first_of, gives_single_examples, is_array, targeted
from torch_gbp.errors import InvalidInput
from torch_gbp.evaluation.adapter import Adapter
from torch_gbp.evaluation.checks import WHERE
from torch_gbp.evaluation.outcome import Predictions
from torch_gbp.evaluation.reading import joined, read, tensor
from torch_gbp.gaussian import Gaussian

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
    return joined(parts), torch.cat(targets)


def predicted_inputs(model: Adapter, data: Any, keep_inputs: bool) -> Predictions:
    """Predictions on all inputs of data with or without targets."""
    return joined([_asked(model, x, keep_inputs) for x in _inputs(data)])


def given(predictions: Any, outputs: str | None) -> Predictions | None:
    """Predictions, if that is what was given in the place of a model: probabilities, (mean, std), a distribution; else None."""
    if is_array(predictions):
        return read(predictions, outputs or "probabilities")
    if isinstance(predictions, tuple) and len(predictions) == 2 and all(map(is_array, predictions)):
        return read(predictions, outputs or "mean_std")
    return read(predictions, outputs) if isinstance(predictions, (Predictions, torch.distributions.Distribution)) else None


def _asked(model: Adapter, x: Any, keep_inputs: bool) -> Predictions:
    found = model(x)
    return replace(found, inputs=tensor(x.mean if isinstance(x, Gaussian) else x).detach().cpu()) if keep_inputs else found


def chunked(data: Any) -> Any:
    """Batches of a pair of arrays, of inputs alone or of a data set; whatever gives batches itself stays what it is.

    >>> [x.shape for x in chunked(torch.zeros(501, 2))]
    [torch.Size([500, 2]), torch.Size([1, 2])]
    """
    if _is_pair(data):
        x, y = data
        return list(zip(chunked(x), chunked(y), strict=True))
    if _has_rows(data):
        return [data[i : i + CHUNK] for i in range(0, data.shape[0], CHUNK)]
    return DataLoader(data, CHUNK) if gives_single_examples(data) else data


def _pairs(data: Any) -> Iterator[tuple[Any, Tensor]]:
    """Batches of inputs and targets; a list of two arrays is a pair as well, as without targets it would be no data."""
    data = as_pair(data)
    if _is_pair(data) and data[0].shape[0] != data[1].shape[0]:
        got = f"{data[0].shape[0]} and {data[1].shape[0]}"
        raise InvalidInput("inputs and targets must be as many", where=WHERE, got=got, fix="match them")
    yield from ((batch[0], tensor(batch[1])) for batch in targeted(chunked(data), WHERE))


def _inputs(data: Any) -> Iterator[Any]:
    """Batches of inputs; a tuple is the pair (inputs, targets), a list one of batches."""
    yield from map(first_of, batches(chunked(data[0] if _is_pair(data) else data), WHERE))


def as_pair(data: Any) -> Any:
    """A list of two arrays as the pair (inputs, targets); whatever else it is stays."""
    return tuple(data) if isinstance(data, list) and _is_pair(tuple(data)) else data


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple) and not isinstance(data, Gaussian) and len(data) == 2 and all(map(_has_rows, data))


def _has_rows(data: Any) -> bool:
    return is_array(data) or isinstance(data, Gaussian)
