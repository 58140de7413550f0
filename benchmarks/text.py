"""Text for the character model: the source files of Python's standard library, which every machine with Python has."""

from __future__ import annotations

import hashlib
import platform
import sysconfig
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.results import Request
from benchmarks.tasks import QUICK_SCORED, Split
from examples.networks import SYMBOLS

CONTEXT = 64  # characters that a window reads; it predicts the one after each
PARTS = (0.8, 0.9)  # of the text: from 0 to train, then to choose by, then to score at the end
SCORED = 2000  # windows, spread over their part
FILES = "*.py at the top of sysconfig.get_path('stdlib'), by name, bytes of 128 and more left out"


@cache
def characters() -> Tensor:
    """The whole text, (characters,) of bytes below 128: another one for another version of Python."""
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"), key=lambda path: path.name)
    text = b"\n".join(path.read_bytes() for path in paths)
    symbols = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    return symbols[symbols < SYMBOLS]


def described() -> dict[str, str | int]:
    """Which text it is."""
    text = characters()
    digest = hashlib.sha256(text.numpy().tobytes()).hexdigest()
    return {"files": FILES, "python": platform.python_version(), "characters": len(text), "sha256": digest}


def load(request: Request, held_out: bool = False) -> Split:
    """Windows (n, 64) and the characters after each of theirs, (n, 64); files at the end of the text are scored.

    Args:
        held_out: score a part before the last, which then is out of the training part: for a search.
    """
    text = characters()
    first, second = (round(share * len(text)) for share in PARTS)
    train, scored = (text[:first], text[first:second]) if held_out else (text[:second], text[second:])
    spread = windows(scored)
    count = min(QUICK_SCORED if request.quick else SCORED, len(spread))
    chosen = torch.linspace(0, len(spread) - 1, count).long()
    return Split(*_pairs(windows(train)), *_pairs(spread[chosen]), {})


def windows(text: Tensor) -> Tensor:
    """The text cut into windows (n, 65) of integers; the rest is dropped.

    >>> windows(torch.arange(200)).shape
    torch.Size([3, 65])
    """
    size = CONTEXT + 1
    return text[: len(text) // size * size].view(-1, size).long()


def _pairs(window: Tensor) -> tuple[Tensor, Tensor]:
    return window[:, :-1], window[:, 1:]
