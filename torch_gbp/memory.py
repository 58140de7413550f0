"""Memory: the bytes that tensors take and that are free on a device, and the error where the one exceeds the other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from torch_gbp.errors import OutOfMemory

_TABLE = Path("/proc/meminfo")  # of Linux


def size_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of these tensors.

    >>> size_of([torch.zeros(2, 3)])
    24
    """
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def available_memory(device: torch.device) -> int | None:
    """Free bytes on a device; None where there is no telling.

    >>> available_memory(torch.device("meta")) is None
    True
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu" or not _TABLE.exists():
        return None
    kilobytes = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in _TABLE.read_text().splitlines())}
    return kilobytes.get("MemAvailable", kilobytes["MemFree"]) * 1024


def require_memory(
    needed: int,
    device: torch.device,
    what: str,
    way_out: str,
    cause: str = "two numbers are kept for every weight and message",
) -> None:
    """Raises OutOfMemory where so many bytes are not free on the device."""
    free = available_memory(device)
    if free is not None and needed > free:
        raise OutOfMemory(
            f"{what} do not fit into memory",
            got=f"{needed / 1e9:.3g} GB needed, {free / 1e9:.3g} GB free on {device}",
            cause=cause,
            fix=way_out,
        )
