"""The networks of the benchmark `local`, each with its data set and its plan."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.report import Request
from benchmarks.tasks import TASKS, Net, Plan, Task, asked_plans
from examples.networks import CIFAR_SHAPE, MNIST_SHAPE, ResNet


class Case(NamedTuple):
    """A network on a data set: the task of the image benchmarks that the data are those of, without its OOD sets."""

    data: str
    net: Net

    @property
    def task(self) -> Task:
        return TASKS[self.data]._replace(ood={})


CASES = {
    "resnet20_fashion": Case("fashion", Net("ResNet-20", lambda: ResNet(MNIST_SHAPE), [Plan(4, 15_000, 64, 64)])),
    "resnet20_cifar10": Case("cifar10", Net("ResNet-20", lambda: ResNet(CIFAR_SHAPE), [Plan(5, 15_000, 64, 64)])),
}


def asked_cases(request: Request) -> dict[str, Case]:
    """The networks of the call: one, or all."""
    if request.net is not None and request.net not in CASES:
        raise SystemExit(f"no network {request.net!r} in this benchmark: use {', '.join(CASES)}")
    return {request.net: CASES[request.net]} if request.net else CASES


def asked_plan(case: Case, request: Request) -> Plan:
    """The plan of the call: the network's own, changed by --limit, --epochs and --quick."""
    return asked_plans(case.net, request)[0]
