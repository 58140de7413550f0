"""Scores of a classifier, and the times and memory of training and predicting."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from benchmarks.memory import PeakMemory
from benchmarks.methods import Method
from lightning_modules.evaluation import classification_scores, ood_auroc

CHUNK = 1000  # images predicted at a time


def scores(inside: Tensor, labels: Tensor, outside: Tensor) -> dict[str, float]:
    """Accuracy (a fraction), NLL, top-label ECE and OOD AUROC by predictive entropy, from log-probabilities."""
    found = classification_scores(inside, labels)
    return {name: found[name] for name in ("accuracy", "nll", "ece")} | {"ood_auroc": ood_auroc(inside, outside)}


@torch.no_grad()
def predict(method: Method, images: Tensor) -> Tensor:
    """Log-probabilities of all images, a chunk at a time."""
    method.network.eval()
    return torch.cat([method.log_probabilities(chunk) for chunk in images.split(CHUNK)])


def predict_seconds(method: Method, images: Tensor, repeats: int = 5) -> float:
    """Median time to predict all images."""
    return median(timed(lambda: predict(method, images)) for _ in range(repeats))


def timed(action: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def peak_memory_mb(method: Method, x: Tensor, y: Tensor) -> float:
    """Peak memory of two training steps: parameters, state, activations, messages; not the data."""
    x, y = x.clone(), y.clone()  # storages of their own: a slice's is that of the whole data set
    with PeakMemory([*method.network.parameters(), *method.network.buffers()]) as memory:
        for _ in range(2):
            method.step(x, y)
    return memory.megabytes
