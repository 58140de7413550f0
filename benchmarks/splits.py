"""The images of a benchmark: for training, to be scored, and of a kind that the network has never seen."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.report import Request
from benchmarks.tasks import Task
from lightning_modules.data.image_modules import Normaliser
from lightning_modules.data.ood import Source, ood_images

SUBSET_SEED = 123  # the same subset and held-out images for every method and seed
VALIDATION = 6000
QUICK_SCORED = 64


class Split(NamedTuple):
    """Training and scored images, standardised; `ood` by result column."""

    x: Tensor
    y: Tensor
    scored_x: Tensor
    scored_y: Tensor
    ood: dict[str, Tensor]


def load(task: Task, request: Request) -> Split:
    """All images, every set standardised by the statistics of the training images; the test images are scored."""
    images = task.load(request.data_dir, request.accept_altered)
    source = Source(images, request.data_dir, download=True, seed=0)
    standardise, scored = Normaliser(images.train_x), QUICK_SCORED if request.quick else None
    ood = {column: standardise(ood_images(name, source)[:scored]) for column, name in task.ood.items()}
    test_x, test_y = standardise(images.test_x[:scored]), images.test_y[:scored]
    return Split(standardise(images.train_x), images.train_y, test_x, test_y, ood)


def load_held_out(task: Task, request: Request) -> Split:
    """Training images alone, for a search: the first of a fixed shuffle are scored, the others train."""
    images = task.load(request.data_dir, request.accept_altered)
    x, y, order = Normaliser(images.train_x)(images.train_x), images.train_y, _order(len(images.train_x))
    size = min(VALIDATION, len(order) // 2)
    scored, rest = order[: QUICK_SCORED if request.quick else size][:size], order[size:]
    return Split(x[rest], y[rest], x[scored], y[scored], {})


def limited(split: Split, limit: int | None, draw: int = 0) -> Split:
    """The first training images of a fixed shuffle; another one for each `draw`."""
    if limit is None or limit >= len(split.x):
        return split
    keep = _order(len(split.x), draw)[:limit]
    return split._replace(x=split.x[keep], y=split.y[keep])


def _order(size: int, draw: int = 0) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(SUBSET_SEED + draw))
