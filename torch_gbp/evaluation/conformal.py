"""Conformal prediction: sets of classes and intervals of guaranteed coverage, on top of any predictions.

Split conformal prediction is a quantile, so it is written out. MAPIE, with which the tests compare it, takes scikit-learn
estimators alone and seconds to import, and its APS draws random numbers and keeps more than the level; crepes has no APS and
takes pandas.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import OPEN_SHARE, require, require_kind, shown
from torch_gbp.evaluation.outcome import Kind, Outcome, Predictions


def conformal_sets(calibration: Outcome, predictions: Predictions, level: float = 0.9, method: str = "lac") -> Tensor:
    """Prediction sets that hold the label of a new example with at least this probability, whatever the model.

    The guarantee of split conformal prediction: on average over calibration and new examples that are exchangeable. A class c is
    in the set if its score is at most q, the ceil((n + 1) level)-th smallest score of the n calibration labels. Scores:
    "lac" (least ambiguous sets): 1 - p_c; the smallest sets on average, which may be empty. "aps" (adaptive sets, not
    randomised): the sum of all p > p_c, so the most probable class is always in; larger sets where the model is unsure.

    Args:
        calibration: predictions and labels of examples that were not trained on, and are not those predicted.
        predictions: of the new examples.
        level: of the coverage.
        method: "lac" or "aps".

    Returns:
        (n, classes), true for the classes in the set.

    Raises:
        InvalidInput: real targets, other classes, an unknown method, a level outside (0, 1), or too few calibration examples for
            it: n >= level / (1 - level) are needed.

    Source: Sadinle et al. 2019 (lac); Romano et al. 2020, section 2 (aps).

    >>> p = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]])
    >>> own = Outcome("a", torch.tensor([0, 1, 0, 1]), probabilities=p)
    >>> conformal_sets(own, Predictions(probabilities=p), 0.6)
    tensor([[ True, False],
            [False, False],
            [ True, False],
            [False,  True]])
    """
    where = "conformal_sets"
    level = _require_calibration(calibration, predictions, "classification", level, where)
    if not isinstance(method, str) or method not in _SCORES:
        raise InvalidInput("unknown method", where=where, got=shown(method), fix=f"use {' or '.join(map(repr, _SCORES))}")
    own, new = calibration.probabilities, predictions.probabilities
    assert own is not None and new is not None
    q = _quantile(_SCORES[method](own).gather(1, calibration.targets[:, None]).squeeze(1), level)
    return _SCORES[method](new) <= q


def conformal_intervals(calibration: Outcome, predictions: Predictions, level: float = 0.9) -> tuple[Tensor, Tensor]:
    """Intervals mean -+ q std that hold the target of a new example with at least this probability, whatever the model.

    q is the ceil((n + 1) level)-th smallest |target - mean| / std of the n calibration examples: as wide as the model says,
    times one number.

    Args:
        calibration: predictions and targets of examples that were not trained on, and are not those predicted.
        predictions: of the new examples.
        level: of the coverage, of each column of the targets for itself.

    Returns:
        Lower and upper ends, (n, k) each.

    Raises:
        InvalidInput: classes, other columns, a level outside (0, 1), or too few calibration examples for it.

    Source: Papadopoulos et al. 2008 (normalised nonconformity); Lei et al. 2018, section 5.2.

    >>> own = Outcome("a", torch.tensor([0.5, -1.0, 2.0]), mean=torch.zeros(3), std=torch.ones(3))
    >>> [end.item() for end in conformal_intervals(own, Predictions(mean=torch.ones(1), std=torch.full((1,), 2.0)), 0.7)]
    [-3.0, 5.0]
    """
    level = _require_calibration(calibration, predictions, "regression", level, "conformal_intervals")
    assert calibration.mean is not None and calibration.std is not None
    assert predictions.mean is not None and predictions.std is not None
    standard = (calibration.targets.double() - calibration.mean).abs() / calibration.std
    width = predictions.std * torch.stack([_quantile(column, level) for column in standard.T])
    return predictions.mean - width, predictions.mean + width


def set_scores(sets: Tensor, labels: Tensor) -> dict[str, float]:
    """Coverage and mean size of prediction sets, by the names of torch-uncertainty (`post/...`).

    >>> set_scores(torch.tensor([[True, False], [True, True]]), torch.tensor([1, 1]))
    {'post/CoverageRate': 0.5, 'post/SetSize': 1.5}
    """
    held = sets.gather(1, labels[:, None]).double().mean()
    return {"post/CoverageRate": float(held), "post/SetSize": float(sets.double().sum(1).mean())}


def interval_scores(low: Tensor, high: Tensor, targets: Tensor) -> dict[str, float]:
    """Coverage and mean width of intervals (n, k).

    >>> interval_scores(torch.zeros(2, 1), torch.ones(2, 1), torch.tensor([[0.5], [2.0]]))
    {'post/CoverageRate': 0.5, 'post/Width': 1.0}
    """
    held = ((low <= targets) & (targets <= high)).double().mean()
    return {"post/CoverageRate": float(held), "post/Width": float((high - low).mean())}


def _quantile(scores: Tensor, level: float) -> Tensor:
    """The ceil((n + 1) level)-th smallest."""
    return scores.sort().values[_rank(len(scores), level) - 1]


def _rank(count: int, level: float) -> int:
    return math.ceil((count + 1) * level - 1e-9)  # .9 of 9 + 1 examples are 9 of them, not 10


def _sum_of_larger(p: Tensor) -> Tensor:
    """Sum over the classes of all probabilities that are larger than p_c; 0 of the most probable class."""
    falling = p.sort(1, descending=True).values
    larger = torch.searchsorted(-falling, -p)  # number of them: equal ones are left out together
    return torch.cat([torch.zeros_like(p[:, :1]), falling.cumsum(1)], 1).gather(1, larger)


_SCORES = {"lac": lambda p: 1 - p, "aps": _sum_of_larger}


def _require_calibration(calibration: Outcome, predictions: Predictions, kind: Kind, level: float, where: str) -> float:
    """The level; both are predictions of this kind and width, and enough examples are there."""
    require_kind("calibration", calibration, Outcome, where, fix="pass Outcome(name, targets, ...) or a scorecard's .outcome")
    require_kind("predictions", predictions, Predictions, where, fix="pass Predictions(...)")
    level = require("level", level, OPEN_SHARE, where, fix="use 0.9")
    parts = [one.probabilities if kind == "classification" else one.mean for one in (calibration, predictions)]
    shapes = [part.shape[1] for part in parts if part is not None]
    if len(shapes) < 2 or shapes[0] != shapes[1]:
        got = f"{calibration.kind} and {predictions.kind}, columns {shapes}"
        raise InvalidInput(f"two {kind}s of equal width are needed", where=where, got=got, fix="use the same model on both")
    if _rank(len(calibration), level) > len(calibration):
        raise InvalidInput(
            f"a level of {level:g} needs at least {math.ceil(level / (1 - level) - 1e-9)} calibration examples",
            where=where,
            got=f"{len(calibration)}",
            fix="hold out more examples, or lower the level",
        )
    return level
