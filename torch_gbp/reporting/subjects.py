"""Subjects: what a report is about, read from whatever it was given: models, outcomes or their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from torch_gbp import Likelihood, Trainer
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import shown
from torch_gbp.evaluation.evaluate import evaluate
from torch_gbp.evaluation.outcome import Outcome
from torch_gbp.evaluation.scorecard import Scorecard, score
from torch_gbp.reporting.canvas import MOST_MODELS
from torch_gbp.reporting.checks import WHERE


class Subject(NamedTuple):
    """A model's scores, with its outcome, and the network behind it where it is known."""

    card: Scorecard
    network: nn.Module | None

    @property
    def name(self) -> str:
        """Of the model."""
        return self.card.outcome.name


def read_subjects(models: Any, data: Any, options: Mapping[str, Any]) -> list[Subject]:
    """Subjects in the order given.

    Args:
        models: models by name, or outcomes or their scorecards, as `torch_gbp.report` takes them.
        data, options: of models, as in `torch_gbp.evaluate`.

    Raises:
        InvalidInput: none, too many, two of one name; models without data, outcomes with data; outcomes of different examples.
    """
    if isinstance(models, Mapping) and not isinstance(models, Scorecard):
        _require_names([str(name) for name in models])
        if data is None:
            raise InvalidInput(
                "models need data to be asked about",
                where=WHERE,
                got="no data",
                fix="pass a loader, or the pair (inputs, targets)",
            )
        found = [_of_model(str(name), model, data, options) for name, model in models.items()]
        _require_comparable([own.card.outcome for own in found])
        return found
    cards = [models] if isinstance(models, (Outcome, Scorecard)) else _outcomes(models)
    if data is not None:
        raise InvalidInput("outcomes have their data already", where=WHERE, got=shown(data), fix="leave data out")
    outcomes = [one if isinstance(one, Outcome) else one.outcome for one in cards]
    _require_names([own.name for own in outcomes])
    _require_comparable(outcomes)
    return [_scored(one, options) for one in cards]


def _of_model(name: str, model: Any, data: Any, options: Mapping[str, Any]) -> Subject:
    if isinstance(model, Trainer):
        model = model.model, model.likelihood
    likelihood = None
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[1], Likelihood):
        model, likelihood = model
    card = evaluate(model, data, likelihood, name=name, keep_inputs=True, **options)
    return Subject(card, model if isinstance(model, nn.Module) else None)


def _scored(found: Outcome | Scorecard, options: Mapping[str, Any]) -> Subject:
    resampling = {name: options[name] for name in ("resamples", "seed")}
    return Subject(score(found, **resampling) if isinstance(found, Outcome) else found, None)


def _outcomes(models: Any) -> Sequence[Outcome | Scorecard]:
    """Several outcomes or scorecards."""
    if not isinstance(models, Sequence) or not all(isinstance(one, (Outcome, Scorecard)) for one in models):
        raise InvalidInput(
            "a report is about models by their names, or about outcomes",
            where=WHERE,
            got=shown(models),
            cause="models without names",
            fix="pass {'name': model} and data, or what torch_gbp.evaluate returns",
        )
    return models


def _require_names(names: Sequence[str]) -> None:
    """Some models, not too many, each with a name of its own."""
    if not 1 <= len(names) <= MOST_MODELS:
        raise InvalidInput(
            f"a report has 1 to {MOST_MODELS} models", where=WHERE, got=str(len(names)), fix="make several reports"
        )
    if len(set(names)) < len(names):
        raise InvalidInput("models need different names", where=WHERE, got=", ".join(names), fix="rename one")


def _require_comparable(outcomes: Sequence[Outcome]) -> None:
    """All of the same examples: their targets tell."""
    first = outcomes[0]
    for other in outcomes[1:]:
        if other.kind != first.kind or not _same(other.targets, first.targets):
            raise InvalidInput(
                "all models must have been asked about the same examples",
                where=WHERE,
                got=f"{_described(first)} of {first.name}, {_described(other)} of {other.name}",
                cause="a loader that shuffles, or another test set",
                fix="evaluate all of them on one data set in one order",
            )


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one == other).all())


def _described(outcome: Outcome) -> str:
    what = "labels" if outcome.kind == "classification" else "real targets"
    return f"{len(outcome)} {what}"
