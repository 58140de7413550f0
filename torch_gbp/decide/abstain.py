"""abstain: a threshold on a prediction's uncertainty that keeps the share of errors among the given ones below a chosen risk."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Categorical

from torch_gbp.decide.scores import SCORES, class_probabilities, require_predicted
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import OPEN_SHARE, require, require_kind, require_values, shown
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods.targets import check_labels
from torch_gbp.predictive import Predictive

LEVELS = 32  # coverages that are tried, evenly spaced up to 1
_HALVINGS = 60  # of the interval of the bound: to rounding


class Abstention(NamedTuple):
    """Selective prediction: the predictions whose uncertainty is below a threshold are given, the others are not.

    With probability 1 - delta over the held-out examples the error rate of the predictions given is at most `bound`, as long as
    new inputs come from where the held-out ones came from. It says nothing of inputs from elsewhere.

    Attributes:
        threshold: of the uncertainty, in its own units; infinite where every prediction may be given.
        coverage: share of the held-out predictions that it lets through.
        errors: share of errors among those.
        bound: upper bound of the error rate among those given, at most `risk`.
        risk, delta, how: as asked of `abstain`.
    """

    threshold: float
    coverage: float
    errors: float
    bound: float
    risk: float
    delta: float
    how: str

    def accept(self, found: Predictive | Tensor) -> Tensor:
        """Which predictions to give, (n,) of truth values.

        Args:
            found: predictions, or uncertainties (n,), as `abstain` was given.

        Raises:
            InvalidInput: as `abstain`.

        >>> Abstention(0.3, 0.8, 0.01, 0.04, 0.05, 0.05, "confidence").accept(torch.tensor([[0.9, 0.1], [0.4, 0.6]]))
        tensor([ True, False])
        """
        return _uncertainty(found, self.how) < self.threshold


@torch.no_grad()
def abstain(
    found: Predictive | Tensor, target: Tensor, risk: float = 0.05, how: str | None = None, delta: float = 0.05
) -> Abstention:
    """Selective classification with guaranteed risk: the largest coverage whose error rate is at most `risk`, bar a chance delta.

    Of n held-out predictions, by ascending uncertainty s, the first n_j = n j / 32 are tried as accepted, j = 1 ... 32. Given the
    next uncertainty as threshold these are independent draws below it, so their number k_j of errors is binomial, and

        P(error | s < threshold_j) <= b_j,    P(Binomial(n_j, b_j) <= k_j) = delta / 32    (Clopper and Pearson 1934)

    holds for all j at once with probability 1 - delta. The largest j with b_j <= risk is taken. With no errors at all a risk of
    5 % needs 126 accepted examples at delta = .05, and 1 % needs 643.

    Args:
        found: predictions of held-out examples, on which nothing was trained, calibrated or chosen: what `predict` returns, class
            probabilities (n, classes); or uncertainties (n,) of anything.
        target: labels (n,) of integers; with uncertainties, (n,) of truth values: which predictions are errors.
        risk: highest error rate among the predictions given.
        how: uncertainty: "confidence" (1 - largest p), "entropy", "bald" or "margin", see `select`; "scores" for uncertainties.
            None takes "scores" or "confidence".
        delta: chance that the bound does not hold.

    Raises:
        InvalidInput: no threshold keeps the risk, with what would; targets that do not fit; NaN, or probabilities that do not sum
            to 1; real targets, of which the caller says what an error is.

    Source: Geifman and El-Yaniv 2017 (SGR), with levels that are fixed before the data are seen and a union bound over them.

    >>> uncertainty = torch.rand(2000, generator=torch.Generator().manual_seed(0))
    >>> wrong = torch.rand(2000, generator=torch.Generator().manual_seed(1)) < 0.2 * uncertainty  # errors: 10 % of all
    >>> rule = abstain(uncertainty, wrong, risk=0.05)
    >>> rule.bound <= 0.05, rule.accept(torch.tensor([0.1, 0.9]))
    (True, tensor([ True, False]))
    """
    risk = require("risk", risk, OPEN_SHARE, "abstain", fix="use 0.05")
    delta = require("delta", delta, OPEN_SHARE, "abstain", fix="use 0.05")
    how = _way(found, how)
    uncertainty, wrong = _uncertainty(found, how), _errors(found, target)
    tried = _tried(uncertainty.double(), wrong)
    promising = [level for level in tried if level[2] < risk * level[1]]
    kept = [level for level in promising if _log_tail(level[2], level[1], risk) <= math.log(delta / LEVELS)]
    if not kept:
        raise _too_strict(risk, delta, tried, len(wrong))
    threshold, count, errors = kept[-1]
    bound = upper_bound(errors, count, delta / LEVELS)
    return Abstention(threshold, count / len(wrong), errors / count, bound, risk, delta, how)


def upper_bound(errors: int, count: int, delta: float) -> float:
    """Clopper-Pearson upper bound of an error rate: the p with P(Binomial(count, p) <= errors) = delta; 1 without examples.

    >>> round(upper_bound(0, 59, 0.05), 4)
    0.0495
    """
    if errors >= count:
        return 1.0
    low, high = errors / count, 1.0
    for _ in range(_HALVINGS):
        p = (low + high) / 2
        low, high = (p, high) if p < 1 and _log_tail(errors, count, p) > math.log(delta) else (low, p)
    return high


def _log_tail(errors: int, count: int, p: float) -> float:
    """log P(Binomial(count, p) <= errors)."""
    k = torch.arange(errors + 1, dtype=torch.float64)
    ways = math.lgamma(count + 1) - torch.lgamma(k + 1) - torch.lgamma(count - k + 1)
    return float((ways + k * math.log(p) + (count - k) * math.log1p(-p)).logsumexp(0))


def _tried(uncertainty: Tensor, wrong: Tensor) -> list[tuple[float, int, int]]:
    """Of every level the threshold, the number of predictions below it, and of errors among them."""
    ordered, order = uncertainty.sort()
    errors, found = wrong[order].cumsum(0), []
    for level in range(1, LEVELS + 1):
        place = len(ordered) * level // LEVELS
        threshold = float(ordered[place]) if place < len(ordered) else math.inf
        count = int(torch.searchsorted(ordered, threshold))  # fewer than `place` where some are equal to the threshold
        found.append((threshold, count, int(errors[count - 1]) if count else 0))
    return found


def _way(found: Any, how: Any) -> str:
    scores = isinstance(found, Tensor) and found.ndim == 1
    how = ("scores" if scores else "confidence") if how is None else how
    known = ("scores",) if scores else tuple(SCORES)
    if how not in known:
        raise InvalidInput("unknown uncertainty", where="abstain", got=shown(how), fix=f"use how={' or '.join(map(repr, known))}")
    return how


def _uncertainty(found: Predictive | Tensor, how: str) -> Tensor:
    """Uncertainties (n,)."""
    require_predicted(found, "abstain")
    if (isinstance(found, Tensor) and found.ndim == 1) != (how == "scores"):
        raise InvalidInput(
            "predictions of another kind than the threshold is for",
            where="Abstention.accept",
            got=f"how={how!r}",
            fix="pass the like",
        )
    if isinstance(found, Predictive) and not isinstance(found.distribution, Categorical):
        raise InvalidInput(
            "what an error of a real target is, the caller has to say",
            where="abstain",
            fix="pass found.distribution.stddev as uncertainties and (target - mean).abs() > tolerance as target",
        )
    return found if isinstance(found, Tensor) and how == "scores" else SCORES[how](found)


def _errors(found: Predictive | Tensor, target: Any) -> Tensor:
    """Which predictions are errors, (n,) of truth values."""
    require_kind("target", target, Tensor, "abstain", fix="pass labels (n,), or truth values (n,) with uncertainties")
    require_values(target, "abstain")
    if isinstance(found, Tensor) and found.ndim == 1:
        if target.dtype != torch.bool or target.shape != found.shape:
            raise InvalidInput(
                "with uncertainties the target says which predictions are errors",
                where="abstain",
                got=f"{target.dtype}, shape {tuple(target.shape)} for {len(found)} uncertainties",
                fix="pass predicted != label",
            )
        return target
    p = class_probabilities(found)
    check_labels(Gaussian(p, p), target, "abstain")
    return p.argmax(-1) != target


def _too_strict(risk: float, delta: float, tried: list[tuple[float, int, int]], count: int) -> InvalidInput:
    bound, let, errors = min((upper_bound(errors, let, delta / LEVELS), let, errors) for _, let, errors in tried)
    needed = math.ceil(math.log(delta / LEVELS) / math.log1p(-risk))
    return InvalidInput(
        f"no threshold keeps the risk below {risk:g} with probability {1 - delta:g}",
        where="abstain",
        got=f"{count} held-out examples; the best threshold gives {let} predictions with {errors} errors, at most {bound:.3g}",
        cause=f"fewer than {needed} held-out examples to be given without error, or an uncertainty that does not find errors",
        fix="hold out more examples, or take a larger risk or delta",
    )
