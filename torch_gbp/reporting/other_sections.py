"""The section on other inputs: whether a model tells them from its own, whatever it predicts."""

from __future__ import annotations

from collections.abc import Sequence

from torch_gbp.evaluation.measures import DETECTORS
from torch_gbp.evaluation.outcome import Predictions
from torch_gbp.evaluation.scorecard import Scorecard
from torch_gbp.reporting import classes, curves
from torch_gbp.reporting.canvas import panel
from torch_gbp.reporting.curves import Array
from torch_gbp.reporting.page import Section, figure, grid, key

DETECTOR = {"classification": "msp", "regression": "std"}  # what is compared, as in the scores without an ending


def other_inputs(cards: Sequence[Scorecard]) -> Section | None:
    """ROC curves of telling other inputs from the test set, one drawing a set; None without such sets."""
    names = dict.fromkeys(name for card in cards for name in card.outcome.ood)
    if not names:
        return None
    compared = "its largest probability" if cards[0].outcome.kind == "classification" else "its standard deviation"
    text = f"""<p>Inputs of another kind, which no model can know. Ideally all are found while none of the own examples is
accused: the upper left corner. The dashed line is a guess. What tells them apart is how sure the prediction is,
{compared}.</p>"""
    return Section("others", "Other inputs", text + grid(figure(*_roc(cards, name), name) for name in names))


def _roc(cards: Sequence[Scorecard], name: str) -> tuple[str, str]:
    known = {i: card for i, card in enumerate(cards) if name in card.outcome.ood}
    found = {i: curves.roc(_doubt(card.outcome), _doubt(card.outcome.ood[name])) for i, card in known.items()}
    areas = ", ".join(f"{key(i, card.outcome.name)} {card[f'ood/{name}/AUROC'].value:.3f}" for i, card in known.items())
    return panel(classes.roc_curves(found), "ROC curves of finding other inputs"), f"Area under the curve: {areas}"


def _doubt(found: Predictions) -> Array:
    """What should be larger on other inputs, (n,)."""
    values = DETECTORS[DETECTOR[found.kind]](found)
    assert values is not None
    return values.numpy()
