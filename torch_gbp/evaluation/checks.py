"""Checks of predictions and targets, with the row that is wrong; nothing is repaired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput, rows
from torch_gbp.errors.checks import require_kind, require_values
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.targets import check_labels, check_values

TOLERANCE = 1e-4  # of the sum of a row's probabilities: 100 times the rounding of a softmax in float32
WHERE = "evaluate"


def require_one_kind(probabilities: Any, mean: Any, std: Any) -> None:
    """Class probabilities, or mean and standard deviation, as tensors."""
    given = {"probabilities": probabilities, "mean": mean, "std": std}
    found = [name for name, value in given.items() if value is not None]
    if found not in (["probabilities"], ["mean", "std"]):
        raise InvalidInput(
            "predictions are class probabilities, or mean and standard deviation",
            where=WHERE,
            got=" and ".join(found) or "neither",
            cause="a point prediction without its uncertainty",
            fix="pass probabilities=..., or mean=... and std=...",
        )
    for name in found:
        require_kind(name, given[name], Tensor, WHERE, fix="pass a torch tensor")
        require_values(given[name], WHERE)
        if not given[name].is_floating_point():
            raise InvalidInput(
                f"{name} must be floating point", where=WHERE, got=str(given[name].dtype), fix="convert by .float()"
            )


def require_probabilities(p: Tensor) -> None:
    """(n, classes), at least two classes, finite, not negative, every row sums to 1."""
    if p.ndim != 2 or p.shape[0] == 0 or p.shape[1] < 2:
        raise InvalidInput(
            "probabilities (n, classes) of at least one example and two classes are needed",
            where=WHERE,
            got=f"shape {tuple(p.shape)}",
            cause="an empty loader, or the probability of one class alone",
            fix="pass both columns, torch.stack([1 - p, p], 1), of at least one example",
        )
    rows.require_probabilities(p, WHERE, fix="pass a softmax in float32, or say outputs='logits'", rounding=TOLERANCE)


def require_deviations(mean: Tensor, std: Tensor) -> None:
    """Finite means, positive and finite deviations, of one shape (n, ...)."""
    if mean.shape != std.shape or mean.ndim < 2 or not mean.numel():
        raise InvalidInput(
            "mean and standard deviation of one shape (n, ...) are needed, of at least one example",
            where=WHERE,
            got=f"{tuple(mean.shape)} and {tuple(std.shape)}",
            cause="one deviation for all, or an empty loader",
            fix="use std.expand_as(mean)",
        )
    diverged = "a network that diverged"
    rows.require_rows(mean.isfinite(), mean, "NaN or infinite means", WHERE, cause=diverged, fix="leave those examples out")
    rows.require_rows(
        (std > 0) & std.isfinite(),
        std,
        "standard deviations that are not positive and finite",
        WHERE,
        cause="predictions without noise, or a logarithm in the place of the deviation",
        fix="add the noise of the targets",
    )


def require_rows_of_counts(mean: Tensor) -> None:
    """Counts (n, k): their distributions are scored as they are."""
    if mean.ndim > 2:
        got, fix = f"shape {tuple(mean.shape)}", "end the network in nn.Flatten, and pass y.flatten(1)"
        raise InvalidInput("counts (n, k) are needed", where=WHERE, got=got, cause="counts of images or sequences", fix=fix)


def require_parts(length: int, **parts: Tensor | None) -> None:
    """Parts with a row for each example; numbers are not NaN."""
    for name, part in parts.items():
        if part is not None and len(part) != length:
            raise InvalidInput(
                f"{name} needs a row for each of {length} examples", where=WHERE, got=f"{len(part)}", fix="join all"
            )
        if part is not None and name != "inputs":
            cause, fix = "a difference of infinities", f"leave {name} out"
            rows.require_rows(~part.isnan(), part, f"{name} that is NaN", WHERE, cause=cause, fix=fix)


def require_names(name: Any, near: Any, ood: Any) -> frozenset[str]:
    """A name of the model, sets by their names, and the names of those that are near."""
    require_kind("name", name, str, WHERE, fix="pass a text")
    require_kind("ood", ood, dict, WHERE, fix="pass {'name': predictions}")
    require_kind("near", near, (list, tuple, set, frozenset), WHERE, fix="pass a list of names of sets in ood")
    unknown = sorted(str(one) for one in near if one not in ood)
    if unknown:
        fix = f"use {sorted(map(str, ood))}"
        raise InvalidInput("near names sets that are not in ood", where=WHERE, got=", ".join(unknown), fix=fix)
    return frozenset(near)


def require_labels(probabilities: Tensor, labels: Tensor) -> None:
    """Integers (n,) in 0 ... classes - 1."""
    check_labels(Gaussian(probabilities, probabilities), labels, WHERE)


def require_real_targets(mean: Tensor, targets: Tensor) -> None:
    """Finite real numbers of the shape of the means."""
    check_values(Gaussian(mean, mean), targets, WHERE)


def require_other_inputs(own: Tensor | None, others: Mapping[str, Tensor | None], same_kind: Mapping[str, bool]) -> None:
    """Predictions on other inputs: of the same kind and classes, and not those on the data themselves."""
    assert own is not None
    for name, other in others.items():
        if other is None or not same_kind[name] or other.shape[1:] != own.shape[1:]:
            got = "another kind" if other is None or not same_kind[name] else f"{other.shape[1]} columns, {own.shape[1]} here"
            raise InvalidInput(
                f"the OOD set {name!r} has predictions of other targets", where=WHERE, got=got, fix="ask one model"
            )
        if torch.equal(own, other):
            raise InvalidInput(
                f"the OOD set {name!r} has the very predictions of the data",
                where=WHERE,
                got=f"{len(own)} equal rows",
                cause="the test set passed twice, or a model that ignores its inputs",
                fix="pass inputs of another source",
            )
