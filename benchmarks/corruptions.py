"""CIFAR-10 test images under 15 corruptions at severities 1, 3 and 5, made here (Hendrycks and Dietterich 2019): `corruptions`.

CIFAR-10-C itself is a download; package imagecorruptions-imaug makes the same kinds, for images of 32 x 32 as for larger ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.choice import Choice
from benchmarks.contest import image_contest
from benchmarks.measure import scores, tempered_scores
from benchmarks.methods.base import rival
from benchmarks.race import Racer
from benchmarks.results import Request, Result, Row, replacing, say
from benchmarks.tasks import QUICK_SCORED, SUBSET_SEED, TASKS, Trial, limited, load
from lightning_modules.data.image_modules import Normaliser

KINDS = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
SEEDED = ("impulse_noise", "glass_blur")  # draw from generators of their own, the others from numpy's global one
CLEAN, SEVERITIES = "none", (1, 3, 5)
TASK, SCORED = "cifar10", 2000  # test images, the first ones
FOLDER = "CIFAR-10-C-made-here"  # in the data folder: a corrupted set is made once
KEPT = ("accuracy", "nll", "ece", "brier")


def run(request: Request) -> Result:
    """A row for every network, method, seed, kind and severity; severity 0 is the clean images."""
    told = {"kinds": KINDS, "severities": SEVERITIES, "scored": SCORED, "subset_seed": SUBSET_SEED}
    return Result(told, rows(request))


def rows(request: Request) -> Iterator[Row]:
    """Every network and seed of the call, trained on the clean images."""
    task, contest = TASKS[TASK]._replace(ood={}), image_contest(TASK)
    images = task.load(request.data_dir, request.accept_altered)
    split, standardise, asked = load(task, request), Normaliser(images.train_x), QUICK_SCORED if request.quick else SCORED
    pixels, labels = images.test_x[:asked], images.test_y[:asked]
    for name in request.asked(task.nets):
        plan, *_ = task.nets[name].asked(request)
        for seed in request.runs:
            trial = Trial(name, task.nets[name], plan, limited(split, plan.limit), seed)
            for racer, choice in contest.raced(trial, request):
                yield from _scored(racer, choice, labels, partial(_set, request, pixels, standardise))


def _scored(racer: Racer, choice: Choice, labels: Tensor, images: Any) -> Iterator[Row]:
    told = {"method": racer.run.name, **racer.trial.told, **choice.told}
    for kind, severity in [(CLEAN, 0), *((kind, severity) for kind in KINDS for severity in SEVERITIES)]:
        logs = racer.predict(images(kind, severity))
        found = {name: value for name, value in scores(logs, labels).items() if name in KEPT}
        if choice.temperature is not None:
            found |= tempered_scores(logs, labels, choice.temperature)
        yield {**told, "corruption": kind, "severity": severity, **found}


def _set(request: Request, pixels: Tensor, standardise: Normaliser, kind: str, severity: int) -> Tensor:
    """The standardised images of a kind, from the data folder or made and put there."""
    if kind == CLEAN:
        return standardise(pixels)
    path = request.data_dir / FOLDER / f"{kind}_{severity}_{len(pixels)}.pt"
    return standardise(kept(path, pixels, kind, severity))


def kept(path: Path, pixels: Tensor, kind: str, severity: int) -> Tensor:
    """The corrupted images of the file, which is made if it is not there."""
    if not path.is_file():
        say({"net": kind, "limit": len(pixels), "seed": severity}, "corrupted")
        with replacing(path) as beside:
            torch.save(corrupted(pixels, kind, severity), beside)
    return torch.load(path)


def corrupted(pixels: Tensor, kind: str, severity: int) -> Tensor:
    """Images uint8 (n, 3, height, width), of at least 32 x 32, under one corruption; the same ones in every call.

    Raises:
        MissingPackage: imagecorruptions-imaug is not installed.
    """
    corrupt, state = rival("imagecorruptions").corrupt, np.random.get_state()  # noqa: NPY002 (the package draws from it)
    np.random.seed(zlib.crc32(f"{kind} {severity}".encode()))  # noqa: NPY002
    try:
        arrays = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())
        seeds = [{"seed": i} if kind in SEEDED else {} for i in range(len(arrays))]
        made = [corrupt(own, severity, corruption_name=kind, **seed) for own, seed in zip(arrays, seeds, strict=True)]
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()


def mean_over_kinds(rows: list[Row]) -> list[Row]:
    """Rows of each method, network, seed and severity: means over the kinds; those with some kinds missing are left out."""
    found = []
    for row in rows:
        if row["corruption"] in (CLEAN, KINDS[0]):
            same = ("method", "net", "limit", "seed", "epochs", "severity")
            like = [other for other in rows if all(other[key] == row[key] for key in same)]
            if len(like) == (1 if row["corruption"] == CLEAN else len(KINDS)):
                columns = {key for key, value in row.items() if isinstance(value, float) and all(key in other for other in like)}
                found.append({**row, **{key: sum(other[key] for other in like) / len(like) for key in columns}})
    return found
