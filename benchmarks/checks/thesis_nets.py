"""The networks of the thesis' tables 5.1 to 5.3, and how long each is trained on how many images."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from benchmarks.results import Request
from benchmarks.tasks import TASKS, Plan, Split, load
from examples.networks import CIFAR_SHAPE, lenet5, mlp

PUBLISHED: dict[str, Any] = json.loads((Path(__file__).parent.parent / "published" / "thesis.json").read_text())
LIMITS: tuple[int, ...] = tuple(PUBLISHED["limits"])
WHOLE = 60_000
OOD = {"mnist": {"ood_auroc": "FashionMNIST"}, "cifar10": {}}  # figures 5.11 and 5.12


class Case(NamedTuple):
    """A network, its data, and the plans by which message passing and the searched rivals train it.

    Args:
        name: of its rows, and of its search where it has one.
        methods: those that train it unless the call names others; None for all.
    """

    name: str
    title: str
    data: str
    make: Callable[[], nn.Sequential]
    plans: tuple[Plan, ...]
    methods: tuple[str, ...] | None = None

    def load(self, request: Request) -> Split:
        """Its images; those of the ROC curves are the OOD set."""
        return load(TASKS[self.data]._replace(ood=OOD[self.data]), request)

    def plan(self, images: int) -> Plan:
        """That of so many images, else that of the whole set."""
        return next((plan for plan in self.plans if plan.limit == images), self.plans[-1])

    def limits(self, request: Request) -> list[int]:
        """The numbers of images of the call."""
        if request.quick:
            return [request.limit or 16]
        return [request.limit] if request.limit else [plan.limit for plan in self.plans if plan.limit is not None]


def _all_sizes(net: str) -> tuple[Plan, ...]:
    """The plans of `lowdata`, which are the same for both networks, and that of `mnist`."""
    return (*TASKS["lowdata"].nets["mlp"].plans, TASKS["mnist"].nets[net].plans[0]._replace(limit=WHOLE))


def _wide(width: int, epochs: int, limit: int = WHOLE) -> Case:
    make = partial(mlp, hidden=(width, width))
    return Case(f"mlp{width}", f"MLP 784-{width}-{width}-10", "mnist", make, (Plan(epochs, limit),), REGRESSED)


REGRESSED = ("gbp_onehot", "gbp_argmax")
_CIFAR_MLP, _CIFAR_LENET = partial(mlp, inputs=3072, hidden=(501, 501)), partial(lenet5, CIFAR_SHAPE)
CASES = (
    Case("mlp", "MLP 784-256-256-10", "mnist", mlp, _all_sizes("mlp")),
    Case("lenet", "LeNet-5", "mnist", lenet5, _all_sizes("lenet")),
    _wide(400, 3),
    _wide(800, 3),
    _wide(1200, 3),
    _wide(2000, 1, limit=20_000),
    Case("cifar_mlp501", "CIFAR-10, MLP 3072-501-501-10", "cifar10", _CIFAR_MLP, (Plan(3, 50_000),), REGRESSED),
    Case("cifar_lenet", "CIFAR-10, LeNet-5", "cifar10", _CIFAR_LENET, (Plan(10, 50_000),), REGRESSED),
)
NETS = {case.name: case for case in CASES}
TABLE = ("mlp", "lenet")  # of table 5.1; the others are trained when a call names them
