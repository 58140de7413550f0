"""Sections on class probabilities: calibration, and refusing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from torch_gbp.evaluation.outcome import Outcome, Predictions
from torch_gbp.evaluation.scorecard import Scorecard
from torch_gbp.metrics import risk_coverage
from torch_gbp.reporting import classes, curves
from torch_gbp.reporting.canvas import panel
from torch_gbp.reporting.curves import Array
from torch_gbp.reporting.page import Section, dash, figure, grid, key

SURE = 0.95  # confidence from which a prediction is called sure, in the sentences at the top
REFUSED = 0.1  # share of the examples that may be refused, in the same sentences


class Answers(NamedTuple):
    """What a model predicts, how sure it is of it, and whether it is right; each (n,)."""

    predicted: NDArray[np.int64]
    confidence: Array
    right: NDArray[np.bool_]

    def first(self, n: int) -> Answers:
        """Those of the first n examples."""
        return Answers(self.predicted[:n], self.confidence[:n], self.right[:n])


def answers(outcome: Outcome) -> Answers:
    """Predicted classes, their probabilities, and whether they are the targets."""
    predicted, confidence = answered(outcome)
    return Answers(predicted, confidence, predicted == outcome.targets.numpy())


def answered(found: Predictions) -> tuple[NDArray[np.int64], Array]:
    """Predicted classes and their probabilities."""
    assert found.probabilities is not None
    confidence, predicted = found.probabilities.max(1)
    return predicted.numpy(), confidence.double().numpy()


def glance(outcome: Outcome) -> str:
    """What a person wants to know first, in sentences."""
    found = answers(outcome)
    n, sure = len(found.right), found.confidence >= SURE
    kept = np.argsort(-found.confidence, kind="stable")[: n - int(REFUSED * n)]
    errors = 100 * np.mean(~found.right), 100 * np.mean(~found.right[kept])
    text = f"Right on <b>{_percent(found.right)}</b> of {n:,} examples. Sure ({100 * SURE:.0f} % or more) of {_percent(sure)}"
    text += f", and right on <b>{_percent(found.right[sure])}</b> of those. " if sure.any() else ". "
    text += (
        f"Where it may refuse the {100 * REFUSED:.0f} % it is least sure of, it errs on {errors[1]:.1f} %, not {errors[0]:.1f} %."
    )
    others = [f"{_percent(answered(own)[1] >= SURE)} of {escape(name)}" for name, own in outcome.ood.items()]
    return text + (f" It is sure of {', '.join(others)}, which it cannot know." if others else "")


def _percent(flags: NDArray[np.bool_]) -> str:
    return f"{100 * np.mean(flags):.1f} %"


def calibration(cards: Sequence[Scorecard]) -> Section:
    """Reliability diagrams and histograms of the confidence."""
    text = f"""<p>Each point stands for at least {curves.FEWEST} examples of like confidence; its height is the share of them
that is right. On the dashed line confidence is what it says. A grey bar holds 95 of 100 models that are
perfectly calibrated: gaps inside it are what chance makes of so few examples, and a filled point lies
outside.</p>"""
    diagrams = [figure(*_reliability(i, card), card.outcome.name, i) for i, card in enumerate(cards)]
    histograms = [figure(*_confidences(card.outcome), card.outcome.name, i) for i, card in enumerate(cards)]
    under = "<h3>How sure it is, and of what</h3>" + grid(histograms)
    return Section("calibration", "Calibration", text + grid(diagrams) + under)


def _reliability(number: int, card: Scorecard) -> tuple[str, str]:
    found = curves.reliability(*answers(card.outcome)[1:])
    outside = (found.accuracy < found.low) | (found.accuracy > found.high)
    bold = found.accuracy[outside] < found.confidence[outside]
    verdict = f"{int(outside.sum())} of {len(outside)} points outside the bars"
    if outside.any():
        verdict += f": too sure in {int(bold.sum())}, not sure enough in {int((~bold).sum())}"
    drawn = panel(classes.reliability_diagram(found, number), f"reliability diagram: {verdict}")
    return drawn, f"ECE {100 * card['cal/ECE'].value:.1f} %; {verdict}; {len(card.outcome):,} examples."


def _confidences(outcome: Outcome) -> tuple[str, str]:
    found = answers(outcome)
    outside = [answered(own)[1] for own in outcome.ood.values()]
    drawn = panel(classes.confidence_histogram(found.confidence, found.right, outside), "histogram of the confidence", height=2.6)
    lines = "".join(f" {dash(i)} {escape(name)}" for i, name in enumerate(outcome.ood))
    right, wrong = (f'<span class="key" style="--own:var(--{name})">{name}</span>' for name in ("right", "wrong"))
    return drawn, f"{right} {wrong}{lines}"


def refusing(cards: Sequence[Scorecard]) -> Section:
    """Risk against coverage."""
    text = """<p>A model that knows when it errs gets better by refusing what it is least sure of: from right to left, the curve
falls, and it falls to 0 where nothing that it is surest of is wrong. Read off how much has to be left to a
person.</p>"""
    found = [_risk(answers(card.outcome)) for card in cards]
    kept = ", ".join(f"{key(i, card.outcome.name)} {100 * card['sc/Cov_5Risk'].value:.0f} %" for i, card in enumerate(cards))
    drawn = panel(classes.risk_curves(found), "errors among the kept examples against their share")
    caption = f"The most that can be kept with at most 5 % of errors among them: {kept}."
    return Section("refusing", "Refusing", text + grid([figure(drawn, caption)]))


def _risk(found: Answers) -> tuple[Array, Array]:
    coverage, risk = risk_coverage(torch.from_numpy(found.confidence), torch.from_numpy(~found.right))
    return coverage.numpy(), risk.numpy()
