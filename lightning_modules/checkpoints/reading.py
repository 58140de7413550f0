"""Reading checkpoints: the file, its record, and the module that it rebuilds."""

from __future__ import annotations

import pickle
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import IO, Any
from zipfile import is_zipfile

import fsspec
import lightning
import torch
from torch import nn

from lightning_modules.checkpoints.record import KEY, Record
from torch_gbp.errors import InvalidInput

Source = str | Path | IO[bytes]


def read_checkpoint(source: Source) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU, by `torch.load(weights_only=True)`.

    Raises:
        InvalidInput: no such file, one that is no checkpoint, or one that holds objects that are not safe to load.
    """
    try:
        content = _load(source)
    except FileNotFoundError as error:
        raise _missing(Path(str(source))) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, IndexError, KeyError, ValueError) as error:
        raise _unreadable(source, str(error).splitlines()[0]) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise _unreadable(source, f"{type(content).__name__} without state_dict")
    return content


def _load(source: Source) -> Any:
    if isinstance(source, (str, Path)):
        if "://" not in str(source):
            return torch.load(source, "cpu", weights_only=True, mmap=Path(source).is_file() and is_zipfile(source))
        with fsspec.open(str(source), "rb") as file:
            return torch.load(file, "cpu", weights_only=True)  # type: ignore[arg-type]
    place = source.tell()
    found = torch.load(source, "cpu", weights_only=True)
    source.seek(place)
    return found


def read_record(source: Source) -> Record:
    """What a checkpoint says of the module that wrote it.

    Raises:
        InvalidInput: as `read_checkpoint`; a checkpoint without record, or of a later version.
    """
    saved = read_checkpoint(source).get(KEY)
    if saved is None:
        raise InvalidInput(
            "the checkpoint does not say of which network it is",
            where=str(source),
            cause="one of another program, or of an earlier version of torch_gbp",
            fix="pass model=<the network, built as it was>, and likelihood= if it was not the default",
        )
    return Record.loaded(saved, str(source))


def load_module(source: Source, **arguments: Any) -> Any:
    """The module that a checkpoint is of, whatever its class, ready to predict.

    Args:
        source: the checkpoint.
        arguments: of the module's class, in place of those that are saved.

    Raises:
        InvalidInput: as `read_record`; a class that is not imported.
    """
    return module_class(read_record(source).kind, str(source)).load_from_checkpoint(source, **arguments).eval()


def network_of(path: str) -> nn.Module:
    """The trained network of a checkpoint, e.g. to go on with other data: `--model.model lightning_modules.network_of`.

    Raises:
        InvalidInput: as `load_module`.
    """
    return load_module(path).model.train()


def module_class(kind: str, where: str) -> type[lightning.LightningModule]:
    """The class of this name, of lightning_modules or imported already."""
    place, _, name = kind.rpartition(".")
    own = place.split(".")[0] == "lightning_modules"
    found = getattr(import_module(place), name, None) if own else _imported(kind)
    if isinstance(found, type) and issubclass(found, lightning.LightningModule):
        return found
    raise InvalidInput(
        f"the checkpoint is of a module of class {kind}, which is not imported",
        where=where,
        cause="a class of your own",
        fix=f"import {place} before (`--import {place}` on the command line)",
    )


def _imported(kind: str) -> type | None:
    every: list[type] = [lightning.LightningModule]
    for one in every:
        every += one.__subclasses__()
    return next((one for one in every if f"{one.__module__}.{one.__qualname__}" == kind), None)


def _missing(path: Path) -> InvalidInput:
    folder = next(one for one in (path.parent, *path.parents) if one.is_dir()) if not path.is_absolute() else path.parent
    near = sorted(str(one) for one in folder.rglob("*.ckpt")) if folder.is_dir() else []
    close = get_close_matches(str(path), near, 3, 0.3) or near[-3:]
    return InvalidInput(
        "there is no such checkpoint",
        where=str(path),
        cause="another folder, or a run that wrote none",
        fix=f"use {', or '.join(close)}" if close else "check the path",
    )


def _unreadable(source: Source, reason: str) -> InvalidInput:
    return InvalidInput(
        "the file is no checkpoint that loads safely",
        where=str(source),
        got=reason,
        cause="a file of something else, or one that broke off",
        fix="give a checkpoint written by Lightning's trainer, `torch-gbp fit` or `torch-gbp convert`",
    )
