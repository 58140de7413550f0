"""Out-of-distribution images for a test set: other data sets, or the test images with their meaning destroyed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_modules.data.images import Images, load_fashion_mnist, load_mnist, load_notmnist
from torch_gbp.errors import InvalidInput


class Source(NamedTuple):
    """What an OOD set is made of: the in-distribution images, where files are, and the seed of made-up sets."""

    images: Images
    data_dir: str | Path
    download: bool
    seed: int


def shuffled(source: Source) -> Tensor:
    """The test images with the pixels of each in a random order of its own: same grey values, no strokes."""
    pixels = source.images.test_x.flatten(2)
    generator = torch.Generator().manual_seed(source.seed)
    order = torch.rand(len(pixels), 1, pixels.shape[2], generator=generator).argsort(-1)
    return pixels.gather(2, order.expand_as(pixels)).reshape_as(source.images.test_x)


def inverted(source: Source) -> Tensor:
    """The test images' negatives, brightest - x: same strokes, dark on bright."""
    return source.images.brightest - source.images.test_x


# One row for each OOD set; a new one adds its row.
OOD_SETS: dict[str, Callable[[Source], Tensor]] = {
    "shuffled": shuffled,
    "inverted": inverted,
    "MNIST": lambda source: load_mnist(source.data_dir, source.download).test_x,
    "FashionMNIST": lambda source: load_fashion_mnist(source.data_dir, source.download).test_x,
    "notMNIST": lambda source: load_notmnist(source.data_dir),
}


def ood_images(name: str, source: Source) -> Tensor:
    """The uint8 images of an OOD set, shaped as the in-distribution test images.

    Raises:
        InvalidInput: an unknown name, or images of another shape than the in-distribution ones.

    >>> from lightning_modules.data.images import load_digits
    >>> ood_images("inverted", Source(load_digits(), ".", False, 0)).shape
    torch.Size([500, 1, 8, 8])
    """
    if name not in OOD_SETS:
        raise InvalidInput("unknown OOD set", got=repr(name), fix=f"use {', '.join(OOD_SETS)}")
    found, wanted = OOD_SETS[name](source), source.images.test_x
    if found.shape[1:] != wanted.shape[1:]:
        raise InvalidInput(
            "OOD images must have the shape of the in-distribution ones",
            where=name,
            got=f"{tuple(found.shape[1:])} and {tuple(wanted.shape[1:])}",
            fix="use 'shuffled' or 'inverted', which fit every set",
        )
    return found
