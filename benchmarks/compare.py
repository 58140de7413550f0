"""The comparison: every method with its chosen settings on one task, scored on the test images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median

from benchmarks.choice import Choice, choose
from benchmarks.measure import peak_memory_mb, predict_seconds, scores
from benchmarks.methods import METHODS, installed
from benchmarks.race import Racer, Run, made, make_training, race
from benchmarks.report import Request, Result, Row, say
from benchmarks.results import committed
from benchmarks.splits import SUBSET_SEED, Split, limited, load
from benchmarks.tasks import TASKS, Net, Plan, asked_nets, asked_plans
from benchmarks.temperature import tempered_scores

BASELINE = "adamw"  # training times are told as multiples of its time in the same race


def run(name: str, request: Request) -> Result:
    """All methods of the call whose packages are installed; each row tells the settings it was made with."""
    methods, searched = installed(request.methods or list(METHODS)), committed(f"{name}_search")
    nets = asked_nets(TASKS[name], request)
    plans = {net: [plan._asdict() for plan in asked_plans(TASKS[name].nets[net], request)] for net in nets}
    settings = {"search": searched, "plans": plans, "subset_seed": SUBSET_SEED}
    return Result(settings, _rows(name, request, methods, searched))


def _rows(name: str, request: Request, methods: list[str], searched: list[Row]) -> Iterator[Row]:
    task = TASKS[name]
    data = load(task, request)
    for title in asked_nets(task, request):
        net = task.nets[title]
        for plan in asked_plans(net, request):
            split = limited(data, plan.limit)
            choices = {method: choose(searched, title, method, plan.epochs) for method in methods}
            for seed in request.seeds[: 1 if request.quick else None]:
                case = {"net": title, "limit": len(split.x), "seed": seed, "epochs": plan.epochs}
                yield from _race(choices, case, net, plan, split)


def _race(choices: dict[str, Choice], case: Row, net: Net, plan: Plan, split: Split) -> Iterator[Row]:
    runs = [Run(method, choice.settings) for method, choice in choices.items()]
    racers = race(runs, net, plan, split, case["seed"], partial(say, case))
    baseline = next((racer.train_seconds for racer in racers if racer.run.name == BASELINE), None)
    for racer in racers:
        choice = choices[racer.run.name]
        found = _scores(racer, split, choice.temperature) | _costs(racer, net, plan, split, case["seed"])
        row = {"method": racer.run.name, **case, **_told(choice), **found}
        if baseline is not None:
            row["train_ratio"] = row["train_seconds"] / baseline
        yield row


def _told(choice: Choice) -> Row:
    told = {"chosen": dict(choice.settings), "chosen_by": choice.source}
    return told if choice.temperature is None else told | {"temperature": choice.temperature}


def _scores(racer: Racer, split: Split, temperature: float | None) -> Row:
    """The scores as the method predicts, and those at its held-out temperature if it has one."""
    outside = {column: racer.predict(images) for column, images in split.ood.items()}
    logs = racer.predict(split.scored_x)
    plain = scores(logs, split.scored_y, outside)
    return plain if temperature is None else plain | tempered_scores(logs, split.scored_y, temperature)


def _costs(racer: Racer, net: Net, plan: Plan, split: Split, seed: int) -> Row:
    new = made(racer.run, make_training(net, plan, split, seed), seed)
    return {
        "train_seconds": racer.train_seconds,
        "pass_seconds": median(racer.passes[1:] or racer.passes),
        "predict_seconds": predict_seconds(racer.method, split.scored_x),
        "peak_memory_mb": peak_memory_mb(new, split.x[: plan.batch], split.y[: plan.batch]),
    }
