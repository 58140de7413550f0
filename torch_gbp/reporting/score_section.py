"""The section of scores: a table with standard errors, the best of each row marked; the rarer scores are folded away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from torch_gbp.evaluation.scorecard import Score, Scorecard, higher_is_better
from torch_gbp.reporting.page import Section, key, table

GROUPS = {
    "cls": "Classes",
    "reg": "Values",
    "cal": "Calibration",
    "sc": "Refusing",
    "ood": "Other inputs",
    "ood_near": "Other inputs, near",
    "ood_far": "Other inputs, far",
}
WORDS = {  # scores that are shown at once, by their names' last part: what they are
    "Acc": "accuracy",
    "NLL": "negative log-likelihood, nats",
    "Brier": "Brier score",
    "RMSE": "root mean squared error",
    "MAE": "mean absolute error",
    "CRPS": "continuous ranked probability score",
    "ECE": "calibration error",
    "SmECE": "smooth calibration error",
    "QCE": "calibration error of the quantiles",
    "Cov_90": "targets inside the 90 % interval",
    "Width_90": "width of the 90 % interval",
    "AURC": "area under risk against coverage",
    "Cov_5Risk": "kept with at most 5 % of errors",
    "AUROC": "area under the ROC curve",
    "FPR95": "accused where 95 % are found",
}
ALIKE = 2.0  # standard errors of a difference that may be chance


def section(cards: Sequence[Scorecard]) -> Section:
    """The table, one column a model."""
    text = f"""<p>On the examples of this data set, with standard errors of the bootstrap: what another set of as many
examples would change. An arrow says which way is better. Bold is the best of a row; underlined is what lies within
{ALIKE:.0f} standard errors of it (of the difference, as if the models had been asked about different examples).</p>"""
    names = list(dict.fromkeys(name for card in cards for name in card))
    first = [name for name in names if name.rpartition("/")[2] in WORDS]
    rest = [name for name in names if name not in first]
    body = text + _table(first, cards)
    more = f"<details><summary>{len(rest)} more scores</summary>{_table(rest, cards)}</details>" if rest else ""
    return Section("scores", "Scores", body + more)


def _table(names: Sequence[str], cards: Sequence[Scorecard]) -> str:
    head = ["", *(key(i, card.outcome.name) for i, card in enumerate(cards))]
    rows: list[Sequence[str]] = []
    for group in dict.fromkeys(name.partition("/")[0] for name in names):
        rows.append([f'<td class="group" colspan="{len(head)}">{GROUPS[group]}</td>'])
        rows += [_row(name, [card.get(name) for card in cards]) for name in names if name.partition("/")[0] == group]
    return table(head, rows)


def _row(name: str, found: Sequence[Score | None]) -> list[str]:
    better = None if "/Width_" in name else higher_is_better(name)  # a narrow interval is no merit where targets lie outside
    known = [score for score in found if score is not None and not math.isnan(score.value)]
    best = None if better is None or len(known) < 2 else (max if better else min)(known, key=lambda score: score.value)
    return [_label(name, better), *(_cell(score, best) for score in found)]


def _label(name: str, better: bool | None) -> str:
    """What a score is, the name that it has elsewhere, and which way is better."""
    own, arrow = name.partition("/")[2], {True: "↑", False: "↓", None: ""}[better]
    words = WORDS.get(own.rpartition("/")[2])
    about = f"{own.rpartition('/')[0]}: " if "/" in own else ""
    return f"{escape(about + (words or own.rpartition('/')[2]))} <small>{escape(own) if words else ''} {arrow}</small>"


def _cell(score: Score | None, best: Score | None) -> str:
    if score is None:
        return "<td></td>"
    error = "" if math.isnan(score.error) else f" <small>± {_written(score.error)}</small>"
    return f"<td{_mark(score, best)}>{_written(score.value)}{error}</td>"


def _mark(score: Score, best: Score | None) -> str:
    """Whether a score is the best of its row, or cannot be told from it."""
    if best is None:
        return ""
    if score.value == best.value:
        return ' class="best"'
    return ' class="even"' if abs(score.value - best.value) <= ALIKE * math.hypot(score.error, best.error) else ""


def _written(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.5g}"
