"""The demo's data, all embedded in packages: few digits to learn from, hard ones to be tested on, and what is no digit."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from lightning_modules.data.base import Parts, TensorDataModule
from lightning_modules.data.loading import TensorPairs
from lightning_modules.preparation import Preparation

BRIGHTEST = 16
LABELLED, HELD_OUT = 250, 150  # digits to train on, and to calibrate on; the other 1397 are for testing
KINDS = ("digits", "noisy digits", "turned digits")
NOISE, ANGLE = 4.0, 30.0  # standard deviation in grey values; degrees, to either side
OTHERS = 250  # pictures of each kind that is no digit
LETTERS = "ACEFHJKLMNPRTUVWXYacdefhkmnprtuvwxy"  # those that nobody would take for a digit
FONTS = ("Sans", "Sans-Bold", "Sans-Oblique", "SansMono", "SansMono-Oblique", "Serif", "Serif-Bold", "Serif-Italic")


class HardDigits(TensorDataModule):
    """scikit-learn's digits, a third as they are, a third noisy, a third turned; 250 labelled ones to learn from.

    The other sets are letters and pieces of photographs, prepared like the digits.

    Args:
        batch_size, seed: as in `TensorDataModule`; the seed also decides which digits are labelled, and what is done to which.
    """

    def __init__(self, batch_size: int = 16, seed: int = 0) -> None:
        super().__init__(batch_size, 0.0, False, seed)

    def make_parts(self) -> Parts:
        generator = torch.Generator().manual_seed(self.seed)
        pixels, targets = load_digits(return_X_y=True)
        order = torch.randperm(len(targets), generator=generator)
        labels = torch.from_numpy(targets).long()[order]
        images = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8)[order]
        ends = LABELLED, LABELLED + HELD_OUT
        parts = [harder(part, generator) for part in images.tensor_split(ends)]
        mean, deviation = parts[0].mean(), parts[0].std()
        self.preparation = Preparation(mean.reshape(1, 1, 1), deviation.reshape(1, 1, 1))
        pairs = (TensorPairs((x - mean) / deviation, y) for x, y in zip(parts, labels.tensor_split(ends), strict=True))
        others = {name: _some((own() - mean) / deviation, generator) for name, own in OTHER_SETS.items()}
        return Parts(*pairs, ood={name: TensorPairs(x, torch.zeros(len(x), dtype=torch.long)) for name, x in others.items()})

    def kinds(self) -> dict[str, tuple[str, Tensor]]:
        """What the test images are: the set ("" for the digits, or the name of another one) and the rows in it, of each kind."""
        thirds = torch.arange(len(self.parts.test)).tensor_split(len(KINDS))
        digits = {kind: ("", rows) for kind, rows in zip(KINDS, thirds, strict=True)}
        return digits | {name: (name, torch.arange(len(own))) for name, own in self.parts.ood.items()}


def harder(images: Tensor, generator: torch.Generator) -> Tensor:
    """A third of the images as they are, a third under noise, a third turned, in the order of `KINDS`; (n, 1, 8, 8)."""
    same, noisy, turned = images.tensor_split(len(KINDS))
    noise = NOISE * torch.randn(noisy.shape, generator=generator)
    sides = 2 * torch.randint(2, (len(turned),), generator=generator) - 1
    parts = [same, (noisy + noise).clamp(0, BRIGHTEST)]
    return torch.cat([*parts, *(turn(image[None], ANGLE * int(side)) for image, side in zip(turned, sides, strict=True))])


def turn(images: Tensor, angle: float) -> Tensor:
    """Images turned on a canvas four times as fine, so that their strokes survive."""
    fine = F.interpolate(images, scale_factor=4, mode="bicubic").clamp(0, BRIGHTEST)
    return F.avg_pool2d(functional.rotate(fine, angle, interpolation=InterpolationMode.BILINEAR), 4)


def letters() -> Tensor:
    """Letters of the fonts that matplotlib ships, made like the digits: ink on 32 x 32 squares, counted in 4 x 4 blocks."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(str(folder / f"DejaVu{font}.ttf"), 96) for font in FONTS]
    return torch.stack([_letter(letter, font) for font in fonts for letter in LETTERS])


def _letter(letter: str, font: ImageFont.FreeTypeFont) -> Tensor:
    canvas, square = Image.new("L", (160, 160)), Image.new("L", (32, 32))
    ImageDraw.Draw(canvas).text((40, 20), letter, 255, font)
    square.paste(canvas.crop(canvas.getbbox()).resize((24, 32)), (4, 0))  # as wide as most of the digits
    ink = torch.from_numpy(np.asarray(square) > 127).float()
    return F.avg_pool2d(ink[None], 4) * BRIGHTEST


def photographs() -> Tensor:
    """Pieces of the two photographs that scikit-learn ships: grey, each from its darkest to its brightest spot."""
    return torch.cat([_pieces(torch.tensor(image).float().mean(-1)) for image in load_sample_images().images])


def _pieces(photograph: Tensor) -> Tensor:
    small = F.avg_pool2d(photograph[None, None], 2)[0]
    pieces = small.unfold(1, 8, 8).unfold(2, 8, 8).reshape(-1, 1, 8, 8)
    low, high = pieces.amin((1, 2, 3), keepdim=True), pieces.amax((1, 2, 3), keepdim=True)
    return ((pieces - low) / (high - low).clamp_min(1) * BRIGHTEST).round()


OTHER_SETS = {"letters": letters, "photographs": photographs}


def _some(images: Tensor, generator: torch.Generator) -> Tensor:
    return images[torch.randperm(len(images), generator=generator)[:OTHERS]]
