"""Any torch network by message passing, beside AdamW, SGD and IVON with searched settings: `anynet`.

Plain networks as anybody would write them, with what the moment sweep has no rule for. Convolutional networks and perceptrons
start by He et al. 2015, transformers by torch's own start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import tasks, text
from benchmarks.contest import BASELINE, Contest, step_costs
from benchmarks.methods.base import Entrant, Settings, grid
from benchmarks.methods.bayes import BY_IVON
from benchmarks.methods.gbp import GBP, MeansSweep
from benchmarks.methods.gradient import WARMUP, AdamW, Momentum
from benchmarks.results import Request, Row
from benchmarks.tasks import TASKS, Net, Plan, Split, Trial, limited
from examples.networks import CIFAR_SHAPE, CharacterModel, FilterResponseNorm, ResNet, ViT, conv890k, lenet5, mlp
from lightning_modules.data.augmentation import Augmentation
from lightning_modules.data.images import Images

Load = Callable[[Request, bool], Split]
"""(call, held_out) -> examples to train on and to score: test examples, or held-out training examples for a search."""
HALF_SHAPE = (3, 16, 16)  # CIFAR-10 at half its size
QUICK_LIMIT, QUICK_EPOCHS = 40, 1


class Case(NamedTuple):
    """A network on a data set.

    Args:
        lr: smallest and largest rate of AdamW that a search tries.
        weight_decay: the largest that it tries of AdamW and of SGD: few examples want more.
        search: the plan of a search, where the network's own would take hours.
        moments: the moment sweep has rules for all of it, and takes it in reasonable time.
    """

    data: str
    net: Net
    load: Load
    lr: tuple[float, float] = (1e-3, 8e-3)
    weight_decay: tuple[float, float] = (1.0, 1e-2)
    search: Plan | None = None
    moments: bool = False

    def plan(self, request: Request, held_out: bool = False) -> Plan:
        """The network's own plan, or that of a search, changed by --quick, --limit and --passes."""
        plan = self.search if held_out and self.search else self.net.plans[0]
        if request.quick:
            plan = plan._replace(epochs=QUICK_EPOCHS, limit=QUICK_LIMIT)
        return plan._replace(limit=request.limit or plan.limit, epochs=request.epochs or plan.epochs)


def _searched(lr: tuple[float, ...], weight_decay: tuple[float, ...], final: float, tail: float) -> list[Settings]:
    return grid(lr=lr, weight_decay=weight_decay, final=(final,), tail=(tail,), warmup=(WARMUP,))


def _entrant(title: str, make: Any, settings: list[Settings], usual: int) -> Entrant:
    """`usual` is the place of the settings that are taken where none were searched; the best at its own temperature is chosen."""
    return Entrant(title, make, settings[usual], settings, chosen_by="nll_tempered")


_ADAMW = ((5e-4, 1e-3, 2e-3, 4e-3, 8e-3), (0.01, 0.1, 1.0))  # of which a network tries what `wanted` says
_MOMENTUM = ((0.02, 0.05, 0.1, 0.2), (1e-4, 1e-3, 1e-2))
SMALLEST_MOMENTUM = _MOMENTUM[0][0]  # rates of SGD and IVON begin above those of AdamW
_IVON = grid(lr=(0.05, 0.1, 0.2), hess_init=(0.5,), weight_decay=(1e-4, 1e-3, 1e-2))
_WARM_END, _TO_ZERO = (0.4, 0.125), (0.0, 0.0)  # what is left of the rate, and the share of the steps whose weights are averaged
LIKE_OURS = "warm end, tail average"
ENTRANTS: dict[str, Entrant] = {
    "gbp": Entrant("torch_gbp, means", MeansSweep),
    "gbp_moments": Entrant("torch_gbp, moments", GBP),
    BASELINE: _entrant("AdamW", AdamW, _searched(*_ADAMW, *_TO_ZERO), 6),
    "adamw_tail": _entrant(f"AdamW, {LIKE_OURS}", AdamW, _searched(*_ADAMW, *_WARM_END), 6),
    "sgd_cosine": _entrant("SGD with momentum", Momentum, _searched(*_MOMENTUM, *_TO_ZERO), 3),
    "sgd_momentum": _entrant(f"SGD with momentum, {LIKE_OURS}", Momentum, _searched(*_MOMENTUM, *_WARM_END), 3),
    "ivon": BY_IVON._replace(grid=_IVON, chosen_by="nll_tempered"),
}
TITLES = {"gbp": "**torch_gbp, means**", "gbp_samples": "**torch_gbp, 16 samples**", "gbp_moments": "**torch_gbp, moments**"}
OURS = tuple(TITLES)
TITLES |= {name: entrant.title for name, entrant in ENTRANTS.items() if name not in OURS}


def trials(request: Request, held_out: bool) -> Iterator[Trial]:
    """The networks and seeds of the call."""
    for name in request.asked(CASES):
        case = CASES[name]
        plan = case.plan(request, held_out)
        split = limited(case.load(request, held_out).on(request.device), plan.limit)
        for seed in request.runs:
            yield Trial(name, case.net, plan, split, seed)


def told(request: Request) -> Row:
    """Settings for the result file: the plans, and which text the character model reads."""
    asked = request.asked(CASES)
    source = {"text": text.described()} if "characters" in asked else {}
    return {"plans": {name: CASES[name].plan(request)._asdict() for name in asked}, **source}


def wanted(net: str, settings: Settings) -> bool:
    """Whether the network's search tries these settings: those of SGD have another weight decay than those of AdamW."""
    case, by_momentum = CASES[net], settings["lr"] >= SMALLEST_MOMENTUM
    smallest, largest = (0.0, math.inf) if by_momentum else case.lr
    return smallest <= settings["lr"] <= largest and settings["weight_decay"] <= case.weight_decay[by_momentum]


def takes(net: str, method: str) -> bool:
    """Whether the network can be trained by the method: not every one by moment sweeps."""
    return method != "gbp_moments" or CASES[net].moments


CONTEST = Contest("anynet", trials, ENTRANTS, step_costs(ENTRANTS[BASELINE]), told, together=False, wanted=wanted, takes=takes)


@lru_cache(maxsize=1)
def images(name: str, half: bool, folder: Path, altered: bool, quick: bool, held_out: bool) -> Split:
    """The images of a task, or those at half their size, standardised, without OOD sets; kept for the next network."""
    task = TASKS[name]._replace(ood={})
    if half:
        task = task._replace(load=lambda folder, altered: halved(TASKS[name].load(folder, altered)))
    return (tasks.load_held_out if held_out else tasks.load)(task, Request(folder, [], quick, accept_altered=altered))


def halved(images: Images) -> Images:
    """The images at half their size: averages of 2 x 2 pixels, rounded."""
    return images._replace(train_x=_half(images.train_x), test_x=_half(images.test_x))


def _half(pixels: Tensor) -> Tensor:
    return torch.cat([F.avg_pool2d(part.float(), 2).round_().to(torch.uint8) for part in pixels.split(5000)])


def he_started(network: nn.Module) -> nn.Module:
    """The network with weights drawn from N(0, 2 / fan-in) and biases of 0."""
    for layer in network.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def _he(make: Callable[..., nn.Module], *arguments: Any, **options: Any) -> Callable[[], nn.Module]:
    return lambda: he_started(make(*arguments, **options))


class HalfPrecision(nn.Module):
    """A network whose forward pass runs under bfloat16 autocast, with channels last; weights and outputs are float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.network(x.contiguous(memory_format=torch.channels_last)).float()


def _half_precision(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: HalfPrecision(make())


def _images(name: str, half: bool = False) -> Load:
    return lambda asked, held_out: images(name, half, asked.data_dir, asked.accept_altered, asked.quick, held_out)


_MNIST, _FASHION, _CIFAR, _HALF = _images("mnist"), _images("fashion"), _images("cifar10"), _images("cifar10", half=True)
_OF_MANY: dict[str, Any] = {"weight_decay": (0.1, 1e-3)}
_OF_TRANSFORMERS: dict[str, Any] = {"lr": (5e-4, 4e-3), **_OF_MANY}
_FEW, _LONG = Plan(60, 640, 16, 16), Plan(15, None, 64, 64)
_FLIPS = Augmentation(crop=0, flip=True, black=[])
_CROPS = Augmentation(crop=4, flip=True, black=[0.0] * 3)  # what is added around is the mean pixel, 0
_VIT, _RESNET8 = partial(ViT, HALF_SHAPE, patch=2), _he(ResNet, HALF_SHAPE, depth=1)
_FRN = _he(ResNet, CIFAR_SHAPE, norm=FilterResponseNorm, activation=nn.SiLU)  # as the long chains of Izmailov et al. 2021 had it
_WIDE = Net("MLP 784-256-256-10", _he(mlp), [Plan(8)])
_LENET, _CIFAR_LENET = Net("LeNet-5", _he(lenet5), [Plan(5)]), Net("LeNet-5", _he(lenet5, CIFAR_SHAPE), [Plan(8)])
_CHARACTERS = Case("Python sources", Net("character model", CharacterModel, [Plan(3, 20_000, 16, 16)]), text.load)
_CONV = Case("CIFAR-10", Net("conv net, 890k weights", _half_precision(_he(conv890k)), [Plan(6)]), _CIFAR)
_RESNET20 = Case("CIFAR-10", Net("ResNet-20, BatchNorm", _half_precision(_he(ResNet)), [_LONG], _CROPS), _CIFAR)
_RESNET20_FRN = Case("CIFAR-10", Net("ResNet-20, FRN, SiLU", _half_precision(_FRN), [_LONG]), _CIFAR)
CASES: dict[str, Case] = {
    "mlp_small": Case("MNIST", Net("MLP 784-128-128-10", _he(mlp, hidden=(128, 128)), [_FEW]), _MNIST, moments=True),
    "lenet_small": Case("MNIST", Net("LeNet-5", _he(lenet5), [_FEW]), _MNIST, moments=True),
    "mlp": Case("MNIST", _WIDE, _MNIST, moments=True),
    "lenet": Case("MNIST", _LENET, _MNIST, moments=True),
    "fashion_mlp": Case("FashionMNIST", _WIDE, _FASHION, **_OF_MANY, search=Plan(8, 20_000), moments=True),
    "fashion_lenet": Case(
        "FashionMNIST", _LENET._replace(plans=[Plan(8)]), _FASHION, **_OF_MANY, search=Plan(8, 20_000), moments=True
    ),
    "cifar_lenet": Case("CIFAR-10", _CIFAR_LENET, _CIFAR, **_OF_MANY, search=Plan(8, 10_000), moments=True),
    "resnet8": Case("CIFAR-10, 16 x 16", Net("ResNet-8, BatchNorm", _RESNET8, [Plan(5, 10_000, 32, 32)], _FLIPS), _HALF),
    "vit": Case("CIFAR-10, 16 x 16", Net("ViT", _VIT, [Plan(8, 5_000, 32, 32)]), _HALF, **_OF_TRANSFORMERS),
    "characters": _CHARACTERS._replace(**_OF_TRANSFORMERS, search=Plan(3, 5_000, 16, 16)),
    "conv890k": _CONV._replace(**_OF_MANY, search=Plan(3, 10_000)),
    "resnet20": _RESNET20._replace(**_OF_MANY, search=Plan(5, 10_000, 64, 64)),
    "resnet20_frn": _RESNET20_FRN._replace(**_OF_MANY, search=Plan(5, 2_500, 64, 64)),
}
