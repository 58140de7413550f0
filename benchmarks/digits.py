"""The digits of `make demo`, over seeds: few labels, hard images, and pictures that are no digits."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.results import Request, Result
from examples import demo
from examples.demo_data import HardDigits
from examples.demo_training import DECAY, RATE


def run(request: Request) -> Result:
    """Trains and tests all models through Lightning, as the demo does; the data are embedded, so no folder is read."""
    epochs = request.epochs or (2 if request.quick else demo.EPOCHS)
    rival = {"lr": RATE, "weight_decay": DECAY}
    methods = {"gbp": {}, "adamw": rival, "adamw_tuned": rival}
    rows = [row for seed in request.seeds for row in _rows(seed, epochs)]
    return Result({"methods": methods, "answered": demo.ANSWERED, "tuned_on": "held-out digits of seeds 1 and 2"}, rows)


def _rows(seed: int, epochs: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        metrics = demo.run(Path(folder), seed, epochs)
    data = HardDigits(seed=seed)
    data.setup()
    run = {"net": "digits_conv", "limit": len(data.parts.train), "seed": seed, "epochs": epochs}
    return [_row(method, run, scores) for method, scores in metrics.items()]


def _row(method: str, run: dict[str, Any], scores: dict[str, Any]) -> dict[str, Any]:
    """Scores without their standard errors: the seeds have their own."""
    values = {column: scores[column][0] for column in demo.COLUMNS}
    shares = {f"{kind}_{name}": share for kind in ("answered", "wrong") for name, share in scores[kind].items()}
    return {"method": method, **run, **values, **shares, "train_seconds": scores["seconds"]}
