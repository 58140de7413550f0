"""The tasks: data, networks, passes, batch sizes and out-of-distribution sets; a new task adds its row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

from benchmarks.methods.base import Augment
from benchmarks.report import Request
from examples.networks import CIFAR_SHAPE, conv890k, conv_one_pass, lenet5, mlp
from lightning_modules.data.images import Images, load_cifar10, load_fashion_mnist, load_mnist

QUICK_EPOCHS, QUICK_LIMIT, QUICK_PLANS = 2, 192, 2


class Plan(NamedTuple):
    """How long a network is trained, and in which steps.

    Args:
        epochs: passes over the images.
        limit: training images, None for all.
        batch: images of a step.
        first_batch: the same in the first pass, where everything is still to be learnt.
    """

    epochs: int
    limit: int | None = None
    batch: int = 64
    first_batch: int = 32

    def batch_of(self, epoch: int) -> int:
        """Images of a step in this pass, counted from 0."""
        return self.batch if epoch else self.first_batch

    def steps(self, images: int) -> int:
        """Steps of all passes."""
        return sum(-(-images // self.batch_of(epoch)) for epoch in range(self.epochs))


class Net(NamedTuple):
    """A plain torch network, the plans by which it is trained, and what changes a training batch."""

    title: str
    make: Callable[[], nn.Module]
    plans: Sequence[Plan]
    augment: Augment | None = None


class Task(NamedTuple):
    """One benchmark.

    Args:
        load: the images from the data folder; the second argument is `accept_altered` of CIFAR-10.
        ood: result column -> name of the out-of-distribution set (`lightning_modules.data.ood`).
        nets: the networks by name.
        search_limit: training images in the search for the rivals' settings, None for all that are not held out.
    """

    title: str
    load: Callable[[Path, bool], Images]
    ood: dict[str, str]
    nets: dict[str, Net]
    search_limit: int | None = None


def _low_data_plans() -> list[Plan]:
    epochs = {80: 120, 160: 100, 320: 80, 640: 60, 1280: 40, 2560: 24, 5120: 16, 10240: 10}
    batches = {limit: 16 if limit <= 1280 else 32 for limit in epochs}
    return [Plan(epochs[limit], limit, batches[limit], batches[limit]) for limit in epochs]


_MNIST_OOD = {"ood_auroc": "FashionMNIST", "ood_auroc_notmnist": "notMNIST"}
TASKS: dict[str, Task] = {
    "mnist": Task(
        "MNIST",
        lambda folder, _: load_mnist(folder),
        _MNIST_OOD,
        {
            "mlp": Net("MLP 784-256-256-10", mlp, [Plan(8)]),
            "lenet": Net("LeNet-5", lenet5, [Plan(5)]),
            "onepass": Net("conv 16-32-100", conv_one_pass, [Plan(1)]),
        },
    ),
    "fashion": Task(
        "FashionMNIST",
        lambda folder, _: load_fashion_mnist(folder),
        {"ood_auroc": "MNIST", "ood_auroc_notmnist": "notMNIST"},
        {"mlp": Net("MLP 784-256-256-10", mlp, [Plan(8)]), "lenet": Net("LeNet-5", lenet5, [Plan(8)])},
    ),
    "lowdata": Task(
        "MNIST, few images",
        lambda folder, _: load_mnist(folder),
        _MNIST_OOD,
        {
            "mlp": Net("MLP 784-128-128-10", lambda: mlp(hidden=(128, 128)), _low_data_plans()),
            "lenet": Net("LeNet-5", lenet5, _low_data_plans()),
        },
        search_limit=640,
    ),
    "cifar10": Task(
        "CIFAR-10",
        lambda folder, altered: load_cifar10(folder, accept_altered=altered),
        {"ood_auroc": "noise", "ood_auroc_blurred": "blurred"},
        {
            "lenet": Net("LeNet-5", lambda: lenet5(CIFAR_SHAPE), [Plan(10)]),
            "conv890k": Net("conv net, 890k weights", conv890k, [Plan(10)]),
        },
        search_limit=20_000,
    ),
}


def asked_nets(task: Task, request: Request) -> list[str]:
    """The networks of the call: one, or all of the task's."""
    if request.net is not None and request.net not in task.nets:
        raise SystemExit(f"no network {request.net!r} in this benchmark: use {', '.join(task.nets)}")
    return [request.net] if request.net else list(task.nets)


def asked_plans(net: Net, request: Request) -> list[Plan]:
    """The plans of the call: the network's own, changed by --limit, --epochs and --quick."""
    plans = [_plan_for(net, request.limit)] if request.limit else list(net.plans)
    if request.quick:
        plans = [_shortened(plan) for plan in plans[:QUICK_PLANS]]
    return [plan._replace(epochs=request.epochs or plan.epochs) for plan in plans]


def search_plan(task: Task, net: Net, request: Request) -> Plan:
    """The plan of a search: fewer images than the comparison has, unless the call says how many."""
    return asked_plans(net, request._replace(limit=request.limit or task.search_limit))[0]


def _plan_for(net: Net, limit: int) -> Plan:
    """The network's plan for this many images, else its first plan with them."""
    return next((plan for plan in net.plans if plan.limit == limit), net.plans[0]._replace(limit=limit))


def _shortened(plan: Plan) -> Plan:
    return plan._replace(epochs=min(plan.epochs, QUICK_EPOCHS), limit=min(plan.limit or QUICK_LIMIT, QUICK_LIMIT))
