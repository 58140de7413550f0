"""Inputs of predictions from files: tables, tensors and pictures, prepared as those of the training were."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from lightning_modules.checkpoints import PortableModule
from lightning_modules.data.csv_files import read_csv
from lightning_modules.preparation import Preparation
from torch_gbp.errors import InvalidInput

PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp")


def read_inputs(module: PortableModule, files: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Inputs (n, ...) of a module's network, and the columns of a table that it does not use.

    Values are those that the training data had before they were standardised: numbers of a table in their units, bytes of images.

    Args:
        module: whose `preparation` standardises them; without one they are taken as they are.
        files: one .csv, .npy or .pt file (a tensor with a row for each example), or pictures, each an example.

    Raises:
        InvalidInput: a file that is missing or of another kind; missing columns, cells that are no finite numbers (with row and
            column); examples of another shape than the network was trained on.
    """
    values, unused = _values(module.preparation, module.inputs, [Path(name) for name in files])
    x = values if module.preparation is None else module.preparation(values)
    if module.inputs is not None:
        shape, dtype = module.inputs
        if tuple(x.shape[1:]) != shape:
            raise _other_shape(files, x, shape)
        x = x.to(getattr(torch, dtype))
    return _finite(x, files), unused


def _values(
    preparation: Preparation | None, inputs: tuple[tuple[int, ...], str] | None, files: list[Path]
) -> tuple[Tensor, tuple[str, ...]]:
    for file in files:
        if not file.is_file():
            raise InvalidInput("the file of inputs is missing", where=str(file), fix="check the path")
    kinds = {file.suffix.lower() for file in files}
    if kinds <= set(PICTURES):
        return _pictures(files, 3 if inputs is None else inputs[0][0]), ()
    if len(files) == 1 and kinds == {".csv"}:
        return _table(files[0], preparation)
    if len(files) == 1 and kinds <= {".npy", ".pt"}:
        return _tensor(files[0]), ()
    raise InvalidInput(
        "inputs are one .csv, .npy or .pt file, or pictures",
        where="predict",
        got=", ".join(str(file) for file in files),
        cause="another kind of file",
        fix=f"save a tensor (n, ...) by torch.save or numpy.save; pictures end in {', '.join(PICTURES)}",
    )


def _table(path: Path, preparation: Preparation | None) -> tuple[Tensor, tuple[str, ...]]:
    file = read_csv(path)
    wanted = preparation.columns if preparation is not None and preparation.columns else file.names
    missing = [name for name in wanted if name not in file.names]
    if missing:
        raise InvalidInput(
            "columns that the network was trained on are missing",
            where=str(path),
            got=f"no {missing}; there are {[*file.names]}",
            cause="another file, or renamed columns",
            fix=f"give all of {[*wanted]}",
        )
    return file.numbers(wanted), tuple(name for name in file.names if name not in wanted)


def _tensor(path: Path) -> Tensor:
    try:
        found = torch.from_numpy(np.load(path)) if path.suffix == ".npy" else torch.load(path, "cpu", weights_only=True)
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise _no_tensor(path, str(error).splitlines()[0]) from error
    if not isinstance(found, Tensor) or found.ndim < 1:
        raise _no_tensor(path, type(found).__name__)
    return found


def _no_tensor(path: Path, got: str) -> InvalidInput:
    return InvalidInput(
        "the file must hold one tensor (n, ...)", where=str(path), got=got, fix="save it by torch.save or numpy.save"
    )


def _pictures(files: list[Path], channels: int) -> Tensor:
    found = [_picture(file, "L" if channels == 1 else "RGB") for file in files]
    other = next((k for k, picture in enumerate(found) if picture.shape != found[0].shape), None)
    if other is not None:
        raise InvalidInput(
            "pictures must be of one size",
            where=str(files[other]),
            got=f"{tuple(found[other].shape[1:])}, the first has {tuple(found[0].shape[1:])}",
            fix="resize them",
        )
    return torch.stack(found)


def _picture(path: Path, mode: str) -> Tensor:
    """Bytes (channels, height, width)."""
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert(mode))
    except UnidentifiedImageError as error:
        raise InvalidInput(
            "the file is no picture", where=str(path), cause="a wrong ending", fix="give a .png or .jpg"
        ) from error
    return torch.from_numpy(pixels.copy()).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)


def _other_shape(files: Sequence[str], x: Tensor, shape: tuple[int, ...]) -> InvalidInput:
    return InvalidInput(
        "examples must be shaped as those that the network was trained on",
        where=", ".join(files),
        got=f"{tuple(x.shape[1:])}, trained on {shape}",
        cause="other data, a missing batch axis, or pictures of another size",
        fix="reshape or resize them",
    )


def _finite(x: Tensor, files: Sequence[str]) -> Tensor:
    if not x.is_floating_point() or bool(x.isfinite().all()):
        return x
    first = (~x.isfinite()).flatten(1).any(1).nonzero()[0].item()
    raise InvalidInput(
        "inputs must be finite",
        where=", ".join(files),
        got=f"NaN or Inf in example {first}",
        cause="missing values",
        fix="drop or fill them before",
    )
