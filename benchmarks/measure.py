"""Scores of a classifier, and the times and memory of training and predicting."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from benchmarks.memory import PeakMemory
from benchmarks.methods import Method
from torch_gbp.metrics import classification_scores, ood_auroc, relative_calibration_auc

CHUNK = 1000  # images predicted at a time
REPEATS, PATIENCE = 5, 3.0  # predictions that are timed, as long as they take no more than these seconds together


def scores(inside: Tensor, labels: Tensor, outside: dict[str, Tensor]) -> dict[str, float]:
    """All scores of log-probabilities: of the test images with their labels, and of each OOD set by its column."""
    found = {column: ood_auroc(inside, logs) for column, logs in outside.items()}
    ranking = {"relative_auc": relative_calibration_auc(inside.exp(), labels)}
    return classification_scores(inside, labels) | ranking | found


@torch.no_grad()
def predict(method: Method, images: Tensor) -> Tensor:
    """Log-probabilities of all images, a chunk at a time; where a method answers NaN, it has diverged and knows nothing."""
    method.network.eval()
    logs = torch.cat([method.log_probabilities(chunk) for chunk in images.split(CHUNK)])
    return torch.where(logs.isnan().any(1, keepdim=True), -math.log(logs.shape[1]), logs)


def predict_seconds(method: Method, images: Tensor) -> float:
    """Median time to predict all images."""
    seconds: list[float] = []
    while not seconds or (len(seconds) < REPEATS and sum(seconds) < PATIENCE):
        seconds.append(timed(lambda: predict(method, images)))
    return median(seconds)


def timed(action: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def peak_memory_mb(method: Method, x: Tensor, y: Tensor) -> float:
    """Peak memory of two training steps: parameters, state, activations, messages; not the data."""
    x, y = x.clone(), y.clone()  # storages of their own: a slice's is that of the whole data set
    part = method.trained_at_a_time()
    with PeakMemory(method.stored()) as memory:
        for _ in range(2):
            part.step(x, y)
    return memory.megabytes
