"""What `anynet` trains: each network with its data, its passes and what changes a training batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import splits
from benchmarks.anynet import text
from benchmarks.anynet.nets import HALF_SHAPE, CharacterModel, he_started, resnet_frn
from benchmarks.report import Request, Row
from benchmarks.splits import Split
from benchmarks.tasks import TASKS, Net, Plan
from examples.networks import ResNet, ViT, conv890k, lenet5, mlp
from lightning_modules.data.augmentation import Augmentation
from lightning_modules.data.images import Images

Load = Callable[[Request, bool], Split]
"""(call, held_out) -> examples to train on and to score: test examples, or held-out training examples for a search."""

QUICK_LIMIT, QUICK_EPOCHS = 40, 1


class Case(NamedTuple):
    """A network on a data set."""

    data: str
    net: Net
    load: Load

    def plan(self, request: Request) -> Plan:
        """The network's own plan, changed by --quick, --limit and --passes."""
        plan = self.net.plans[0]
        if request.quick:
            plan = plan._replace(epochs=QUICK_EPOCHS, limit=QUICK_LIMIT)
        return plan._replace(limit=request.limit or plan.limit, epochs=request.epochs or plan.epochs)


class Trial(NamedTuple):
    """One network on its data, with its plan and a seed."""

    name: str
    case: Case
    plan: Plan
    split: Split
    seed: int

    @property
    def told(self) -> Row:
        """What tells its rows from those of others."""
        return {"net": self.name, "limit": len(self.split.x), "seed": self.seed, "epochs": self.plan.epochs}


@lru_cache(maxsize=1)
def images(name: str, half: bool, folder: Path, altered: bool, quick: bool, held_out: bool) -> Split:
    """The images of a task, or those at half their size, standardised, without OOD sets; kept for the next network."""
    request = Request(folder, [], quick, accept_altered=altered)
    task = TASKS[name]._replace(ood={})
    if half:
        task = task._replace(load=lambda folder, altered: halved(TASKS[name].load(folder, altered)))
    return (splits.load_held_out if held_out else splits.load)(task, request)


def halved(images: Images) -> Images:
    """The images at half their size: averages of 2 x 2 pixels, rounded."""
    return images._replace(train_x=_half(images.train_x), test_x=_half(images.test_x))


def flipped_and_cropped(size: int) -> Augmentation:
    """Flips, and crops by an eighth of the side; what is added around is the mean pixel, 0."""
    return Augmentation(crop=size // 8, flip=True, black=[0.0] * 3)


def asked_cases(request: Request) -> dict[str, Case]:
    """The networks of the call: one, or all."""
    if request.net is not None and request.net not in CASES:
        raise SystemExit(f"no network {request.net!r} in this benchmark: use {', '.join(CASES)}")
    return {request.net: CASES[request.net]} if request.net else CASES


def _half(pixels: Tensor) -> Tensor:
    parts = [F.avg_pool2d(part.float(), 2).round_().to(torch.uint8) for part in pixels.split(5000)]
    return torch.cat(parts)


def _he(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: he_started(make())


def _images(name: str, half: bool = False) -> Load:
    return lambda asked, held_out: images(name, half, asked.data_dir, asked.accept_altered, asked.quick, held_out)


_MNIST, _CIFAR, _HALF = _images("mnist"), _images("cifar10"), _images("cifar10", half=True)
_FEW = Plan(60, 640, 16, 16)
_RESNET8 = _he(partial(ResNet, HALF_SHAPE, depth=1))
_FLIPS = Augmentation(crop=0, flip=True, black=[])
CASES: dict[str, Case] = {
    "mlp_small": Case("MNIST", Net("MLP 784-128-128-10", _he(lambda: mlp(hidden=(128, 128))), [_FEW]), _MNIST),
    "lenet_small": Case("MNIST", Net("LeNet-5", _he(lenet5), [_FEW]), _MNIST),
    "mlp": Case("MNIST", Net("MLP 784-256-256-10", _he(mlp), [Plan(8)]), _MNIST),
    "lenet": Case("MNIST", Net("LeNet-5", _he(lenet5), [Plan(5)]), _MNIST),
    "resnet8": Case("CIFAR-10, 16 x 16", Net("ResNet-8, BatchNorm", _RESNET8, [Plan(5, 10_000, 32, 32)], _FLIPS), _HALF),
    "vit": Case("CIFAR-10, 16 x 16", Net("ViT", lambda: ViT(HALF_SHAPE, patch=2), [Plan(8, 5_000, 32, 32)]), _HALF),
    "characters": Case("Python sources", Net("character model", CharacterModel, [Plan(3, 20_000, 16, 16)]), text.load),
    "conv890k": Case("CIFAR-10", Net("conv net, 890k weights", _he(conv890k), [Plan(6)]), _CIFAR),
    "resnet20": Case(
        "CIFAR-10", Net("ResNet-20, BatchNorm", _he(ResNet), [Plan(15, None, 64, 64)], flipped_and_cropped(32)), _CIFAR
    ),
    "resnet20_frn": Case("CIFAR-10", Net("ResNet-20, FRN, SiLU", resnet_frn, [Plan(15, None, 64, 64)]), _CIFAR),
}
