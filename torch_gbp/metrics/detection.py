"""Detection of out-of-distribution inputs: does a number that should be larger outside tell the two sets apart?

Outside is the positive class, as in torch-uncertainty and OpenOOD's tables of OOD detection. No sigmoid, no float32: equal
numbers are ties, and nothing else is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.likelihoods.information import entropy
from torch_gbp.metrics.ties import levels

RECALL = 0.95  # of the outside examples, where false alarms are counted
SLACK = 1e-6  # examples: rounding of the product of the recall and their number


def predictive_entropy(log_probabilities: Tensor) -> Tensor:
    """Entropy of each predictive distribution, as a share of log(classes): 0 certain, 1 uniform. Shape (n,).

    >>> predictive_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]).log())
    tensor([1., 0.], dtype=torch.float64)
    """
    logs = log_probabilities.double()
    return (entropy(logs.exp()) / math.log(logs.shape[1])).clamp(0, 1)


def ood_auroc(inside: Tensor, outside: Tensor) -> float:
    """`auroc` of the predictive entropy.

    Args:
        inside, outside: log-probabilities (n, classes) on in-distribution and on OOD inputs.

    >>> ood_auroc(torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.6, 0.4]]).log())
    1.0
    """
    return auroc(predictive_entropy(inside), predictive_entropy(outside))


def auroc(inside: Tensor, outside: Tensor) -> float:
    """Area under the ROC curve: the share of pairs (inside, outside) in which the outside one is larger; ties count a half.

    Args:
        inside, outside: numbers (n,) and (m,) that should be larger outside.

    >>> auroc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
    0.875
    """
    return detection_scores(inside, outside)["AUROC"]


def average_precision(inside: Tensor, outside: Tensor) -> float:
    """AUPR, average precision: sum over the thresholds of (gain in recall) x precision, outside being what is searched for.

    Depends on how many examples each set has: the value of chance is the share m / (n + m).

    Args:
        inside, outside: as in `auroc`.

    >>> round(average_precision(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])), 4)
    0.8333
    """
    return detection_scores(inside, outside)["AUPR"]


def fpr95(inside: Tensor, outside: Tensor) -> float:
    """False alarms at a recall of 95 %: the share of inside examples above the highest threshold that finds 95 % of the outside.

    Args:
        inside, outside: as in `auroc`.

    >>> fpr95(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
    0.5
    """
    return detection_scores(inside, outside)["FPR95"]


def detection_scores(inside: Tensor, outside: Tensor) -> dict[str, float]:
    """`auroc`, `average_precision` and `fpr95` by the names of torch-uncertainty, from one sort.

    Raises:
        InvalidInput: an empty set, or scores that are NaN.

    >>> detection_scores(torch.tensor([0.0, 1.0]), torch.tensor([2.0]))
    {'AUROC': 1.0, 'AUPR': 1.0, 'FPR95': 0.0}
    """
    _require_scores(inside, outside)
    found, alarms = _thresholds(inside, outside)
    gain, more = (part.diff(prepend=part.new_zeros(1)) for part in (found, alarms))
    enough = found >= RECALL * len(outside) - SLACK
    return {
        "AUROC": float((more * (found - gain / 2)).sum() / (len(inside) * len(outside))),
        "AUPR": float((gain * found / (found + alarms).clamp_min(1)).sum() / len(outside)),
        "FPR95": float(alarms[enough][0] / len(inside)),
    }


def _require_scores(*sets: Tensor) -> None:
    for scores in sets:
        bad = scores.ndim != 1 or not len(scores) or (scores.is_floating_point() and bool(scores.isnan().any()))
        if bad:
            raise InvalidInput(
                "scores (n,) of at least one example, none of them NaN, are needed on both sides",
                where="detection_scores",
                got=f"shape {tuple(scores.shape)}, {int(scores.isnan().sum())} NaN",
                cause="an empty set, or a network that diverged",
                fix="leave the set out, and look at the predictions",
            )


def _thresholds(inside: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of outside and inside examples at or above each threshold, from the highest down; equal numbers fall together."""
    place, count = levels(torch.cat([inside, outside]))
    parts = place.split([len(inside), len(outside)])
    above = [part.bincount(minlength=len(count)).flip(0).cumsum(0).double() for part in parts]
    return above[1], above[0]
