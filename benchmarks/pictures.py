"""Pictures that the video benchmark keeps beside its result file, and reads back for the figures."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import Tensor

WINDOW = slice(40, 200), slice(60, 300)  # rows and columns of the frames that are kept in part: the bear before the wall


def keep(folder: Path, index: int, images: dict[str, Tensor], whole: bool, window: bool) -> None:
    """Saves these images (3, rows, columns) of a frame as PNG: all of each, its window, or both."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        pixels = (255 * image.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
        if whole:
            Image.fromarray(pixels).save(_path(folder, name, index, True), optimize=True)
        if window and name != "clean":
            Image.fromarray(numpy.ascontiguousarray(pixels[WINDOW])).save(_path(folder, name, index, False), optimize=True)


def read(folder: Path, name: str, index: int, whole: bool) -> Tensor | None:
    """A kept picture, (rows, columns, 3) of bytes; None if there is none."""
    path = _path(folder, name, index, whole)
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return torch.from_numpy(numpy.asarray(image.convert("RGB")).copy())


def _path(folder: Path, name: str, index: int, whole: bool) -> Path:
    return folder / f"{name}_{index:02d}{'' if whole else '_window'}.png"
