"""Progress of training: a line for each pass, where the output cannot draw a bar again in its place."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TextIO


def redraws(stream: TextIO) -> bool:
    """Whether a progress bar can be drawn again in its place: on a terminal, or in a notebook."""
    return stream.isatty() or "ipykernel" in sys.modules


def pass_line(number: int, passes: int | None, scores: Mapping[str, float | None], seconds: float) -> str:
    """What a log keeps of a pass; scores that are None are left out, and the number of passes where nobody knows it.

    >>> pass_line(3, 15, {"train/evidence": -0.1234, "val/nll": 0.0521, "val/rmse": None}, 12.34)
    'pass 3/15  train/evidence -0.1234  val/nll 0.0521  12.3 s'
    """
    known = "" if passes is None else f"/{passes}"
    shown = [f"{name} {value:.4f}" for name, value in scores.items() if value is not None]
    return "  ".join([f"pass {number}{known}", *shown, f"{seconds:.1f} s"])
