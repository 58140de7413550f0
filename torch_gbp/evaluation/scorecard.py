"""Scorecard: all scores of one outcome, with standard errors by the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from torch_gbp.errors.checks import require_count, require_kind
from torch_gbp.evaluation.checks import WHERE
from torch_gbp.evaluation.measures import RISING, Measure, measures
from torch_gbp.evaluation.outcome import Outcome

RESAMPLES = 100  # a standard error is then known to 7 %


class Score(NamedTuple):
    """A score and its standard error; the error is NaN without resamples, of one example, and of an infinite score."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.4f}" + ("" if math.isnan(self.error) else f" ± {self.error:.4f}")


class Scorecard(Mapping[str, Score]):
    """Scores of one model by the names of torch-uncertainty's routines, as a mapping that prints as a table.

    Classes: `cls/Acc`, `cls/NLL`, `cls/Brier`; `cal/ECE`, `cal/MCE`, `cal/aECE`, `cal/ClasswiseECE` (15 bins), `cal/SmECE`,
    `cal/VectorECE` (the thesis'); `sc/AURC`, `sc/RelativeAUC` (1 - AURC, the thesis'), `sc/AUGRC`, `sc/Cov_5Risk`,
    `sc/Risk_80Cov`. Real targets and counts: `reg/RMSE`, `reg/MAE`, `reg/NLL`, `reg/CRPS` (a target and example); `cal/QCE`,
    `cal/PIT` (distance from uniform), `cal/Cov_90`, `cal/Width_90` and for 50 and 95 % of central intervals.
    Other inputs: `ood/<set>/AUROC`, `AUPR`, `FPR95` of `torch_gbp.OODScore` if training data were given, else of the maximum
    probability (of real targets the standard deviation), and with the endings `_msp`, `_entropy`, `_epistemic`, `_energy` of the
    others that are known; `ood_near/...` and `ood_far/...` are means over sets. Each is described with its function in
    `torch_gbp.metrics`.

    Attributes:
        outcome: what was scored.

    >>> card = score(Outcome("coin", torch.tensor([0, 1]), probabilities=torch.full((2, 2), 0.5)), resamples=0)
    >>> card["cls/Brier"].value, len(card)
    (0.5, 14)
    """

    def __init__(self, outcome: Outcome, scores: Mapping[str, Score]) -> None:
        self.outcome, self._scores = outcome, dict(scores)

    def __getitem__(self, name: str) -> Score:
        return self._scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)

    def __str__(self) -> str:
        width = max(map(len, self._scores))
        return "\n".join([self.outcome.name, *(f"{name:<{width}}  {value}" for name, value in self._scores.items())])


def score(outcome: Outcome, resamples: int = RESAMPLES, seed: int = 0) -> Scorecard:
    """All scores of an outcome.

    Standard errors are the standard deviations over bootstrap resamples of the examples (Efron 1979), of the data and of each
    OOD set for itself; the bins of VectorECE and the kernel width of SmECE stay what they are. They say what another test set
    of this size would change, not what another training would.

    Args:
        resamples: number of them; 0 leaves the errors NaN.
        seed: of the resamples.

    Raises:
        InvalidInput: no outcome; a number of resamples or a seed that is none.
    """
    require_kind("outcome", outcome, Outcome, WHERE, fix="pass Outcome(name, targets, ...), or use evaluate")
    resamples = require_count("resamples", resamples, WHERE, fix=f"use {RESAMPLES}, or 0 for no errors", least=0)
    generator = torch.Generator().manual_seed(require_count("seed", seed, WHERE, fix="use 0", least=0))
    sizes = {"": len(outcome), **{name: len(found) for name, found in outcome.ood.items()}}
    every, whole = measures(outcome), {name: torch.arange(size) for name, size in sizes.items()}
    values = _all(every, whole)
    drawn = [_all(every, _rows(sizes, generator)) for _ in range(resamples)] if len(outcome) > 1 else []
    errors = {name: _deviation([one[name] for one in drawn]) for name in values}
    return Scorecard(outcome, {name: Score(value, errors[name]) for name, value in values.items()})


def higher_is_better(name: str) -> bool | None:
    """Whether a larger value of a score is better; None where neither is (coverage of intervals).

    >>> higher_is_better("cls/Acc"), higher_is_better("ood/notMNIST/FPR95"), higher_is_better("cal/Cov_90")
    (True, False, None)
    """
    own = name.rpartition("/")[2]
    if name.startswith("cal/Cov_"):
        return None
    return any(own == rising or own.startswith(f"{rising}_") for rising in RISING)


def _all(every: list[Measure], rows: dict[str, Tensor]) -> dict[str, float]:
    return {name: value for measure in every for name, value in measure(rows).items()}


def _rows(sizes: dict[str, int], generator: torch.Generator) -> dict[str, Tensor]:
    """As many examples as there are, drawn with replacement."""
    return {name: torch.randint(size, (size,), generator=generator) for name, size in sizes.items()}


def _deviation(values: list[float]) -> float:
    """Standard deviation; NaN of fewer than two values, or where one is not finite."""
    return float(torch.tensor(values, dtype=torch.float64).std()) if len(values) > 1 else math.nan
