"""Checks of targets and outputs: shapes, types and values."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_values, shown
from torch_gbp.gaussian import Gaussian

MISSING = -100  # the label of an example without label, torch's own ignore_index


def check_labels(output: Gaussian, target: Tensor, where: str) -> None:
    """Class labels: integers (n,) in 0 ... classes - 1, for outputs (n, classes)."""
    if output.ndim != 2 or target.shape != output.shape[:1]:
        single = target.ndim == 2 and target.shape == (*output.shape[:1], 1)
        raise InvalidInput(
            "labels of shape (n,) and outputs of shape (n, classes) are needed",
            where=where,
            got=f"labels {tuple(target.shape)}, outputs {tuple(output.shape)}",
            cause="a column of labels" if single else "one-hot labels, or a missing nn.Flatten",
            fix="pass y.squeeze(1)" if single else "pass class indices",
        )
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise InvalidInput(
            "labels must be integers",
            where=where,
            got=str(target.dtype),
            cause="labels read as numbers, or regression targets",
            fix="convert with y.long()",
        )
    require_examples(target, where)
    low, high = (int(bound) for bound in target.aminmax())
    if low == MISSING:
        raise InvalidInput(
            f"{int((target == MISSING).sum())} of {len(target)} examples have no label",
            where=where,
            got=f"the label {MISSING}",
            cause="a loss or an order that needs all labels",
            fix="leave them out, use Inference(schedule=LayerSweeps()), or FactorGraph(..., observed=mask) with any valid label",
        )
    if low < 0 or high >= output.shape[1]:
        raise InvalidInput(
            f"labels must lie in 0 ... {output.shape[1] - 1}",
            where=where,
            got=f"{low} ... {high}",
            cause="a mark of missing labels" if low < 0 else "labels that start at 1, or too few outputs",
            fix=f"leave them out, or mark them by {MISSING}" if low < 0 else "shift the labels or widen the last layer",
        )


def require_finite_output(output: Tensor, where: str) -> None:
    """Raises InvalidInput for plain outputs that are not finite."""
    require_values(output, where)
    if torch.compiler.is_compiling() or math.isfinite(output.detach().sum().item()) or bool(output.isfinite().all()):
        return
    raise InvalidInput(
        f"{int((~output.isfinite()).sum())} of {output.numel()} outputs are NaN or Inf",
        where=where,
        cause="missing values (NaN) in the inputs, inputs that are not standardised, or a network that diverged",
        fix="impute or drop missing values, standardise the inputs, or lower lr",
    )


def check_known(known: Any, output: Tensor, where: str, name: str = "known") -> None:
    """A mask of known targets: of dtype bool, (n,) or as the outputs are shaped; None for all."""
    if known is None:
        return
    if not (isinstance(known, Tensor) and known.dtype == torch.bool):
        got = str(known.dtype) if isinstance(known, Tensor) else shown(known)
        raise InvalidInput(
            f"`{name}` must be a mask", where=where, got=got, fix="use a tensor of dtype bool, e.g. mask > 0, or None"
        )
    if known.shape not in (output.shape[:1], output.shape):
        raise InvalidInput(
            "the mask of known targets must be (n,) or of the outputs' shape",
            where=where,
            got=f"{tuple(known.shape)}, outputs {tuple(output.shape)}",
            fix="use one entry for every example",
        )


def require_examples(target: Tensor, where: str) -> None:
    """Raises InvalidInput for an empty batch, or one without values."""
    require_values(target, where)
    if target.numel() == 0:
        raise InvalidInput("the batch is empty", where=where, cause="a filter that left nothing", fix="skip empty batches")


def check_values(output: Gaussian, target: Tensor, where: str) -> None:
    """Real targets: finite, of the outputs' shape and floating point."""
    if target.shape != output.shape:
        squeezed = target.ndim == output.ndim + 1 and target.shape[-1:] == (1,)
        raise InvalidInput(
            "targets must have the outputs' shape",
            where=where,
            got=f"targets {tuple(target.shape)}, outputs {tuple(output.shape)}",
            cause=".squeeze(-1) in the network's forward" if squeezed else "a missing last axis of size 1",
            fix="leave it out, or pass y.squeeze(-1)" if squeezed else "reshape the targets, e.g. y[:, None]",
        )
    require_examples(target, where)
    if not target.is_floating_point():
        raise InvalidInput("targets must be floating point", where=where, got=str(target.dtype), fix="convert with y.float()")
    if not bool(target.isfinite().all()):
        raise InvalidInput(
            f"{int((~target.isfinite()).sum())} targets are NaN or Inf",
            where=where,
            cause="missing values",
            fix="drop those examples",
        )
