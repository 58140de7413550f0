"""Denoising DAVIS "bear": a pairwise smoother beside one and five layers learned from the noisy frames (GBP Learning, 5.2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from PIL import Image
from torch import Tensor

from benchmarks.results import Request, Result, Row, say
from torch_gbp.denoise import Denoised, Denoiser, PairwiseSmoother, Reconstruction, Stack, Tukey, five_layers

FOLDER = Path("DAVIS") / "JPEGImages" / "480p" / "bear"
SIZE = 258, 454  # rows, columns
CORRUPTED = 0.1
FRAMES, ALL_FRAMES = 6, 82
QUICK_FRAMES, QUICK_SIZE, QUICK_ITERATIONS = 2, (66, 114), 10
SHOWN_FRAME = 5  # the one whose PSNR is published
WINDOW = slice(40, 200), slice(60, 300)  # rows and columns of the frames that are kept in part: the bear before the wall
JOINT = "_joint"  # the end of a method's name whose observations stand for all channels of a pixel, not one for each
PUBLISHED = {"pairwise": 31.1, "single": 32.6, "single_continual": 32.9, "five": 33.4, "five_continual": 34.3}  # one for each
TITLES = {
    "pairwise": "pairwise smoother",
    "single": "one layer, per frame",
    "single_continual": "one layer, continual",
    "five": "five layers, per frame",
    "five_continual": "five layers, continual",
}
TITLES |= {method + JOINT: f"{title}, joint" for method, title in TITLES.items()}

Infer = Callable[[Tensor, torch.Generator], Denoised]


class Single(NamedTuple):
    """One layer of reconstruction factors; `forget` None forgets every frame."""

    iterations: int = 100  # of the first frame
    later_iterations: int = 100
    rate: float = 0.1
    forget: float | None = None
    observation_deviation: float = 0.2
    observation_threshold: float = 0.2
    filters: int = 4
    deviation: float = 0.1
    threshold: float = 1.4
    weight_deviation: float = 0.025
    starts: int = 1
    joint: bool = False

    def layer(self) -> Reconstruction:
        robust = Tukey(self.threshold)
        return Reconstruction(3, self.filters, deviation=self.deviation, robust=robust, weight_deviation=self.weight_deviation)


class Five(NamedTuple):
    """The five layers of table D2."""

    iterations: int = 250
    later_iterations: int = 250
    rate: float = 0.05
    forget: float | None = None
    observation_deviation: float = 0.2
    observation_threshold: float = 0.2
    starts: int = 1  # random starts of a stream, tried shortly on its first frame; the one with the lowest energy goes on
    joint: bool = False

    def layer(self) -> Stack:
        return five_layers()


PAIRWISE = {"pairwise": PairwiseSmoother(), "pairwise" + JOINT: PairwiseSmoother(robust=Tukey(0.24), joint=True)}
SETTINGS: dict[str, Single | Five] = {  # chosen with the noise of other seeds
    "single": Single(),
    "single_continual": Single(iterations=150, later_iterations=150, weight_deviation=0.022, forget=0.75),
    "five": Five(iterations=600),
    "five_continual": Five(iterations=300, later_iterations=150, forget=0.0, starts=6),
    "single" + JOINT: Single(observation_threshold=0.35, joint=True),
    "single_continual" + JOINT: Single(150, 150, forget=0.75, observation_threshold=0.35, joint=True),
    "five" + JOINT: Five(iterations=600, observation_threshold=0.45, joint=True),
    "five_continual" + JOINT: Five(300, 150, forget=0.0, observation_threshold=0.45, starts=6, joint=True),
}
PAIRWISE_ITERATIONS = 200
TRIAL_ITERATIONS, BETWEEN = 100, 100  # of a start that is tried; between the seeds of two starts
METHODS = tuple(TITLES)
MOVING = "single_continual" + JOINT  # the method of the short clip


def run(request: Request) -> Result:
    """A row for each method, seed and frame; `--limit` is the number of frames (6, the whole clip has 82)."""
    settings = {name: own._asdict() for name, own in SETTINGS.items()}
    told = {"size": SIZE, "corrupted": CORRUPTED, "methods": settings, "published": PUBLISHED}
    return Result(told, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    frames = min(request.limit or FRAMES, QUICK_FRAMES if request.quick else ALL_FRAMES)
    size = QUICK_SIZE if request.quick else SIZE
    for seed in request.runs:
        for method in request.asked(METHODS):
            yield from _video(request, method, seed, frames, size)


def _video(request: Request, method: str, seed: int, frames: int, size: tuple[int, int]) -> Iterator[Row]:
    infer = _make(method, seed, request.quick)
    for index in range(frames):
        clean = frame(request.data_dir, index, size)
        noisy = corrupt(clean, seed, index)
        started = time.process_time()
        found = infer(noisy, torch.Generator().manual_seed(1000 * seed + index))
        seconds = time.process_time() - started
        case = {"method": method, "net": f"frame {index}", "limit": index, "seed": seed}
        scores = {"psnr": psnr(found.belief.mean, clean), "psnr_noisy": psnr(noisy, clean)}
        if request.beside is not None and seed == request.seeds[0]:
            images = {"clean": clean, "noisy": noisy, method: found.belief.mean}
            keep(request.beside, index, images, whole=index == SHOWN_FRAME, window=method == MOVING and index <= SHOWN_FRAME)
        say(case, f"{method}: {scores['psnr']:.2f} dB in {seconds:.1f} s")
        yield {**case, **scores, "iterations": len(found.energy), "energy": found.energy[-1], "cpu_seconds": seconds}


def _make(method: str, seed: int, quick: bool) -> Infer:
    """What denoises the frames of a video one after the other."""
    if method in PAIRWISE:
        iterations = QUICK_ITERATIONS if quick else PAIRWISE_ITERATIONS
        return lambda image, _: PAIRWISE[method].infer(image, iterations=iterations)
    own = SETTINGS[method]
    model = Denoiser(own.layer(), own.observation_deviation, Tukey(own.observation_threshold), own.joint)
    model.reset(torch.Generator().manual_seed(seed))

    def infer(image: Tensor, generator: torch.Generator) -> Denoised:
        first = own.forget is None or model.size is None
        if own.forget is None:
            model.reset(generator)
        elif not first:
            model.advance(own.forget)
        if first and own.starts > 1:
            generator = _chosen(model, own, image, generator.initial_seed(), quick)
        iterations = QUICK_ITERATIONS if quick else own.iterations if first else own.later_iterations
        return model.infer(image, iterations=iterations, rate=own.rate, generator=generator)

    return infer


def _chosen(model: Denoiser, own: Single | Five, image: Tensor, seed: int, quick: bool) -> torch.Generator:
    """Resets the model to the start whose energy is lowest after a few iterations; the generator goes on from there."""
    iterations = 1 if quick else TRIAL_ITERATIONS
    energies: dict[int, float] = {}
    for start in range(seed, seed + BETWEEN * own.starts, BETWEEN):
        generator = _started(model, start)
        energies[start] = model.infer(image, iterations=iterations, rate=own.rate, generator=generator).energy[-1]
    return _started(model, min(energies, key=energies.__getitem__))


def _started(model: Denoiser, seed: int) -> torch.Generator:
    generator = torch.Generator().manual_seed(seed)
    model.reset(generator)
    return generator


def frame(folder: Path, index: int, size: tuple[int, int] = SIZE) -> Tensor:
    """A frame, (3, rows, columns) in [0, 1], reduced with Pillow's bilinear filter.

    Raises:
        SystemExit: the clip is not there.
    """
    path = folder / FOLDER / f"{index:05d}.jpg"
    if not path.is_file():
        raise SystemExit(f"{path} is missing: unpack DAVIS (480p) so that DIR/{FOLDER} holds the frames")
    with Image.open(path) as image:
        small = image.convert("RGB").resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return torch.from_numpy(numpy.asarray(small).copy()).permute(2, 0, 1).float() / 255


def corrupt(clean: Tensor, seed: int, index: int) -> Tensor:
    """A tenth of the pixels, all channels of them, replaced by U(0, 1); the same for every method."""
    generator = torch.Generator().manual_seed(1_000_000 + 1000 * seed + index)
    hit = torch.rand(clean.shape[1:], generator=generator) < CORRUPTED
    return torch.where(hit, torch.rand(clean.shape, generator=generator), clean)


def psnr(found: Tensor, clean: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in [0, 1], the estimate clipped to that range.

    >>> round(psnr(torch.full((1, 2, 2), 0.6), torch.full((1, 2, 2), 0.5)), 2)
    20.0
    """
    return float(-10 * (found.clamp(0, 1) - clean).square().mean().log10())


def keep(folder: Path, index: int, images: dict[str, Tensor], whole: bool, window: bool) -> None:
    """Saves these images (3, rows, columns) of a frame as PNG: all of each, its window, or both; for the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        pixels = (255 * image.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
        if whole:
            Image.fromarray(pixels).save(kept(folder, name, index, True), optimize=True)
        if window and name != "clean":
            Image.fromarray(numpy.ascontiguousarray(pixels[WINDOW])).save(kept(folder, name, index, False), optimize=True)


def kept(folder: Path, name: str, index: int, whole: bool) -> Path:
    """The file of a kept picture."""
    return folder / f"{name}_{index:02d}{'' if whole else '_window'}.png"
