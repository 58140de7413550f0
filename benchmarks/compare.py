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

Choices = dict[str, dict[str, Choice]]  # by network and method
BASELINE = "adamw"  # training times are told as multiples of its time in the same race


def run(name: str, request: Request) -> Result:
    """All methods of the call whose packages are installed."""
    methods, searched = installed(request.methods or list(METHODS)), committed(f"{name}_search")
    nets = asked_nets(TASKS[name], request)
    choices = {net: {method: choose(searched, net, method) for method in methods} for net in nets}
    plans = {net: [plan._asdict() for plan in asked_plans(TASKS[name].nets[net], request)] for net in nets}
    settings = {**_told(choices), "search": searched, "plans": plans, "subset_seed": SUBSET_SEED}
    return Result(settings, _rows(name, request, choices))


def _told(choices: Choices) -> dict[str, object]:
    """The chosen settings by network and method, and where they come from."""
    settings = {net: {method: dict(choice.settings) for method, choice in row.items()} for net, row in choices.items()}
    sources = {net: {method: choice.source for method, choice in row.items()} for net, row in choices.items()}
    return {"methods": settings, "chosen_by": sources}


def _rows(name: str, request: Request, choices: Choices) -> Iterator[Row]:
    task = TASKS[name]
    data = load(task, request)
    for title, chosen in choices.items():
        runs = [Run(method, choice.settings) for method, choice in chosen.items()]
        net = task.nets[title]
        for plan in asked_plans(net, request):
            split = limited(data, plan.limit)
            for seed in request.seeds[: 1 if request.quick else None]:
                case = {"net": title, "limit": len(split.x), "seed": seed, "epochs": plan.epochs}
                yield from _race(runs, case, net, plan, split)


def _race(runs: list[Run], case: Row, net: Net, plan: Plan, split: Split) -> Iterator[Row]:
    racers = race(runs, net, plan, split, case["seed"], partial(say, case))
    baseline = next((racer.train_seconds for racer in racers if racer.run.name == BASELINE), None)
    for racer in racers:
        row = {"method": racer.run.name, **case, **_scores(racer, split), **_costs(racer, net, plan, split, case["seed"])}
        if baseline is not None:
            row["train_ratio"] = row["train_seconds"] / baseline
        yield row


def _scores(racer: Racer, split: Split) -> Row:
    outside = {column: racer.predict(images) for column, images in split.ood.items()}
    return scores(racer.predict(split.scored_x), split.scored_y, outside)


def _costs(racer: Racer, net: Net, plan: Plan, split: Split, seed: int) -> Row:
    new = made(racer.run, make_training(net, plan, split, seed), seed)
    return {
        "train_seconds": racer.train_seconds,
        "pass_seconds": median(racer.passes[1:] or racer.passes),
        "predict_seconds": predict_seconds(racer.method, split.scored_x),
        "peak_memory_mb": peak_memory_mb(new, split.x[: plan.batch], split.y[: plan.batch]),
    }
