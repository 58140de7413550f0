"""Scores of a classifier, the temperature fitted on held-out examples, and the times and memory of training and predicting."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Iterable
from itertools import cycle, islice
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from benchmarks.methods.base import Method
from torch_gbp.metrics import classification_scores, ood_auroc

CHUNK = 1000  # images predicted at a time
REPEATS, PATIENCE = 5, 3.0  # predictions that are timed, as long as they take no more than these seconds together
COLDEST, WARMEST = 0.05, 20.0  # temperatures; a classifier that is never wrong would be tempered to 0
SETTLED = 16  # steps before any is timed: torch_gbp's first ones have a probe each
TURNS, TURN = 9, 8  # how often each is timed, and steps of a turn: of torch_gbp's, two have a probe

Batch = tuple[Tensor, Tensor]


def scores(inside: Tensor, labels: Tensor, outside: dict[str, Tensor] | None = None) -> dict[str, float]:
    """All scores of log-probabilities: of the test images with their labels, and of each OOD set by its column."""
    found = {column: ood_auroc(inside, logs) for column, logs in (outside or {}).items()}
    return classification_scores(inside, labels) | found


@torch.no_grad()
def predict(log_probabilities: Callable[[Tensor], Tensor], images: Tensor, chunk: int = CHUNK) -> Tensor:
    """Log-probabilities of all images, a chunk at a time; where a method answers NaN, it has diverged and knows nothing."""
    logs = torch.cat([log_probabilities(part) for part in images.split(chunk)]).cpu()
    return torch.where(logs.isnan().any(1, keepdim=True), -math.log(logs.shape[1]), logs)


def tempered(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Log-probabilities (n, classes) of p^(1 / T), normalised: for a softmax, its logits divided by T (Guo et al. 2017).

    >>> tempered(torch.tensor([[0.8, 0.2]]).log(), 2.0).exp()
    tensor([[0.6667, 0.3333]], dtype=torch.float64)
    """
    return torch.log_softmax(log_probabilities.double() / temperature, 1)


def fit_temperature(log_probabilities: Tensor, labels: Tensor) -> float:
    """argmin over T of the negative log-likelihood: convex in 1 / T, so it has one minimum along log T."""

    def nll(log_temperature: float) -> float:
        return float(F.nll_loss(tempered(log_probabilities, math.exp(log_temperature)), labels))

    found = minimize_scalar(nll, bounds=(math.log(COLDEST), math.log(WARMEST)), method="bounded")
    return math.exp(found.x)


def tempered_scores(log_probabilities: Tensor, labels: Tensor, temperature: float) -> dict[str, float]:
    """The temperature and the scores that it changes."""
    found = classification_scores(tempered(log_probabilities, temperature), labels)
    return {"temperature": temperature, **{f"{name}_tempered": found[name] for name in ("nll", "ece")}}


def timed(action: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    _settle()
    start = time.perf_counter()
    action()
    _settle()
    return time.perf_counter() - start


def processor_seconds(action: Callable[[], object]) -> float:
    """Processor seconds of one call, which other work on the machine does not stretch."""
    start = time.process_time()
    action()
    return time.process_time() - start


def predict_seconds(method: Method, images: Tensor) -> float:
    """Median time to predict all images."""
    seconds: list[float] = []
    method.network.eval()
    while not seconds or (len(seconds) < REPEATS and sum(seconds) < PATIENCE):
        seconds.append(timed(lambda: predict(method.log_probabilities, images)))
    return median(seconds)


def step_seconds(methods: list[Method], batches: list[Batch], quick: bool) -> list[tuple[float, ...]]:
    """Time of a step of each method, the processor's or with a GPU a clock's, measured in turns: a tuple for each turn."""
    batches = batches[: 1 if quick else None]
    for method in methods:
        method.network.train()
        _steps(method, list(islice(cycle(batches), 1 if quick else SETTLED)))
    return [tuple(_steps(method, batches) for method in methods) for _ in range(1 if quick else TURNS)]


def _steps(method: Method, batches: list[Batch]) -> float:
    start = _clock()
    for x, y in batches:
        method.step(x, y)
    return (_clock() - start) / len(batches)


def _settle() -> None:
    """Waits for the GPU, if one is at work."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _clock() -> float:
    """Seconds of the processor, which other work on the machine does not stretch; with a GPU at work those of a clock."""
    _settle()
    return time.perf_counter() if torch.cuda.is_initialized() else time.process_time()


def peak_memory_mb(method: Method, x: Tensor, y: Tensor) -> float:
    """Peak memory of two training steps: parameters, state, activations, messages; not the data."""
    x, y = x.clone(), y.clone()  # storages of their own: a slice's is that of the whole data set
    part = method.trained_at_a_time()
    with PeakMemory(method.stored()) as memory:
        for _ in range(2):
            part.step(x, y)
    return memory.peak / 1e6


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all tensors made inside, and of those given, while they live: exact, where the process size is noise.

    `with PeakMemory(model.parameters()) as memory: ...; memory.peak`
    """

    def __init__(self, existing: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._seen: set[int] = set()
        for tensor in existing:
            self._count(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return tree_map_only(Tensor, self._count, func(*args, **(kwargs or {})))

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self._seen.add(key)
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self._release, key, size)
        return tensor

    def _release(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.bytes -= size
