"""Deep factor graphs: one pass over the images with conv - max-pool - dense, by iterated inference and by its rivals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.graph_recipes import NETS, PATCHES, PIXELS, RECIPES, SIGMA, START, STEP, Recipe, learned, pooled
from benchmarks.report import Request, Result, Row, say
from benchmarks.splits import QUICK_SCORED, SUBSET_SEED, VALIDATION
from lightning_modules.data.images import load_cifar10, load_fashion_mnist, load_mnist
from torch_gbp.metrics import classification_scores

LOADERS: dict[str, Callable[..., Any]] = {
    "mnist": lambda folder, _: load_mnist(folder),
    "mnist_wide": lambda folder, _: load_mnist(folder),  # another network: wide windows in its pool
    "fashion": lambda folder, _: load_fashion_mnist(folder),
    "cifar10": lambda folder, altered: load_cifar10(folder, accept_altered=altered),
}
LIMITS = (50, 100, 300, 600, 1000, 3000, 6000, 60000)
CHUNK, QUICK_LIMIT = 500, 50
PUBLISHED = {"mnist": 98.16, "fashion": 88.2, "cifar10": 53.1}
ADAM_RATE, ADAM_BATCH, REPLAYS = 1e-3, 50, 10


class Images(NamedTuple):
    """Images in [0, 1] and their labels."""

    x: Tensor
    y: Tensor
    scored_x: Tensor
    scored_y: Tensor


def run(request: Request, validation: bool = False) -> Result:
    """Every number of images and method, scored on the test images, or on the last training images (`validation`)."""
    recipes = {method: recipe.told() for method, recipe in RECIPES.items()}
    adam = {"adam_rate": ADAM_RATE, "adam_batch": ADAM_BATCH, "replays": REPLAYS}
    nets = {name: {**net._asdict(), "first": net.first and net.first._asdict()} for name, net in NETS.items()}
    network = {"sigma": SIGMA, "start": START, "filters": {"pixels": PIXELS, "patches": PATCHES}, "nets": nets}
    told = {"recipes": recipes, **network, **adam, "published": PUBLISHED, "limits": LIMITS, "subset_seed": SUBSET_SEED}
    return Result(told, _rows(request, validation))


def _rows(request: Request, validation: bool) -> Iterator[Row]:
    name = request.net or "mnist"
    if name not in LOADERS:
        raise SystemExit(f"no data set {name!r} in this benchmark: use {', '.join(LOADERS)}")
    images = load_images(name, request, validation)
    for limit in [QUICK_LIMIT] if request.quick else [request.limit] if request.limit else LIMITS:
        for seed in request.seeds[: 1 if request.quick else None]:
            for method in request.methods or METHODS:
                yield _row(name, method, images, min(limit, len(images.x)), seed)


def load_images(name: str, request: Request, validation: bool) -> Images:
    """Training and test images, or (`validation`) all but the last training images and those."""
    found = LOADERS[name](request.data_dir, request.accept_altered)
    scored = QUICK_SCORED if request.quick else None
    test = found.test_x[:scored].float() / 255, found.test_y[:scored]
    images = Images(found.train_x.float() / 255, found.train_y, *test)
    if not validation:
        return images
    size = min(VALIDATION, len(images.x) // 2)
    return Images(images.x[:-size], images.y[:-size], images.x[-size:][:scored], images.y[-size:][:scored])


def drawn(images: Images, limit: int, seed: int) -> tuple[Tensor, Tensor]:
    """Training images of the seed, the same for every method, which sets its random numbers too."""
    order = torch.randperm(len(images.x), generator=torch.Generator().manual_seed(SUBSET_SEED + seed))[:limit]
    torch.manual_seed(seed)
    return images.x[order], images.y[order]


def _row(name: str, method: str, images: Images, limit: int, seed: int) -> Row:
    x, y = drawn(images, limit, seed)
    started, used = time.perf_counter(), time.process_time()
    predict = METHODS[method](name, x, y)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    case: Row = {"net": name, "limit": limit, "seed": seed, "epochs": 1}
    found = scores(predict, images)
    say(case, f"{method}: {100 * found['accuracy']:.2f} % in {seconds:.0f} s, {used:.0f} s of the processor")
    return {"method": method, **case, **found, "train_seconds": seconds, "processor_seconds": used}


@torch.no_grad()
def scores(predict: Callable[[Tensor], Tensor], images: Images) -> dict[str, float]:
    """Accuracy, NLL and ECE of log-probabilities."""
    return classification_scores(torch.cat([predict(chunk) for chunk in images.scored_x.split(CHUNK)]), images.scored_y)


def by_graph(recipe: Recipe, name: str, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    """One pass with this recipe: images to log-probabilities."""
    model, likelihood = learned(recipe, name, x, y)
    return lambda chunk: likelihood.predictive(model(chunk)).logits  # type: ignore[attr-defined]


def _named(method: str, name: str, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    return by_graph(RECIPES[method], name, x, y)


def _adam(net: Callable[..., nn.Module], replays: int, name: str, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    """One pass in the same batches; with replays every new batch is followed by so many of the images seen so far."""
    model = net(x.shape[1:], NETS[name].window)
    optimizer = torch.optim.Adam(model.parameters(), lr=ADAM_RATE)
    for batch in torch.arange(len(x)).split(ADAM_BATCH):
        seen = int(batch[-1]) + 1
        for part in [batch, *(torch.randint(seen, (ADAM_BATCH,)) for _ in range(replays))]:
            optimizer.zero_grad()
            F.cross_entropy(model(x[part]), y[part]).backward()
            optimizer.step()
    return lambda chunk: torch.log_softmax(model(chunk), 1)


def _cnn(shape: torch.Size, window: int) -> nn.Module:
    side = pooled(shape[-1] - 4, window)
    features = nn.Conv2d(shape[0], 16, 5), nn.LeakyReLU(0.2), nn.MaxPool2d(window, STEP), nn.Flatten()
    return nn.Sequential(*features, nn.Linear(16 * side * side, 10))


def _linear(shape: torch.Size, _: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(shape.numel(), 10))


METHODS: dict[str, Callable[[str, Tensor, Tensor], Callable[[Tensor], Tensor]]] = {
    **{method: partial(_named, method) for method in RECIPES},
    "linear_adam": partial(_adam, _linear, 0),
    "cnn_adam": partial(_adam, _cnn, 0),
    "cnn_adam_replay": partial(_adam, _cnn, REPLAYS),
}
