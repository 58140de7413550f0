"""The image tasks: data, networks, passes and batches; the images that train, those that are scored, those never seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.methods.base import Augment
from benchmarks.results import Request, Row
from examples.networks import CIFAR_SHAPE, conv890k, conv_one_pass, lenet5, mlp
from lightning_modules.data.image_modules import Normaliser
from lightning_modules.data.images import Images, load_cifar10, load_fashion_mnist, load_mnist
from lightning_modules.data.ood import Source, ood_images

QUICK_EPOCHS, QUICK_LIMIT, QUICK_PLANS, QUICK_SCORED = 2, 192, 2, 64
SUBSET_SEED = 123  # the same subset and held-out images for every method and seed
VALIDATION = 6000  # images that a search holds out


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

    def asked(self, request: Request) -> list[Plan]:
        """The plans of the call: the network's own, changed by --limit, --passes and --quick."""
        found = list(self.plans)
        if request.limit:
            own = [plan for plan in found if plan.limit == request.limit]
            found = own[:1] or [found[0]._replace(limit=request.limit)]
        if request.quick:
            found = [_shortened(plan) for plan in found[:QUICK_PLANS]]
        return [plan._replace(epochs=request.epochs or plan.epochs) for plan in found]


class Task(NamedTuple):
    """A data set and its networks.

    Args:
        load: the images from the data folder; the second argument is `accept_altered` of CIFAR-10.
        ood: result column -> name of the out-of-distribution set (`lightning_modules.data.ood`).
        nets: the networks by name.
        search_limit: training images in the search for the rivals' settings, None for all that are not held out.
        few: few examples, for which the rivals' searches try more weight decay, and each seed has images of its own when scored:
            which ones they are matters more than the network's start.
    """

    title: str
    load: Callable[[Path, bool], Images]
    ood: dict[str, str]
    nets: dict[str, Net]
    search_limit: int | None = None
    few: bool = False


class Split(NamedTuple):
    """Training and scored images, standardised; `ood` by result column."""

    x: Tensor
    y: Tensor
    scored_x: Tensor
    scored_y: Tensor
    ood: dict[str, Tensor]

    def on(self, device: str) -> Split:
        """The same with what networks see on a device; the labels that are scored stay, as the scores are the CPU's."""
        ood = {column: images.to(device) for column, images in self.ood.items()}
        return Split(self.x.to(device), self.y.to(device), self.scored_x.to(device), self.scored_y, ood)


class Trial(NamedTuple):
    """One network on its data, with its plan and a seed; `more` are further keys of its rows."""

    name: str
    net: Net
    plan: Plan
    split: Split
    seed: int
    more: Row = {}

    @property
    def told(self) -> Row:
        """What tells its rows from those of others."""
        return {"net": self.name, **self.more, "limit": len(self.split.x), "seed": self.seed, "epochs": self.plan.epochs}


def load(task: Task, request: Request) -> Split:
    """All images, every set standardised by the statistics of the training images; the test images are scored."""
    images = task.load(request.data_dir, request.accept_altered)
    source = Source(images, request.data_dir, download=True, seed=0)
    standardise, scored = Normaliser(images.train_x), QUICK_SCORED if request.quick else None
    ood = {column: standardise(ood_images(name, source)[:scored]) for column, name in task.ood.items()}
    test_x, test_y = standardise(images.test_x[:scored]), images.test_y[:scored]
    return Split(standardise(images.train_x), images.train_y, test_x, test_y, ood).on(request.device)


def load_held_out(task: Task, request: Request) -> Split:
    """Training images alone, for a search: the first of a fixed shuffle are scored, the others train."""
    images = task.load(request.data_dir, request.accept_altered)
    x, y, order = Normaliser(images.train_x)(images.train_x), images.train_y, _order(len(images.train_x))
    size = min(VALIDATION, len(order) // 2)
    scored, rest = order[: QUICK_SCORED if request.quick else size][:size], order[size:]
    return Split(x[rest], y[rest], x[scored], y[scored], {}).on(request.device)


def limited(split: Split, limit: int | None, draw: int = 0) -> Split:
    """The first training images of a fixed shuffle; another one for each `draw`."""
    if limit is None or limit >= len(split.x):
        return split
    keep = _order(len(split.x), draw)[:limit].to(split.x.device)
    return split._replace(x=split.x[keep], y=split.y[keep])


def _order(size: int, draw: int = 0) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(SUBSET_SEED + draw))


def _shortened(plan: Plan) -> Plan:
    return plan._replace(epochs=min(plan.epochs, QUICK_EPOCHS), limit=min(plan.limit or QUICK_LIMIT, QUICK_LIMIT))


def _low_data_plans() -> list[Plan]:
    epochs = {80: 120, 160: 100, 320: 80, 640: 60, 1280: 40, 2560: 24, 5120: 16, 10240: 10}
    batches = {limit: 16 if limit <= 1280 else 32 for limit in epochs}
    return [Plan(epochs[limit], limit, batches[limit], batches[limit]) for limit in epochs]


def _mnist(folder: Path, _: bool) -> Images:
    return load_mnist(folder)


_MNIST_OOD = {"ood_auroc": "FashionMNIST", "ood_auroc_notmnist": "notMNIST"}
_WIDE = "MLP 784-256-256-10"
TASKS: dict[str, Task] = {
    "mnist": Task(
        "MNIST",
        _mnist,
        _MNIST_OOD,
        {
            "mlp": Net(_WIDE, mlp, [Plan(8)]),
            "lenet": Net("LeNet-5", lenet5, [Plan(5)]),
            "onepass": Net("conv 16-32-100", conv_one_pass, [Plan(1)]),
        },
    ),
    "fashion": Task(
        "FashionMNIST",
        lambda folder, _: load_fashion_mnist(folder),
        {"ood_auroc": "MNIST", "ood_auroc_notmnist": "notMNIST"},
        {"mlp": Net(_WIDE, mlp, [Plan(8)]), "lenet": Net("LeNet-5", lenet5, [Plan(8)])},
    ),
    "lowdata": Task(
        "MNIST, few images",
        _mnist,
        _MNIST_OOD,
        {
            "mlp": Net("MLP 784-128-128-10", lambda: mlp(hidden=(128, 128)), _low_data_plans()),
            "lenet": Net("LeNet-5", lenet5, _low_data_plans()),
        },
        search_limit=640,
        few=True,
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
