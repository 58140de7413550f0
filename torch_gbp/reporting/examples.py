"""Examples that tell something of a model: the ones it is most, least and most wrongly certain of, as pictures or rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from torch_gbp.evaluation.outcome import Outcome
from torch_gbp.reporting.class_sections import Answers, answered, answers
from torch_gbp.reporting.page import Section, key, table
from torch_gbp.reporting.pictures import Pictures, image_shaped

SHOWN = 12  # examples of a kind
ROWS, COLUMNS = 5, 8  # of a table, for inputs that are no images: examples and values of an input
SMALL = 40  # pixels of a side up to which a picture is drawn pixel by pixel


class Shelf(NamedTuple):
    """A row of examples: what they are, their inputs (m, ...), and a caption (HTML) for each."""

    heading: str
    inputs: Tensor
    captions: list[str]


class Looks(NamedTuple):
    """Names of the classes (None: numbers), and what the examples look like (None: as the models saw them)."""

    classes: Sequence[str] | None
    inputs: Tensor | None


def section(outcomes: Sequence[Outcome], looks: Looks) -> Section | None:
    """The examples of every model; None where no model's inputs are known."""
    number = sum(SHOWN * (3 + len(own.ood)) for own in outcomes)
    parts = [_of_model(i, own, looks, number) for i, own in enumerate(outcomes)]
    if not any(parts):
        return None
    text = """<p>Under each: the class that the model says, how sure it is, and the right class where it is wrong.</p>"""
    return Section("examples", "Examples", text + "".join(parts))


def _of_model(number: int, outcome: Outcome, looks: Looks, every: int) -> str:
    inputs = outcome.inputs if looks.inputs is None else looks.inputs
    if inputs is None:
        return ""
    pictures = Pictures(inputs, every) if image_shaped(inputs) else None
    shelves = [*_shelves(outcome, inputs, looks.classes), *_fooled(outcome, looks.classes)]
    return f"<h3>{key(number, outcome.name)}</h3>" + "".join(_shelf(own, pictures) for own in shelves)


def _shelves(outcome: Outcome, inputs: Tensor, names: Sequence[str] | None) -> Iterator[Shelf]:
    """Test examples by certainty; among those whose inputs are known."""
    found = answers(outcome).first(len(inputs))
    order = np.argsort(-found.confidence, kind="stable")
    wrong = order[~found.right[order]]
    among = f" of {len(order):,}"
    yield _chosen("Most certain" + among, order, outcome, inputs, names)
    yield _chosen("Least certain" + among, order[::-1], outcome, inputs, names)
    yield _chosen(f"Most certain among the {len(wrong):,} wrong ones", wrong, outcome, inputs, names)


def _chosen(heading: str, order: NDArray[np.int64], outcome: Outcome, inputs: Tensor, names: Sequence[str] | None) -> Shelf:
    found, places = answers(outcome), [int(i) for i in order[:SHOWN]]
    return Shelf(heading, inputs[places], [_caption(found, outcome, i, names) for i in places])


def _caption(found: Answers, outcome: Outcome, place: int, names: Sequence[str] | None) -> str:
    text = f"<b>{_name(found.predicted[place], names)}</b> {100 * found.confidence[place]:.0f} %"
    return text if found.right[place] else text + f'<br><span class="wrong">is {_name(outcome.targets[place], names)}</span>'


def _name(label: int | Tensor, names: Sequence[str] | None) -> str:
    return str(int(label)) if names is None else escape(names[int(label)])


def _fooled(outcome: Outcome, names: Sequence[str] | None) -> Iterator[Shelf]:
    """Other inputs that the model is surest of."""
    for name, own in outcome.ood.items():
        if own.inputs is None:
            continue
        predicted, confidence = (part[: len(own.inputs)] for part in answered(own))
        places = [int(i) for i in np.argsort(-confidence, kind="stable")[:SHOWN]]
        captions = [f"<b>{_name(predicted[i], names)}</b> {100 * confidence[i]:.0f} %" for i in places]
        yield Shelf(f"Other inputs it is surest of: {name}", own.inputs[places], captions)


def _shelf(shelf: Shelf, pictures: Pictures | None) -> str:
    if not shelf.captions:
        return f'<p class="soft">{escape(shelf.heading)}: none.</p>'
    shown = _rows(shelf) if pictures is None or not image_shaped(shelf.inputs) else _images(shelf, pictures)
    return f'<p class="soft" style="margin:14px 0 0">{escape(shelf.heading)}</p>{shown}'


def _images(shelf: Shelf, pictures: Pictures) -> str:
    small = " class=small" if max(shelf.inputs.shape[-2:]) <= SMALL else ""
    both = zip(shelf.inputs, shelf.captions, strict=True)
    cells = (f'<figure><img{small} src="{pictures.png(x)}" alt=""><figcaption>{text}</figcaption></figure>' for x, text in both)
    return f'<div class="shelf">{"".join(cells)}</div>'


def _rows(shelf: Shelf) -> str:
    values = shelf.inputs.flatten(1)[:ROWS, :COLUMNS]
    head = ["said", *(f"input {i + 1}" for i in range(values.shape[1]))]
    rows = (
        [text.replace("<br>", " ")] + [f"{float(v):.4g}" for v in own] for text, own in zip(shelf.captions, values, strict=False)
    )
    return table(head, rows)
