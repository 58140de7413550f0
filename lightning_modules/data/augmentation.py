"""What only training examples go through: random crops and flips of images, and softened labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import SHARE, require, require_count


class Augmentation(NamedTuple):
    """Changes a batch of images on any device, every image by draws of its own from torch's global generator of the CPU.

    A whole batch at once: torchvision's random transforms would give all its images the same crop, and image by
    image they take eight times as long.

    Args:
        crop: black pixels added on every side before a window of the old size is cut out somewhere; 0 for none.
        flip: mirror left and right with probability one half.
        black: value of a black pixel, per channel.

    >>> Augmentation(crop=1, flip=True, black=[0.0])(torch.ones(5, 1, 8, 8)).shape
    torch.Size([5, 1, 8, 8])
    """

    crop: int
    flip: bool
    black: Sequence[float]

    def __call__(self, images: Tensor) -> Tensor:
        if self.crop:
            images = random_crop(images, self.crop, self.black)
        return random_flip(images) if self.flip else images


def random_crop(images: Tensor, padding: int, fill: Sequence[float]) -> Tensor:
    """Pads images (n, c, h, w) by `fill` (one value per channel) and cuts a window (h, w) out of each.

    >>> padded = random_crop(torch.ones(3, 1, 2, 2), 1, [0.0])
    >>> set(padded.sum((1, 2, 3)).tolist()) <= {1.0, 2.0, 4.0}
    True
    """
    height, width = images.shape[2:]
    padded = functional.pad(images, [padding] * 4, fill=list(fill))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (n, c, shifts, shifts, h, w), a view
    down, right = torch.randint(2 * padding + 1, (2, len(images))).to(images.device)
    return windows[torch.arange(len(images), device=images.device), :, down, right]


def random_flip(images: Tensor) -> Tensor:
    """Mirrors about half of the images (n, c, h, w) left to right.

    >>> image = torch.tensor([[[[1.0, 2.0]]]])
    >>> random_flip(image).flatten().tolist() in ([1.0, 2.0], [2.0, 1.0])
    True
    """
    chosen = (torch.rand(len(images)) < 0.5).to(images.device)
    return torch.where(chosen[:, None, None, None], functional.horizontal_flip(images), images)


def smoothed(labels: Tensor, classes: int, amount: float) -> Tensor:
    """Label smoothing: probabilities (1 - amount) onehot(y) + amount / classes, (n, classes).

    Source: Szegedy et al. 2016, section 7; the same as `label_smoothing` of torch's cross entropy.

    >>> smoothed(torch.tensor([1]), classes=4, amount=0.2)
    tensor([[0.0500, 0.8500, 0.0500, 0.0500]])
    """
    return torch.nn.functional.one_hot(labels, classes) * (1 - amount) + amount / classes


def check_options(crop: int, label_smoothing: float, where: str) -> None:
    """Raises InvalidInput for a crop that is no number of pixels, or a smoothing that is no share."""
    require_count("crop, in pixels,", crop, where, fix="use crop=4 for images of 32 x 32, crop=0 for none", least=0)
    require("label_smoothing", label_smoothing, SHARE, where, cause="a percentage", fix="use 0.1, or 0 for none")


def check_crop(crop: int, images: Tensor, where: str) -> None:
    """Raises InvalidInput for a crop that could leave nothing of an image (n, c, h, w)."""
    if crop >= min(images.shape[2:]):
        raise InvalidInput(
            "crop must be smaller than the images, or a window may show padding alone",
            where=where,
            got=f"crop={crop}, images {tuple(images.shape[2:])}",
            cause="the size of the window in place of the padding",
            fix="use about an eighth of the image's side",
        )
