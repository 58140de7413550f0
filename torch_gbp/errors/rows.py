"""Checks of examples row by row, with the first row that is wrong; nothing is repaired."""

from __future__ import annotations

from torch import Tensor

from torch_gbp.errors import InvalidInput

ROUNDING = 1e-3  # how far a row of class probabilities may sum from 1, half precision included


def require_rows(good: Tensor, values: Tensor, what: str, where: str, *, cause: str, fix: str, axes: int = 1) -> None:
    """Raises InvalidInput with the first bad row, and column if there are several, unless all are good.

    Args:
        good: truth values of the rows, (n,), or of their entries, (n, ...).
        values: of the same shape, one of which the error shows.
        axes: how many of the first axes number the rows.
    """
    if bool(good.all()):
        return
    first = (~good).nonzero()[0].tolist()
    row, column = (", ".join(map(str, part)) for part in (first[:axes], first[axes:]))
    rows = good.flatten(axes).all(-1) if good.ndim > axes else good
    raise InvalidInput(
        f"{int((~rows).sum())} of {rows.numel()} rows have {what}",
        where=where,
        got=f"{float(values[tuple(first)]):.6g} in row {row}" + (f", column {column}" if column else ""),
        cause=cause,
        fix=fix,
    )


def require_probabilities(p: Tensor, where: str, *, fix: str, rounding: float = ROUNDING) -> None:
    """Raises InvalidInput unless class probabilities (..., classes) are finite and not negative, and every row sums to 1.

    >>> import torch
    >>> require_probabilities(torch.tensor([[0.2, 0.8], [1.0, 0.0]]), "a doctest", fix="pass a softmax")
    """
    total, axes = p.sum(-1), p.ndim - 1
    even = (total - 1).abs() <= rounding
    if bool((even & (p >= 0).all(-1)).all()):  # one look at the device while nothing is wrong
        return
    for good, values, what, cause, way_out in (
        (~(p < 0), p, "negative probabilities", "logits or log-probabilities", fix),
        (p.isfinite(), p, "NaN or infinite probabilities", "a network that diverged", "leave those examples out"),
        (even, total, "probabilities that do not sum to 1", "scores of a sigmoid, logits, or half precision", fix),
    ):
        require_rows(good, values, what, where, cause=cause, fix=way_out, axes=axes)
