"""Active learning on MNIST: labels that a network needs for 95 % accuracy, by how the next images to label are chosen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

import torch_gbp as gbp
from benchmarks.measure import predict
from benchmarks.methods import METHODS
from benchmarks.methods.base import Method, Training, train
from benchmarks.methods.gbp import MessagePassed
from benchmarks.results import KEY, Request, Result, Row, matching, say
from benchmarks.tasks import TASKS
from lightning_modules.data.image_modules import Normaliser
from lightning_modules.data.images import load_mnist
from torch_gbp.metrics import classification_scores

GOAL, CLASSES = 0.95, 10
FIRST = 2  # images of each class that are labelled at first
ACQUIRED = {"random": 40}  # labels of a round; random ones do not depend on what was learnt before, so half the rounds will do
ROUND, MOST = 20, 620  # labels of a round of the others, and of all rounds
CANDIDATES = 2000  # unlabelled images that are looked at in a round, drawn anew
LIKELY, SAMPLES = 200, 128  # BatchBALD: candidates of largest BALD, networks drawn
BATCH, STEPS, PASSES = 16, 300, 20  # a network is trained from its start in every round: by so many steps and passes at least
SETTINGS = {"gbp": {}, "adamw": {"lr": 0.004, "weight_decay": 0.1}}  # AdamW's as searched for LeNet-5 and 640 images (`lowdata`)
WAYS = {
    "gbp_random": "torch_gbp, random",
    "gbp_entropy": "torch_gbp, entropy",
    "gbp_margin": "torch_gbp, margin",
    "gbp_bald": "torch_gbp, BALD",
    "gbp_batchbald": "torch_gbp, BatchBALD",
    "adamw_random": "AdamW, random",
    "adamw_entropy": "AdamW, entropy",
}
ORDER = ("gbp_random", "gbp_bald", "gbp_entropy", "gbp_batchbald", "adamw_random", "adamw_entropy", "gbp_margin")


class Data(NamedTuple):
    """The pool with its labels, of which those that were asked for are known, and the test images."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


class Curve(NamedTuple):
    """Scores of the test images after each round."""

    labels: list[int]
    accuracy: list[float]
    nll: list[float]

    def reached(self) -> float | None:
        """Labels at the goal, by the straight line to the first of two rounds in succession that are above it."""
        for place in range(len(self.labels) - 1):
            if min(self.accuracy[place : place + 2]) >= GOAL:
                return self._crossing(place)
        return None

    def _crossing(self, place: int) -> float:
        if not place:
            return float(self.labels[0])
        (before, after), (low, high) = self.labels[place - 1 : place + 1], self.accuracy[place - 1 : place + 1]
        return after - (after - before) * (high - GOAL) / (high - low)


def run(request: Request) -> Result:
    """A row for every way and seed: the curve, and the labels at the goal."""
    settings = {
        **{"goal": GOAL, "first": FIRST * CLASSES, "round": ROUND, "round_random": ACQUIRED["random"], "most": MOST},
        **{"candidates": CANDIDATES, "batchbald": {"candidates": LIKELY, "networks": SAMPLES}, "methods": SETTINGS},
        **{"batch": BATCH, "steps": STEPS, "passes": PASSES},
    }
    return Result(settings, _rows(request, _data(request)))


def _data(request: Request) -> Data:
    images = load_mnist(request.data_dir)
    standardise, scored = Normaliser(images.train_x), 200 if request.quick else None
    test_x, test_y = standardise(images.test_x[:scored]), images.test_y[:scored]
    return Data(standardise(images.train_x), images.train_y, test_x, test_y)


def _rows(request: Request, data: Data) -> Iterator[Row]:
    limit, epochs = request.limit or (60 if request.quick else MOST), request.epochs or (1 if request.quick else PASSES)
    for seed in request.runs:
        for method in request.methods or ORDER:
            case = {"method": method, "net": "lenet", "limit": limit, "seed": seed, "epochs": epochs}
            if not matching(request.done, **{key: case.get(key) for key in KEY if key in case}):
                start = time.process_time()
                curve = _curve(data, case, request.quick)
                reached = curve.reached()
                goal = {} if reached is None else {"labels_to_goal": reached}
                yield {**case, **curve._asdict(), **goal, "processor_seconds": time.process_time() - start}


def _curve(data: Data, case: Row, quick: bool) -> Curve:
    """Labels, training, test and choice, in turn, until the goal is passed twice or the labels are spent."""
    name, how = case["method"].split("_")
    labelled, curve = _first(data.y, case["seed"]), Curve([], [], [])
    while True:
        torch.manual_seed(1000 * case["seed"] + len(labelled))
        method = _trained(name, data.x[labelled], data.y[labelled], case["epochs"], 1 if quick else STEPS)
        found = classification_scores(predict(method.log_probabilities, data.test_x), data.test_y)
        curve.labels.append(len(labelled))
        curve.accuracy.append(found["accuracy"])
        curve.nll.append(found["nll"])
        say(case, f"{case['method']}: {len(labelled)} labels, accuracy {found['accuracy']:.4f}")
        room = min(ACQUIRED.get(how, ROUND), case["limit"] - len(labelled))
        if curve.reached() is not None or room <= 0:
            return curve
        labelled = torch.cat([labelled, _chosen(method, how, data.x, labelled, room, case["seed"])])


def _first(y: Tensor, seed: int) -> Tensor:
    """So many images of each class."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[y[order] == label][:FIRST] for label in range(CLASSES)])


def _trained(name: str, x: Tensor, y: Tensor, passes: int, steps: int) -> Method:
    """A LeNet-5 trained from its start."""
    each = -(-len(x) // BATCH)
    passes = max(passes, -(-steps // each))
    method = METHODS[name].make(Training(TASKS["lowdata"].nets["lenet"].make(), x, y, passes, passes * each), **SETTINGS[name])
    method.network.train()
    train(method, x, y, (batch for _ in range(passes) for batch in torch.randperm(len(x)).split(BATCH)))
    method.finish()
    method.network.eval()
    return method


def _chosen(method: Method, how: str, x: Tensor, labelled: Tensor, k: int, seed: int) -> Tensor:
    """Places in the pool of the images to label next."""
    generator = torch.Generator().manual_seed(1000 * seed + len(labelled))
    free = torch.ones(len(x), dtype=torch.bool).index_fill(0, labelled, False).nonzero()[:, 0]
    candidates = free[torch.randperm(len(free), generator=generator)[:CANDIDATES]]
    if how == "random":
        return candidates[:k]
    if isinstance(method, MessagePassed):
        return candidates[_by_messages(method, how, x[candidates], k, generator)]
    return candidates[gbp.select(predict(method.log_probabilities, x[candidates]).exp(), k, how)]


def _by_messages(method: MessagePassed, how: str, x: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """By the one pass of moments; BatchBALD by samples, among those whose BALD is largest."""
    found = gbp.predict(method.network, method.likelihood, x, how="moments")
    if how != "batchbald":
        return gbp.select(found, k, how)
    likely = gbp.select(found, min(LIKELY, len(x)), "bald")
    sampled = gbp.predict(method.network, method.likelihood, x[likely], how="samples", samples=SAMPLES, generator=generator)
    return likely[gbp.select(sampled, k, "batchbald", generator=generator)]
