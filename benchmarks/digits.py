"""The digits of `make demo`, over seeds: the demo's small convolutional network by message passing and by AdamW."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.results import Request, Result
from examples import demo
from lightning_modules.data.images import load_digits


def run(request: Request) -> Result:
    """Trains and tests both through Lightning, as the demo does; the data are embedded, so no folder is read."""
    epochs = request.epochs or (2 if request.quick else demo.EPOCHS)
    methods = {"gbp": {}, "adamw": {"lr": demo.ADAMW_RATE}}
    rows = [row for seed in request.seeds for row in _rows(seed, epochs)]
    return Result(
        {"methods": methods, "batch": demo.BATCH_SIZE, "held_out": demo.HELD_OUT, "ood": "shuffled and inverted test digits"},
        rows,
    )


def _rows(seed: int, epochs: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        metrics = demo.run(Path(folder), seed, epochs)
    run = {"net": "digits_conv", "limit": len(load_digits().train_x), "seed": seed, "epochs": epochs}
    return [_row(method, run, scores) for method, scores in metrics.items()]


def _row(method: str, run: dict[str, Any], scores: dict[str, float]) -> dict[str, Any]:
    measured = {("train_seconds" if name == "seconds" else name): value for name, value in scores.items()}
    return {"method": method, **run, **measured}
