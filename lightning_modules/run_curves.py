"""Curves of a training run, from what its logger wrote beside the checkpoints."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVIDENCE = {"train/evidence_epoch": 1.0, "train/loss_epoch": -1.0}  # log evidence of a training example, one value a pass
VALIDATION, RATE = "val/nll", "step/rate"


class Logged(NamedTuple):
    """A scalar as it was logged."""

    step: int
    value: float


def read_curves(checkpoint: str | Path) -> dict[str, list[float]]:
    """Curves of the run that wrote a checkpoint, a number a pass: evidence, rate, NLL of validation; {} if none is known.

    They are in the folder of the run, LOGS/version_0 of LOGS/version_0/checkpoints/last.ckpt: files of `TensorBoardLogger`, which
    is Lightning's default, or the `metrics.csv` of `CSVLogger`.

    >>> read_curves("nowhere/checkpoints/last.ckpt")
    {}
    """
    logged = _logged(Path(checkpoint).parent.parent)
    name = next((name for name in EVIDENCE if name in logged), None)
    if name is None:
        return {}
    ends = logged[name]
    found = {"evidence": [EVIDENCE[name] * own.value for own in ends]}
    if RATE in logged:
        found["rate"] = [_until(logged[RATE], end.step) for end in ends]
    if VALIDATION in logged:
        found["validation NLL"] = [own.value for own in logged[VALIDATION]]
    return found


def _logged(folder: Path) -> dict[str, list[Logged]]:
    """Scalars of a run by their names, in the order of their steps."""
    if (folder / "metrics.csv").is_file():
        return _of_csv(folder / "metrics.csv")
    return _of_events(folder) if any(folder.glob("events.out.tfevents.*")) else {}


def _of_csv(path: Path) -> dict[str, list[Logged]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else ()) if name not in ("step", "epoch")]
    return {name: [Logged(int(row["step"]), float(row[name])) for row in rows if row[name]] for name in names}


def _of_events(folder: Path) -> dict[str, list[Logged]]:
    events = EventAccumulator(str(folder), {"scalars": 0}).Reload()  # 0: all of them
    return {name: [Logged(own.step, own.value) for own in events.Scalars(name)] for name in events.Tags()["scalars"]}


def _until(values: list[Logged], step: int) -> float:
    """The last value that was logged by then, or the first."""
    return [*values[:1], *(own for own in values if own.step <= step)][-1].value
