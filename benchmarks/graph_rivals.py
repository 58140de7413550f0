"""Adam on the networks that deep factor graphs are compared with: linear, convolutional, and with replay of old images.

Each has eight settings for every number of images, tried on held-out training images. Pixels are standardised by the images that
are trained on; the rate falls to 0 on a cosine. Only the linear network sees images again for the asking, as in the published
comparison (GBP Learning, appendix F); the convolutional one sees them once, or what of them is in its store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.choice import BUILT_IN, SEARCHED, Choice
from benchmarks.graph_recipes import CLASSES, FILTERS, KERNEL, NETS, STEP, UPPER, Net, pooled
from benchmarks.methods.base import Settings, grid, train
from benchmarks.methods.gradient import Descent
from benchmarks.results import Row, matching

BATCH, FEW, LARGEST = 50, 1000, 6000  # images of a batch, the fewer images that want more steps, the most that a search trains on
RATES = (0.0003, 0.001, 0.003, 0.01)
BASE = "mnist"  # whose search counts where a network or data set has none of its own
SEARCHED_AT, SEARCHED_ON_BASE = "search with {:,} images", "search on MNIST, pool 2 x 2"
Predict = Callable[[Tensor], Tensor]


class Rival(NamedTuple):
    """A plain torch network for images of a shape, and the settings that a search tries, by the number of images."""

    network: Callable[[torch.Size, Net], nn.Module]
    grid: Callable[[int], list[Settings]]
    defaults: Settings


def linear(shape: torch.Size, _: Net) -> nn.Module:
    """Pixels to logits."""
    return nn.Sequential(nn.Flatten(), nn.Linear(shape.numel(), CLASSES))


def cnn(shape: torch.Size, net: Net) -> nn.Module:
    """The layers of the factor graph."""
    layers, channels, side = list[nn.Module](), shape[0], shape[-1]
    for place in range(net.depth - 1):
        kernel, window = (KERNEL, net.window) if place == 0 else (UPPER, 2)
        layers += [nn.Conv2d(channels, FILTERS, kernel), nn.LeakyReLU(0.2), nn.MaxPool2d(window, STEP)]
        channels, side = FILTERS, pooled(side - kernel + 1, window)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side**2, CLASSES))


RIVALS = {
    "linear_adam": Rival(
        linear, lambda limit: grid(lr=RATES, steps=(100, 1000) if limit <= FEW else (600, 3000)), {"lr": 1e-3, "steps": 1000}
    ),
    "cnn_adam": Rival(cnn, lambda limit: grid(lr=RATES, repeats=(5, 25) if limit <= FEW else (1, 4)), {"lr": 1e-3}),
    "cnn_adam_replay": Rival(
        cnn,
        lambda limit: grid(lr=RATES[1:3], replays=(5, 20) if limit <= FEW else (2, 8), stored=(0.1, 1.0)),
        {"lr": 1e-3, "replays": 5},
    ),
}


def learn(rival: Rival, settings: Settings, name: str, x: Tensor, y: Tensor) -> Predict:
    """Trained by Adam: images in [0, 1] to log-probabilities; the name is one of `NETS`."""
    mean, deviation = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    own = dict(settings)
    lr, batches = own.pop("lr"), list(order(len(x), **own))
    model = rival.network(x.shape[1:], NETS[name])
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    method = Descent(model, optimizer, schedule=CosineAnnealingLR(optimizer, len(batches)))
    train(method, (x - mean) / deviation, y, batches)
    return lambda images: method.log_probabilities((images - mean) / deviation)


def order(images: int, steps: int | None = None, repeats: int = 1, replays: int = 0, stored: float = 1.0) -> Iterator[Tensor]:
    """The rows of every batch.

    Args:
        images: number of them.
        steps: passes over all images until there were as many, shuffled; None for one pass.
        repeats: of every new batch.
        replays: batches of stored images after it.
        stored: the last images that are stored, as a share of all.
    """
    batches = torch.arange(images).split(BATCH)
    if steps is not None:
        for _ in range(ceil(steps / len(batches))):
            yield from torch.randperm(images).split(BATCH)
        return
    for batch in batches:
        yield from [batch] * repeats
        seen, size = int(batch[-1]) + 1, ceil(stored * images)
        yield from (torch.randint(max(0, seen - size), seen, (BATCH,)) for _ in range(replays))


def learned_by(method: str, settings: Settings) -> Callable[[str, Tensor, Tensor], Predict]:
    """What trains a rival with these settings."""
    return partial(learn, RIVALS[method], settings)


def choose(searched: list[Row], name: str, method: str, limit: int) -> Choice:
    """The settings with the best held-out accuracy: of this network and number of images, else of the nearest searched."""
    own = matching(searched, net=name, method=method) or matching(searched, net=BASE, method=method)
    if not own:
        return Choice(RIVALS[method].defaults, BUILT_IN)
    nearest = min((row["limit"] for row in own), key=lambda size: abs(size - limit))
    own = matching(own, limit=nearest)
    best: dict[str, Any] = max(own, key=lambda row: row["accuracy"])
    elsewhere = [SEARCHED_ON_BASE] * (best["net"] != name) + [SEARCHED_AT.format(nearest)] * (nearest != limit)
    return Choice(best["settings"], ", ".join(elsewhere) or SEARCHED, tried=len(own))
