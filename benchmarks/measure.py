"""Scores of a classifier's probabilities, and the times and memory of training and predicting."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from netcal.metrics import ECE
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from benchmarks.memory import PeakMemory
from benchmarks.methods import Method

ECE_BINS = 15
CHUNK = 1000  # images predicted at a time


def scores(probabilities: Tensor, labels: Tensor, ood: Tensor) -> dict[str, float]:
    """Accuracy (a fraction), NLL, top-label ECE and OOD AUROC by predictive entropy."""
    chosen = probabilities.gather(1, labels[:, None])
    entropies = torch.cat([entropy(probabilities), entropy(ood)])
    is_ood = torch.cat([torch.zeros(len(probabilities)), torch.ones(len(ood))]).long()
    return {
        "accuracy": (probabilities.argmax(1) == labels).double().mean().item(),
        "nll": -chosen.clamp_min(torch.finfo(chosen.dtype).tiny).log().mean().item(),
        "ece": float(np.asarray(ECE(bins=ECE_BINS).measure(probabilities.double().numpy(), labels.numpy()))),
        "ood_auroc": binary_auroc(entropies, is_ood).item(),
    }


def entropy(probabilities: Tensor) -> Tensor:
    """-sum p log p of every row, 0 log 0 being 0."""
    return torch.special.entr(probabilities).sum(1)


@torch.no_grad()
def predict(method: Method, images: Tensor) -> Tensor:
    """Probabilities of all images, a chunk at a time."""
    method.network.eval()
    return torch.cat([method.probabilities(chunk) for chunk in images.split(CHUNK)])


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
