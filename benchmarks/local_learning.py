"""Block-local learning beside four other ways of giving credit: one network in one recipe, only that way differs.

All take the same steps: AdamW, its rate rising over a quarter of the steps and falling on a cosine, an optimizer for each block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.contest import Contest
from benchmarks.feedback_alignment import feedback_aligned
from benchmarks.measure import peak_memory_mb
from benchmarks.methods.base import Entrant, Method, Training, grid, log_softmax
from benchmarks.race import Racer, made, make_training
from benchmarks.results import Request, Row
from benchmarks.tasks import TASKS, Net, Plan, Trial, limited, load, load_held_out
from examples.networks import CIFAR_SHAPE, MNIST_SHAPE, ResNet
from lightning_modules.block_local_classifier import BETAS, WARMUP, rate
from lightning_modules.data.images import load_cifar100
from torch_gbp.local import BlockLocal, KeptBytes, heads_only, similarity_matching, split_equally, variational

WEIGHT_DECAY, BLOCKS = 0.05, 4
RATE, RATES = 0.005, (0.001, 0.003, 0.01)  # where none was searched, and those of the search, for every method
SEARCH_NET, SEARCH_PLAN, QUICK_LIMIT = "resnet20_cifar10", Plan(6, 2500, 64, 64), 32
CASES = {  # task whose images they see, and the network
    "resnet20_fashion": ("fashion", Net("ResNet-20", lambda: ResNet(MNIST_SHAPE), [Plan(4, 15_000, 64, 64)])),
    "resnet20_cifar10": ("cifar10", Net("ResNet-20", lambda: ResNet(CIFAR_SHAPE), [Plan(5, 15_000, 64, 64)])),
}
NAMED = {  # run when they are named: CIFAR-100's files have to be fetched first
    "resnet20_cifar100": ("cifar100", Net("ResNet-20", lambda: ResNet(CIFAR_SHAPE, 100), [Plan(5, 15_000, 64, 64)])),
}
SETS = TASKS | {
    "cifar100": TASKS["cifar10"]._replace(
        title="CIFAR-100", load=lambda folder, altered: load_cifar100(folder, accept_altered=altered)
    )
}
PUBLISHED = {  # accuracy of a ResNet-50 in 4 blocks, on all images to the end (Fokam et al., table 1)
    "fashion": {"block_local": "94.1", "backprop": "93.4", "feedback_alignment": "86.6", "similarity_matching": "94.2"},
    "cifar10": {"block_local": "94.6", "backprop": "94.8", "feedback_alignment": "62.5", "similarity_matching": "92.1"},
    "cifar100": {"block_local": "77.9", "backprop": "77.8", "similarity_matching": "71.7"},
}


class Recipe(Method):
    """What all methods share: images in the layout that convolutions are fastest in, optimizers and their rates."""

    blocks = 1

    def __init__(self, network: nn.Module, groups: list[list[nn.Parameter]], steps: int, lr: float) -> None:
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = [torch.optim.AdamW(group, lr, BETAS, weight_decay=WEIGHT_DECAY) for group in groups]
        self.schedules = [LambdaLR(each, lambda step: rate(step, steps)) for each in self.optimizers]

    def step(self, x: Tensor, y: Tensor) -> None:
        self.learn(laid_out(x), y)
        for schedule in self.schedules:
            schedule.step()

    def learn(self, x: Tensor, y: Tensor) -> None:
        """Gradients and steps of the optimizers."""
        raise NotImplementedError

    def kept_bytes(self, x: Tensor, y: Tensor) -> int:
        """What is kept for a backward pass of a batch."""
        raise NotImplementedError

    def log_probabilities(self, x: Tensor) -> Tensor:
        return log_softmax(self.network(laid_out(x)))


class Backprop(Recipe):
    """One loss at the end, for all layers."""

    def __init__(self, training: Training, *, aligned: bool = False, lr: float = RATE) -> None:
        network = feedback_aligned(training.network) if aligned else training.network
        super().__init__(network, [list(network.parameters())], training.steps, lr)

    def learn(self, x: Tensor, y: Tensor) -> None:
        self.optimizers[0].zero_grad()
        F.cross_entropy(self.network(x), y).backward()
        self.optimizers[0].step()

    def kept_bytes(self, x: Tensor, y: Tensor) -> int:
        with KeptBytes(self.network.parameters()) as kept:
            F.cross_entropy(self.network(laid_out(x)), y)
        return kept.bytes


class Local(Recipe):
    """A loss for each of `blocks` blocks of equally many stages."""

    network: BlockLocal

    def __init__(self, training: Training, *, local_loss: Callable[..., Any], blocks: int = BLOCKS, lr: float = RATE) -> None:
        assert isinstance(training.network, nn.Sequential)
        parts = split_equally(training.network, blocks)
        *_, last = (module for module in training.network.modules() if isinstance(module, nn.Linear))
        network = BlockLocal(parts, last.out_features, training.x[:2], local_loss=local_loss)
        super().__init__(network, network.block_parameters(), training.steps, lr)
        self.blocks = blocks

    def learn(self, x: Tensor, y: Tensor) -> None:
        self.network.step(x, y, self.optimizers)

    def kept_bytes(self, x: Tensor, y: Tensor) -> int:
        """The most that a block keeps."""
        x, most = laid_out(x), 0
        for k in range(self.blocks):
            with KeptBytes(self.network.parameters()) as kept:
                output, _ = self.network.local_terms(k, x, y)
            x, most = output.detach(), max(most, kept.bytes)
        return most


def laid_out(x: Tensor) -> Tensor:
    """Images with their channels innermost."""
    return x.contiguous(memory_format=torch.channels_last)


def _entrant(title: str, make: Callable[..., Recipe], **options: Any) -> Entrant:
    return Entrant(title, partial(make, **options), {"lr": RATE}, grid(lr=RATES), chosen_by="accuracy")


ENTRANTS: dict[str, Entrant] = {
    "block_local": _entrant("**block-local**", Local, local_loss=variational),
    "backprop": _entrant("backpropagation", Backprop),
    "feedback_alignment": _entrant("feedback alignment", Backprop, aligned=True),
    "similarity_matching": _entrant("similarity matching", Local, local_loss=similarity_matching),
    "heads_only": _entrant("heads only", Local, local_loss=heads_only),
}


def trials(request: Request, held_out: bool) -> Iterator[Trial]:
    """The networks of the call on test images; a search has one, the CIFAR-10 network unless it is named, on few images."""
    if held_out:
        request = request._replace(net=request.net or SEARCH_NET)
    cases = CASES | (NAMED if request.net else {})
    for name in request.asked(cases):
        data, net = cases[name]
        plan = (net._replace(plans=[small_plan(net, request)]) if held_out else net).asked(request)[0]
        split = limited((load_held_out if held_out else load)(SETS[data]._replace(ood={}), request), plan.limit)
        for seed in request.runs:
            yield Trial(name, net, plan, split, seed, {"data": data})


def small_plan(net: Net, request: Request) -> Plan:
    """That of trials on held-out images."""
    plan = net.plans[0]._replace(epochs=SEARCH_PLAN.epochs, limit=SEARCH_PLAN.limit)
    return plan._replace(epochs=net.plans[0].epochs, limit=QUICK_LIMIT) if request.quick else plan


def costs(racer: Racer, _: Request | None = None) -> Row:
    """Blocks, training time, and what is kept in memory."""
    trial = racer.trial
    new, batch = made(racer.run, make_training(trial), trial.seed), trial.plan.batch
    assert isinstance(new, Recipe)
    x, y = trial.split.x[:batch], trial.split.y[:batch]
    peak, kept = peak_memory_mb(new, x, y), new.kept_bytes(x.clone(), y) / 1e6
    return {"blocks": new.blocks, "train_seconds": racer.train_seconds, "peak_memory_mb": peak, "activation_mb": kept}


def told(request: Request) -> Row:
    """Settings for the result file."""
    recipe = {"optimizer": "AdamW, warm-up and cosine", "weight_decay": WEIGHT_DECAY, "betas": BETAS, "warmup": WARMUP}
    return {**recipe, "blocks": BLOCKS, "plans": {name: net.asked(request)[0]._asdict() for name, (_, net) in CASES.items()}}


CONTEST = Contest("local", trials, ENTRANTS, costs, told, search_net=SEARCH_NET)
