"""report: one HTML file on one or several models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from torch_gbp.evaluation.outcome import Outcome
from torch_gbp.reporting import class_sections, examples, run_sections, value_sections
from torch_gbp.reporting.page import Section, key, page
from torch_gbp.reporting.weights import curves, signal_to_noise


def report(
    outcomes: Outcome | Sequence[Outcome],
    path: str | Path = "report.html",
    *,
    title: str = "Report",
    classes: Sequence[str] | None = None,
    inputs: Tensor | None = None,
    networks: Mapping[str, nn.Module] | None = None,
    histories: Mapping[str, Any] | None = None,
) -> Path:
    """Report of predictions as one self-contained HTML file, light or dark as the reader's system is: no network, no scripts."""
    found = [outcomes] if isinstance(outcomes, Outcome) else list(outcomes)
    names = [own.name for own in found]
    ratios = {names.index(name): signal_to_noise(own) for name, own in (networks or {}).items()}
    runs = {names.index(name): curves(own, name) for name, own in (histories or {}).items()}
    kind = class_sections if found[0].kind == "classification" else value_sections
    cards = "".join(
        f'<div style="--own:var(--m{i})">{key(i, own.name)}<p>{kind.glance(own)}</p></div>' for i, own in enumerate(found)
    )
    parts = [
        *_of_predictions(found, classes, inputs),
        run_sections.of_weights(names, ratios),
        run_sections.of_training(names, runs),
    ]
    text = page(title, f"{len(found[0]):,} examples", names, f'<div class="glance">{cards}</div>', filter(None, parts))
    path = Path(path)
    path.write_text(text, encoding="utf-8")
    return path


def _of_predictions(found: Sequence[Outcome], classes: Sequence[str] | None, inputs: Tensor | None) -> Iterator[Section | None]:
    if found[0].kind == "classification":
        yield class_sections.calibration(found)
        yield class_sections.refusing(found)
        yield class_sections.other_inputs(found)
        yield examples.section(found, examples.Shown(classes, inputs))
    else:
        yield value_sections.bands(found, inputs)
        yield value_sections.calibration(found)
        yield value_sections.surprises(found, inputs)
