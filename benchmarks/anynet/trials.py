"""`anynet` and its search: one method after the other, every finished row is kept, and rows that are there are not made again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from torch import Tensor

from benchmarks.anynet import text
from benchmarks.anynet.cases import Trial, asked_cases
from benchmarks.anynet.cost import step_costs
from benchmarks.anynet.entrants import BASELINE, ENTRANTS, METHODS, SAMPLED
from benchmarks.anynet.method import MeansSweep, Samples
from benchmarks.choice import Choice, choose
from benchmarks.measure import predict
from benchmarks.methods import Settings, installed
from benchmarks.race import Racer, Run, race
from benchmarks.report import Request, Result, Row, say
from benchmarks.results import committed, key
from benchmarks.splits import SUBSET_SEED, limited
from benchmarks.temperature import fit_temperature, tempered_scores
from torch_gbp.metrics import classification_scores

SEARCH = "anynet_search"
SCORES = ("accuracy", "nll", "ece", "brier")
QUICK_SETTINGS = 1  # of each grid


def run(request: Request) -> Result:
    """Every network, seed and method of the call, scored on test examples; settings and temperatures are those of the search."""
    searched = found_search(request)
    return Result({"search": searched, **_told(request)}, _rows(request, searched))


def run_search(request: Request) -> Result:
    """Every setting of the rivals, and methods without any, on held-out training examples; one seed, the first."""
    grids = {name: ENTRANTS[name].grid for name in _asked(request)}
    return Result({"grids": grids, **_told(request)}, _search_rows(request))


def found_search(request: Request) -> list[Row]:
    """The rows of the search: of the file beside the result file if there is one, else the committed ones."""
    folder = request.beside.parent if request.beside else None
    return (committed(SEARCH, folder) if folder else []) or committed(SEARCH)


def _rows(request: Request, searched: list[Row]) -> Iterator[Row]:
    for trial in _trials(request, held_out=False):
        for method in _asked(request):
            choices = {own: choose(searched, trial.name, own, trial.plan.epochs, ENTRANTS) for own in _rows_of(method)}
            new = [{"method": own, **trial.told, "chosen": dict(choice.settings)} for own, choice in choices.items()]
            if not _made(new, request.done, "chosen"):
                yield from _scored(trial, method, choices, request.quick)


def _search_rows(request: Request) -> Iterator[Row]:
    for trial in _trials(request._replace(seeds=request.seeds[:1]), held_out=True):
        for method in _asked(request):
            for settings in (list(ENTRANTS[method].grid) or [{}])[: QUICK_SETTINGS if request.quick else None]:
                new = [{"method": own, **trial.told, "settings": settings} for own in _rows_of(method)]
                if not _made(new, request.done, "settings"):
                    yield from _searched(trial, method, settings)


def _trials(request: Request, held_out: bool) -> Iterator[Trial]:
    for name, case in asked_cases(request).items():
        plan = case.plan(request)
        split = limited(case.load(request, held_out), plan.limit)
        for seed in request.seeds[: 1 if request.quick else None]:
            yield Trial(name, case, plan, split, seed)


def _trained(trial: Trial, method: str, settings: Settings) -> Racer:
    """The network trained by one method alone."""
    entry = Run(method, settings, ENTRANTS[method].make)
    return race([entry], trial.case.net, trial.plan, trial.split, trial.seed, partial(say, trial.told))[0]


def _scored(trial: Trial, method: str, choices: dict[str, Choice], quick: bool) -> Iterator[Row]:
    """The rows of one training: scores as the method predicts, at its held-out temperature if it has one, and its costs."""
    racer, labels = _trained(trial, method, choices[method].settings), trial.split.scored_y.flatten()
    costs = {"train_seconds": racer.train_seconds, **step_costs(racer.run, BASELINE, trial, quick)}
    for own, logs in _predictions(racer, trial.split.scored_x):
        choice = choices[own]
        told = {"chosen": dict(choice.settings), "chosen_by": choice.source}
        if choice.temperature is not None:
            told |= {"temperature": choice.temperature} | tempered_scores(logs, labels, choice.temperature)
        yield {"method": own, **trial.told, **told, **_scores(logs, labels), **costs}


def _searched(trial: Trial, method: str, settings: Settings) -> Iterator[Row]:
    """The rows of one setting: scores on the held-out examples, and the temperature that is best there."""
    racer, labels = _trained(trial, method, settings), trial.split.scored_y.flatten()
    for own, logs in _predictions(racer, trial.split.scored_x):
        temperature = fit_temperature(logs, labels)
        tempered = {"temperature": temperature} | tempered_scores(logs, labels, temperature)
        yield {"method": own, **trial.told, "settings": dict(settings), **_scores(logs, labels), **tempered}


def _predictions(racer: Racer, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    yield racer.run.name, racer.predict(x)
    if isinstance(racer.method, MeansSweep):
        yield SAMPLED[racer.run.name], predict(Samples(racer.method), x)


def _scores(logs: Tensor, labels: Tensor) -> Row:
    found = classification_scores(logs, labels)
    return {name: found[name] for name in SCORES}


def _asked(request: Request) -> list[str]:
    return installed(request.methods or METHODS, ENTRANTS)


def _rows_of(method: str) -> list[str]:
    """The methods whose rows come of one training."""
    return [method, *([SAMPLED[method]] if method in SAMPLED else [])]


def _made(new: list[Row], done: Sequence[Row], settings: str) -> bool:
    """Whether all these rows are there, made with these settings."""
    there = [(key(row), row.get(settings)) for row in done]
    return all((key(row), row[settings]) in there for row in new)


def _told(request: Request) -> dict[str, object]:
    asked = asked_cases(request)
    source = {"text": text.described()} if "characters" in asked else {}
    return {"plans": {name: case.plan(request)._asdict() for name, case in asked.items()}, "subset_seed": SUBSET_SEED, **source}
