"""Methods side by side on the same networks: their settings are searched on held-out examples, then they are scored.

One mechanism for the image tasks, for any network, and for block-local learning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import NamedTuple

from torch import Tensor

from benchmarks.choice import BUILT_IN, FARTHEST, SEARCHED, SEARCHED_ELSEWHERE, SHIPPED, Choice, as_long, best, beyond, rows_of
from benchmarks.measure import fit_temperature, peak_memory_mb, predict_seconds, scores, step_seconds, tempered_scores
from benchmarks.methods import METHODS, OF_FEW, installed
from benchmarks.methods.base import Entrant, Method, Settings
from benchmarks.race import Racer, Run, made, make_training, race
from benchmarks.results import Request, Result, Row, committed, key, merged
from benchmarks.tasks import SUBSET_SEED, TASKS, Task, Trial, limited, load, load_held_out

BASELINE = "adamw"  # times are told as multiples of its own
QUICK_SETTINGS, FEW = 1, 3  # settings of each grid that --quick tries; a grid of few is tried whole

AS_IT_COMES = Entrant("a further predictive of a method", Method)
Costs = Callable[[Racer, Request], Row]


class Contest(NamedTuple):
    """Who takes part in what.

    Args:
        name: of the result file; that of the search is NAME_search.
        trials: (call, held_out) -> networks on their data: test examples, or held-out training examples for a search.
        entrants: the methods.
        costs: what is measured of a method beside its scores.
        told: settings for the result file.
        together: all methods in one race, in turns; else one after the other, and rows that are there are not made again.
        search_net: the network whose search counts for all of them; None if each has its own.
        wanted: which settings of the grids a network's search tries.
        takes: (network, method) -> whether the method can be had on it.
    """

    name: str
    trials: Callable[[Request, bool], Iterator[Trial]]
    entrants: Mapping[str, Entrant]
    costs: Costs
    told: Callable[[Request], Row]
    together: bool = True
    search_net: str | None = None
    wanted: Callable[[str, Settings], bool] = lambda net, settings: True
    takes: Callable[[str, str], bool] = lambda net, method: True

    def run(self, request: Request) -> Result:
        """All methods of the call whose packages are installed, scored on test examples by the settings of the search."""
        searched = self.searched(request)
        return Result({"search": searched, **self.told(request), "subset_seed": SUBSET_SEED}, self._rows(request, searched))

    def search(self, request: Request) -> Result:
        """Every setting of the methods' grids, scored on held-out training examples; one seed, the first.

        Where the best rate is at the edge of its grid, the search goes on beyond it; what a rival has is not made again.

        A method without a grid, torch_gbp among them, has nothing to choose: it trains once, for its temperature alone.
        """
        methods = sorted(self.asked(request), key=lambda name: self.together and not self.entrants[name].lends)  # lenders first
        grids = {name: self.entrants[name].grid for name in methods if self.entrants[name].grid}
        return Result({"grids": grids, **self.told(request), "subset_seed": SUBSET_SEED}, self._search_rows(request, methods))

    def asked(self, request: Request) -> list[str]:
        """The installed methods of the call."""
        return installed(request.methods or list(self.entrants), self.entrants)

    def searched(self, request: Request) -> list[Row]:
        """The rows of the search: of the file beside the result file if there is one, else the committed ones."""
        beside = committed(f"{self.name}_search", request.beside.parent) if request.beside else []
        return beside or committed(f"{self.name}_search")

    def raced(self, trial: Trial, request: Request) -> Iterator[tuple[Racer, Choice]]:
        """The call's methods, trained for another benchmark with the committed search's settings."""
        searched = committed(f"{self.name}_search")
        choices = {name: self.choose(searched, trial.name, name, trial.plan.epochs) for name in self.asked(request)}
        runs = [Run(name, choice.settings, self.entrants[name].make) for name, choice in choices.items()]
        yield from zip(race(runs, trial), choices.values(), strict=True)

    def choose(self, searched: list[Row], net: str, method: str, epochs: int) -> Choice:
        """The searched settings with the best score, else the built-in ones; a method without a grid is taken as it comes.

        Rows with as many passes are preferred, else those with the nearest number: the best rate depends on how long it falls.
        """
        entrant, net = self.entrants.get(method, AS_IT_COMES), self.search_net or net
        found = self._settings(searched, net, method, entrant, epochs)
        own = [row for row in rows_of(searched, net, method) if row["settings"] == found.settings]
        return found._replace(temperature=best(own, entrant, epochs).get("temperature") if own else None)

    def _settings(self, searched: list[Row], net: str, method: str, entrant: Entrant, epochs: int) -> Choice:
        if not entrant.grid and not entrant.borrows:
            return Choice(entrant.defaults, SHIPPED)
        by = method if entrant.grid else str(entrant.borrows)
        rows = as_long(rows_of(searched, net, by), epochs)
        if not rows:
            return Choice({**entrant.defaults, **self._lent(searched, net, entrant, epochs)}, BUILT_IN)
        found = best(rows, self.entrants[by], epochs)
        source = SEARCHED if found["epochs"] == epochs else SEARCHED_ELSEWHERE
        return Choice(found["settings"], source, tried=len(rows))

    def _lent(self, searched: list[Row], net: str, entrant: Entrant, epochs: int) -> Settings:
        """What another method's search has chosen for a method that searches for more beside it."""
        if not (entrant.borrows and entrant.grid):
            return {}
        return self._settings(searched, net, entrant.borrows, self.entrants[entrant.borrows], epochs).settings

    def _rows(self, request: Request, searched: list[Row]) -> Iterator[Row]:
        for trial in self.trials(request, False):
            methods = [name for name in self.asked(request) if self.takes(trial.name, name)]
            choices = {name: self.choose(searched, trial.name, name, trial.plan.epochs) for name in methods}
            if not self.together:
                choices = {name: own for name, own in choices.items() if not _there(trial, name, "chosen", own.settings, request)}
            runs = [Run(name, choice.settings, self.entrants[name].make) for name, choice in choices.items()]
            for group in [runs] if self.together else [[run] for run in runs]:
                yield from self._scored(race(group, trial), searched, request)

    def _scored(self, racers: list[Racer], searched: list[Row], request: Request) -> Iterator[Row]:
        baseline = next((racer.train_seconds for racer in racers if racer.run.name == BASELINE and self.together), None)
        for racer in racers:
            trial, labels = racer.trial, racer.trial.split.scored_y.flatten()
            outside = {column: racer.predict(images) for column, images in trial.split.ood.items()}
            predictions, costs = _predictions(racer), self.costs(racer, request)
            if baseline is not None:
                costs["train_ratio"] = racer.train_seconds / baseline
            for name, logs in predictions.items():
                choice = self.choose(searched, trial.name, name, trial.plan.epochs)
                found = scores(logs, labels, outside)
                if choice.temperature is not None:
                    found |= tempered_scores(logs, labels, choice.temperature)
                yield {"method": name, **trial.told, **choice.told, **found, **costs}

    def _tried(self, searched: list[Row], trial: Trial, method: str, quick: bool) -> Iterator[Settings]:
        """The grid, each with what is lent, and what lies beyond it; of a method without one what is chosen already.

        Args:
            searched: grows while the settings are tried.
        """
        entrant, epochs = self.entrants[method], trial.plan.epochs
        lent = self._lent(searched, self.search_net or trial.name, entrant, epochs)
        grid: list[Settings] = [{**lent, **settings} for settings in entrant.grid if self.wanted(trial.name, settings)]
        few = grid[: QUICK_SETTINGS if quick and len(grid) > FEW else None]
        yield from few or [self.choose(searched, trial.name, method, epochs).settings]
        for _ in range(FARTHEST if grid and not quick else 0):
            rows = [row for row in rows_of(searched, trial.name, method) if row["limit"] == trial.told["limit"]]
            if (wider := beyond(rows, entrant, epochs)) is None:
                return
            yield wider

    def _search_rows(self, request: Request, methods: list[str]) -> Iterator[Row]:
        searched = self.searched(request)
        for trial in self.trials(request._replace(seeds=request.seeds[:1]), True):
            for name in (own for own in methods if self.takes(trial.name, own)):
                kept = self.entrants[name].grid or not self.together  # else it is torch_gbp, which changes
                # one setting after the other, so that every finished one is kept
                for settings in self._tried(searched, trial, name, request.quick):
                    if not (kept and _there(trial, name, "settings", settings, request)):
                        for row in _searched(race([Run(name, settings, self.entrants[name].make)], trial)[0]):
                            searched[:] = merged(searched, row)
                            yield row


def _searched(racer: Racer) -> Iterator[Row]:
    """The rows of one setting: scores on the held-out examples, and the temperature that is best there."""
    labels = racer.trial.split.scored_y.flatten()
    for name, logs in _predictions(racer).items():
        tempered = tempered_scores(logs, labels, fit_temperature(logs, labels))
        yield {"method": name, **racer.trial.told, "settings": dict(racer.run.settings), **scores(logs, labels), **tempered}


def _predictions(racer: Racer) -> dict[str, Tensor]:
    """Log-probabilities of the scored examples by the names of their rows: the method's own, and those that come with it."""
    x = racer.trial.split.scored_x
    return {racer.run.name: racer.predict(x), **{name: racer.predict(x, name) for name in racer.method.predictives()}}


def _there(trial: Trial, method: str, kind: str, settings: Settings, request: Request) -> bool:
    """Whether the result file has a row of this training, made with these settings."""
    new = {"method": method, **trial.told, kind: dict(settings)}
    return any(key(row) == key(new) and row.get(kind) == new[kind] for row in request.done)


def trials_of(task: Task, request: Request, held_out: bool) -> Iterator[Trial]:
    """The networks, plans and seeds of an image task that the call asks for."""
    data = (load_held_out if held_out else load)(task, request)
    for name in request.asked(task.nets):
        own = request._replace(limit=request.limit or task.search_limit) if held_out else request
        for plan in task.nets[name].asked(own)[: 1 if held_out else None]:
            for seed in request.runs:
                split = limited(data, plan.limit, draw=seed if task.few and not held_out else 0)
                yield Trial(name, task.nets[name], plan, split, seed)


def race_costs(racer: Racer, request: Request) -> Row:
    """Times of training and predicting, and the memory of a step."""
    trial, batch = racer.trial, racer.trial.plan.batch
    new = made(racer.run, make_training(trial), trial.seed)
    return {
        "train_seconds": racer.train_seconds,
        "pass_seconds": median(racer.passes[1:] or racer.passes),
        "predict_seconds": predict_seconds(racer.method, trial.split.scored_x),
        "peak_memory_mb": peak_memory_mb(new, trial.split.x[:batch], trial.split.y[:batch]),
    }


def step_costs(baseline: Entrant) -> Costs:
    """Times of training and of a step: `step_ratio` is it as a multiple of the baseline's on the same network and batches."""

    def measured(racer: Racer, request: Request) -> Row:
        trial, other = racer.trial, Run(BASELINE, baseline.defaults, baseline.make)
        size = min(trial.plan.batch, len(trial.split.x))
        whole = max(1, len(trial.split.x) // size)
        parts = [slice(size * (turn % whole), size * (turn % whole) + size) for turn in range(8)]
        batches = [(trial.split.x[part], trial.split.y[part]) for part in parts]
        methods = [made(run, make_training(trial), trial.seed) for run in (racer.run, other)]
        times = step_seconds(methods, batches, request.quick)
        ratio = median(own / base for own, base in times)
        return {"train_seconds": racer.train_seconds, "step_seconds": median(own for own, _ in times), "step_ratio": ratio}

    return measured


def image_contest(name: str) -> Contest:
    """That of an image task."""
    task = TASKS[name]

    def told(request: Request) -> Row:
        return {"plans": {net: [plan._asdict() for plan in task.nets[net].asked(request)] for net in request.asked(task.nets)}}

    entrants = OF_FEW if task.few else METHODS
    return Contest(name, lambda request, held_out: trials_of(task, request, held_out), entrants, race_costs, told)
