"""Checks of what a report is given beside the predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_kind, shown
from torch_gbp.evaluation.outcome import Outcome
from torch_gbp.reporting.examples import Looks

WHERE = "report"


def require_settings(path: Any, title: Any, subtitle: Any, classes: Any) -> None:
    """A path to write to, texts, and names of classes."""
    require_kind("path", path, (str, Path), WHERE, fix='use "report.html"')
    if Path(path).is_dir():
        raise InvalidInput("path is a folder", where=WHERE, got=shown(path), fix='name a file in it, as "report.html"')
    require_kind("title", title, str, WHERE, fix='use "Report"')
    require_kind("subtitle", subtitle, str, WHERE, fix='use ""')
    if classes is not None and (not isinstance(classes, Sequence) or not all(isinstance(name, str) for name in classes)):
        raise InvalidInput("names of classes are texts", where=WHERE, got=shown(classes), fix='pass ["cat", "dog"]')


def require_fitting(
    outcomes: Sequence[Outcome], looks: Looks, networks: Mapping[str, nn.Module] | None, histories: Mapping[str, Any] | None
) -> None:
    """Networks and histories of the models that are here, a name for every class, and a look for every example."""
    for what, given in (("networks", networks), ("histories", histories)):
        _require_known(what, given, [own.name for own in outcomes])
    for network in (networks or {}).values():
        require_kind("a network", network, nn.Module, WHERE, fix="pass {'name': network}")
    columns = 0 if outcomes[0].probabilities is None else outcomes[0].probabilities.shape[1]
    if looks.classes is not None and len(looks.classes) != columns:
        raise InvalidInput("a name for every class is needed", where=WHERE, got=f"{len(looks.classes)}", fix=f"pass {columns}")
    _require_looks(outcomes, looks.inputs)


def _require_known(what: str, given: Any, names: list[str]) -> None:
    if given is None:
        return
    require_kind(what, given, Mapping, WHERE, fix=f"pass {{{names[0]!r}: ...}}")
    unknown = sorted(str(name) for name in given if name not in names)
    if unknown:
        raise InvalidInput(f"{what} of models that are not here", where=WHERE, got=", ".join(unknown), fix=f"use {names}")


def _require_looks(outcomes: Sequence[Outcome], inputs: Any) -> None:
    """A row for every example, of numbers that can be drawn."""
    if inputs is not None:
        require_kind("inputs", inputs, Tensor, WHERE, fix="pass a torch tensor")
        if inputs.ndim == 0 or len(inputs) != len(outcomes[0]):
            got = f"shape {tuple(inputs.shape)}"
            raise InvalidInput("inputs need a row for every example", where=WHERE, got=got, fix=f"pass {len(outcomes[0])}")
    for own in outcomes:
        for values in (inputs, own.inputs, *(other.inputs for other in own.ood.values())):
            if values is not None and (values.is_meta or values.is_complex() or not bool(values.isfinite().all())):
                raise InvalidInput(
                    "inputs that are to be shown must be finite real numbers",
                    where=WHERE,
                    got="complex or meta" if values.is_meta or values.is_complex() else "NaN or infinite",
                    fix="pass inputs=... as they look",
                )
