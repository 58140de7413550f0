"""The thesis' tables 5.1 to 5.3: few and many images, in the published order, in batched ones, by gradients."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.checks.thesis_curves import curves
from benchmarks.checks.thesis_nets import LIMITS, NETS, TABLE, Case
from benchmarks.checks.thesis_ways import BATCH, EPOCHS, METHODS_OF_WAYS, PLAIN_EPOCHS, RATE, WAYS, Trained, Way
from benchmarks.measure import predict, scores, timed
from benchmarks.results import Request, Result, Row, key, say
from benchmarks.tasks import SUBSET_SEED, Split, limited
from torch_gbp import thesis_iterations

METHODS = (*METHODS_OF_WAYS, *WAYS)  # a call may also name ways; it has all of them otherwise
DRAWN = (16, 640, 5120, 60_000)  # images of the trainings whose curves are kept; the first are those of --quick


def run(request: Request) -> Result:
    """Every order, method and number of images; `order` tells them apart, `published` is the thesis' accuracy."""
    plain = {"rate": RATE, "epochs": PLAIN_EPOCHS}
    told = {
        "published": "benchmarks/published/thesis.json",
        "limits": LIMITS,
        "batch": BATCH,
        "iterations": thesis_iterations(EPOCHS),
        "plain": plain,
    }
    return Result({**told, "subset_seed": SUBSET_SEED}, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    for name in request.asked(NETS) if request.net else TABLE:
        case = NETS[name]
        data = case.load(request)
        for limit in case.limits(request):
            for seed in request.runs:
                split = limited(data, limit, draw=seed)
                for order in [order for order in WAYS if _wanted(order, case, limit, request)]:
                    for method in _asked(WAYS[order], case, request):
                        yield from _row(order, method, case, split, seed, request)


def _wanted(order: str, case: Case, limit: int, request: Request) -> bool:
    way, named = WAYS[order], [name for name in WAYS if name in (request.methods or ())]
    fits = case.name in (way.nets or NETS) and (request.limit is not None or limit <= way.largest)
    return fits and order in (named or WAYS)


def _asked(way: Way, case: Case, request: Request) -> list[str]:
    named = [name for name in METHODS_OF_WAYS if name in (request.methods or ())]
    return [name for name in way.methods if name in (named or case.methods or way.methods)]


def _row(order: str, method: str, case: Case, split: Split, seed: int, request: Request) -> Iterator[Row]:
    """The training, unless the result file has it, with its curves where they are drawn."""
    way, found = WAYS[order], list[Trained]()
    told = {"net": case.name, "limit": len(split.x), "seed": seed, "epochs": way.epochs(case, len(split.x), request)}
    row = {"method": method, "order": order, **told}
    if any(key(other) == key(row) and (len(split.x) not in DRAWN or "curves" in other) for other in request.done):
        return
    torch.manual_seed(seed)
    seconds = timed(lambda: found.append(way.train(way.methods[method], case, split, told["epochs"])))
    scored = _scored(found[0], split)
    say(told, f"{method}, {order}: {100 * scored['accuracy']:.2f} % in {seconds:.0f} s")
    yield {**row, **found[0].settings, **scored, "train_seconds": seconds}


def _scored(trained: Trained, split: Split) -> Row:
    """All scores, and the curves of the thesis' figures where the number of images is one of theirs."""
    logs, outside = predict(trained.log_probabilities, split.scored_x), {}
    for column, images in split.ood.items():
        outside[column] = predict(trained.log_probabilities, images)
    found: Row = scores(logs, split.scored_y, outside)
    return found | ({"curves": curves(logs, split.scored_y, outside)} if len(split.x) in DRAWN else {})
