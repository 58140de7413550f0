"""Near and far out-of-distribution sets, told from test images by several scores of the same trained networks: `ood`.

Near sets are images of something else; far ones are no images: pixels drawn at random, one grey value, ten times the test images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

import torch_gbp as gbp
from benchmarks.contest import image_contest
from benchmarks.measure import CHUNK
from benchmarks.methods.base import Method
from benchmarks.methods.gbp import MessagePassed
from benchmarks.methods.gradient import SGD, AdamW, Momentum
from benchmarks.race import Racer
from benchmarks.results import Request, Result, Row
from benchmarks.tasks import SUBSET_SEED, TASKS, Split, Task, Trial, limited, load
from torch_gbp.metrics import detection_scores

GREYS, TIMES = 256, 10.0  # constant images, from the darkest standardised pixel to the brightest; factor on the test images
LIMIT, SCORED = 20_000, 2000  # training images, unless the call says another number; images of every set, the first ones
QUICK_LIMIT = 400  # more than the widest layer has inputs
BATCH = 500  # training images that an OODScore is shown at a time
NEAR = {"mnist": ("FashionMNIST", "notMNIST"), "fashion": ("MNIST", "notMNIST")}
FAR: dict[str, Callable[[Split], Tensor]] = {
    "constant": lambda split: greys(split.scored_x),
    "x 10": lambda split: TIMES * split.scored_x,
}
MADE = "noise"  # far as well; made by lightning_modules.data.ood
SCORES = {
    "entropy": "entropy",
    "msp": "largest probability",
    "energy": "energy",
    "epistemic": "mutual information",
    "features": "`OODScore`",
}
CASES = {f"{data}_{net}": (data, net) for data in NEAR for net in ("mlp", "lenet")}
PLAIN = (AdamW, Momentum, SGD)  # one network with logits of its own; what derives from them predicts otherwise
METHODS = (
    "gbp",
    "adamw",
    "adamw_tail",
    "dropout",
    "swag",
    "ivon",
    "laplace",
    "ensemble",
)  # who takes part unless the call says it


class Seen(NamedTuple):
    """A trained method with its OODScore, if its network has one."""

    method: Method
    score: gbp.OODScore | None


def run(request: Request) -> Result:
    """A row for every method, score and set, of the settings that the search of the task has chosen."""
    told = {
        "near": NEAR,
        "far": [MADE, *FAR],
        "scores": SCORES,
        "limit": request.limit or LIMIT,
        "scored": SCORED,
        "subset_seed": SUBSET_SEED,
    }
    return Result(told, rows(request))


def rows(request: Request) -> Iterator[Row]:
    """Every network and seed of the call."""
    for case in request.asked(CASES):
        data, net = CASES[case]
        task, own = _with_sets(TASKS[data], NEAR[data]), request._replace(limit=request.limit or LIMIT)
        (plan, *_), split = task.nets[net].asked(own), _first(load(task, own))
        plan = plan._replace(limit=QUICK_LIMIT if request.quick else plan.limit)
        for seed in request.runs:
            yield from _raced(Trial(net, task.nets[net], plan, limited(split, plan.limit), seed, {"data": data}), own)


def _first(split: Split) -> Split:
    ood = {name: images[:SCORED] for name, images in split.ood.items()}
    return split._replace(scored_x=split.scored_x[:SCORED], scored_y=split.scored_y[:SCORED], ood=ood)


def _raced(trial: Trial, request: Request) -> Iterator[Row]:
    asked = request._replace(methods=request.methods or list(METHODS))
    for racer, choice in image_contest(trial.more["data"]).raced(trial, asked):
        told = {"method": racer.run.name, **trial.told, **choice.told}
        yield from ({**told, **found} for found in _detected(racer))


def _detected(racer: Racer) -> Iterator[Row]:
    """AUROC, AUPR and FPR95 of every score on every set: the OOD images are what is to be found."""
    split, seen = racer.trial.split, Seen(racer.method, ood_score(racer.method, racer.trial.split))
    sets = split.ood | {name: make(split) for name, make in FAR.items()}
    inside = scored(seen, split.scored_x, racer.predict)
    for name, images in sets.items():
        outside = scored(seen, images, racer.predict)
        for score, values in inside.items():
            yield {"ood": name, "score": score, **_lower(detection_scores(values, outside[score]))}


def scored(seen: Seen, x: Tensor, predict: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Every score that the method has, (n,); the larger, the stranger."""
    logs = predict(x).double()
    found = {"entropy": torch.special.entr(logs.exp()).sum(1), "msp": -logs.exp().amax(1)}
    if isinstance(seen.method, MessagePassed):
        parts = [gbp.predict(seen.method.network, seen.method.likelihood, part) for part in x.split(CHUNK)]
        found["energy"] = torch.cat([-part.belief.mean.double().logsumexp(1) for part in parts])
        found["epistemic"] = torch.cat([part.epistemic.double() for part in parts])
    elif type(seen.method) in PLAIN:
        found["energy"] = torch.cat([-_logits(seen.method, part).double().logsumexp(1) for part in x.split(CHUNK)])
    if seen.score is not None:
        found["features"] = torch.cat([seen.score(part) for part in x.split(CHUNK)])
    return found


def ood_score(method: Method, split: Split) -> gbp.OODScore | None:
    """The library's score: of message passing by its predictive, of a plain network by its softmax; None for other methods."""
    batches = list(zip(split.x.split(BATCH), split.y.split(BATCH), strict=True))
    if isinstance(method, MessagePassed):
        return gbp.OODScore(method.network, method.likelihood, batches)
    return gbp.OODScore(method.network, gbp.Softmax(), batches, how="means") if type(method) in PLAIN else None


def greys(images: Tensor) -> Tensor:
    """Images of one value each, from the smallest to the largest of all.

    >>> greys(torch.tensor([[[[0.0, 1.0]]]])).shape
    torch.Size([256, 1, 1, 2])
    """
    values = torch.linspace(float(images.amin()), float(images.amax()), GREYS)
    return values.view(-1, 1, 1, 1).expand(-1, *images.shape[1:]).contiguous()


@torch.no_grad()
def _logits(method: Method, x: Tensor) -> Tensor:
    return method.network(x)


def _with_sets(task: Task, near: tuple[str, ...]) -> Task:
    return task._replace(ood={name: name for name in (*near, MADE)})


def _lower(found: dict[str, float]) -> Row:
    return {name.lower(): value for name, value in found.items()}
