"""Out-of-distribution images for a test set: other data sets, or images like the set's own that mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from lightning_modules.data.images import Images, load_fashion_mnist, load_mnist, load_notmnist
from torch_gbp.errors import InvalidInput

# Of the Gaussian blur, in pixels: 32 x 32 images keep their patches of colour and lose what the patches show.
# The kernel spans two standard deviations to either side, and its edge still fits into 8 x 8 images.
BLUR_SIGMA, BLUR_KERNEL = 3.0, 13


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


def noise(source: Source) -> Tensor:
    """As many images as the test set has, each pixel drawn from all training pixels of its channel.

    So mean and standard deviation of each channel are those of the training images, without values to clip.
    """
    generator = torch.Generator().manual_seed(source.seed)
    n, channels, *size = source.images.test_x.shape

    def draw(pixels: Tensor) -> Tensor:
        return pixels[torch.randint(len(pixels), (n, *size), generator=generator)]

    return torch.stack([draw(source.images.train_x[:, c].flatten()) for c in range(channels)], 1)


def blurred(source: Source) -> Tensor:
    """The test images under a Gaussian blur of `BLUR_SIGMA`: same colours in the same places, no contours."""
    return functional.gaussian_blur(source.images.test_x, [BLUR_KERNEL] * 2, [BLUR_SIGMA] * 2)


# One row for each OOD set; a new one adds its row.
OOD_SETS: dict[str, Callable[[Source], Tensor]] = {
    "shuffled": shuffled,
    "inverted": inverted,
    "noise": noise,
    "blurred": blurred,
    "MNIST": lambda source: load_mnist(source.data_dir, source.download).test_x,
    "FashionMNIST": lambda source: load_fashion_mnist(source.data_dir, source.download).test_x,
    "notMNIST": lambda source: load_notmnist(source.data_dir),
}

FITTING = ("shuffled", "inverted", "noise", "blurred")  # made of the in-distribution images


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
            fix=f"use one that fits every set: {', '.join(FITTING)}",
        )
    return found
