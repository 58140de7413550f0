"""Labels as scores take them, whatever integers they come as."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from torch_gbp.errors import InvalidInput

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def indices(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Labels (n,) of probabilities (n, classes) as int64.

    Raises:
        InvalidInput: labels of another shape, or no integers.

    >>> indices(torch.tensor([0, 1], dtype=torch.uint8), torch.eye(2)).dtype
    torch.int64
    """
    if labels.shape != probabilities.shape[:1] or labels.dtype not in _INTEGERS:
        raise InvalidInput(
            "labels must be integers of shape (n,)",
            where="a score of class probabilities",
            got=f"{labels.dtype}, shape {tuple(labels.shape)}, probabilities {tuple(probabilities.shape)}",
            cause="a column of labels, or one-hot ones",
            fix="pass y.squeeze(1), or y.argmax(1)",
        )
    return labels.long()


def indicators(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Labels (n,) as rows of zeros with a one, (n, classes).

    >>> indicators(torch.tensor([1]), torch.tensor([[0.5, 0.5]]))
    tensor([[0, 1]])
    """
    return one_hot(indices(labels, probabilities), probabilities.shape[1])
