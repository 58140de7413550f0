"""The section on other inputs: whether a model tells them from its own, whatever it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from torch import Tensor

from torch_gbp.evaluation.measures import detectors
from torch_gbp.evaluation.scorecard import Scorecard
from torch_gbp.reporting import classes, curves
from torch_gbp.reporting.canvas import panel
from torch_gbp.reporting.page import Section, figure, grid, key

TOLD = {  # by what the scores without an ending tell other inputs apart
    "ood_score": "how far their features are from those of the training data (<code>OODScore</code>)",
    "msp": "how sure the prediction is, its largest probability",
    "std": "how sure the prediction is, its standard deviation",
}


def other_inputs(cards: Sequence[Scorecard]) -> Section | None:
    """ROC curves of telling other inputs from the test set, one drawing a set; None without such sets."""
    names = dict.fromkeys(name for card in cards for name in card.outcome.ood)
    if not names:
        return None
    kinds = {card.outcome.name: _detector(card, name) for card in cards for name in card.outcome.ood}
    if len(set(kinds.values())) == 1:
        what = TOLD[next(iter(kinds.values()))]
    else:
        what = "; ".join(f"{escape(model)}: {TOLD[kind]}" for model, kind in kinds.items())
    text = f"""<p>Inputs of another kind, which no model can know. Ideally all are found while none of the own examples is
accused: the upper left corner. The dashed line is a guess. What tells them apart is {what}.</p>"""
    return Section("others", "Other inputs", text + grid(figure(*_roc(cards, name), name) for name in names))


def _roc(cards: Sequence[Scorecard], name: str) -> tuple[str, str]:
    known = {i: card for i, card in enumerate(cards) if name in card.outcome.ood}
    found = {i: curves.roc(*(part.numpy() for part in _values(card, name))) for i, card in known.items()}
    areas = ", ".join(f"{key(i, card.outcome.name)} {card[f'ood/{name}/AUROC'].value:.3f}" for i, card in known.items())
    return panel(classes.roc_curves(found), "ROC curves of finding other inputs"), f"Area under the curve: {areas}"


def _detector(card: Scorecard, name: str) -> str:
    return next(iter(detectors(card.outcome, card.outcome.ood[name])))


def _values(card: Scorecard, name: str) -> tuple[Tensor, Tensor]:
    """What should be larger on other inputs, of the data and of these."""
    return detectors(card.outcome, card.outcome.ood[name])[_detector(card, name)]
