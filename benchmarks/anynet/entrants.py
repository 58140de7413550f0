"""The methods of `anynet`: torch_gbp as it comes, and rivals with searched settings, each with and without an averaged tail."""

from __future__ import annotations

from typing import Any

from benchmarks.anynet.method import MeansSweep
from benchmarks.methods.base import Entrant, Settings, grid
from benchmarks.methods.gradient import WARMUP, AdamW, Momentum
from benchmarks.methods.ivon import BY_IVON

BASELINE = "adamw"  # times of steps are told as multiples of its steps
SAMPLED = {"gbp": "gbp_samples"}  # rows that come with another's: the same training, predicted by samples


def _searched(lr: tuple[float, ...], weight_decay: tuple[float, ...], final: float, tail: float) -> list[Settings]:
    return grid(lr=lr, weight_decay=weight_decay, final=(final,), tail=(tail,), warmup=(WARMUP,))


def _entrant(title: str, make: Any, settings: list[Settings], usual: int) -> Entrant:
    """`usual` is the place of the settings that are taken where none were searched; the best at its own temperature is chosen."""
    return Entrant(title, make, settings[usual], settings, chosen_by="nll_tempered")


_ADAMW = ((1e-3, 2e-3, 4e-3, 8e-3), (0.01, 0.1, 1.0))  # few images want much weight decay
_MOMENTUM = ((0.02, 0.05, 0.1, 0.2), (1e-4, 1e-3, 1e-2))
_IVON = grid(lr=(0.05, 0.1, 0.2), hess_init=(0.5,), weight_decay=(1e-4, 1e-3, 1e-2))
_WARM_END, _TO_ZERO = (0.4, 0.125), (0.0, 0.0)  # what is left of the rate, and the share of the steps whose weights are averaged
ENTRANTS: dict[str, Entrant] = {
    "gbp": Entrant("torch_gbp, means", MeansSweep),
    "gbp_samples": Entrant("torch_gbp, 16 samples", MeansSweep),
    "adamw": _entrant("AdamW", AdamW, _searched(*_ADAMW, *_TO_ZERO), 6),
    "adamw_tail": _entrant("AdamW, warm end, tail average", AdamW, _searched(*_ADAMW, *_WARM_END), 6),
    "sgd_cosine": _entrant("SGD with momentum", Momentum, _searched(*_MOMENTUM, *_TO_ZERO), 3),
    "sgd_momentum": _entrant("SGD with momentum, warm end, tail average", Momentum, _searched(*_MOMENTUM, *_WARM_END), 3),
    "ivon": BY_IVON._replace(grid=_IVON, chosen_by="nll_tempered"),
}
METHODS = [name for name in ENTRANTS if name not in SAMPLED.values()]  # what can be asked for
