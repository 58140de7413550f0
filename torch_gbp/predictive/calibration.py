"""calibrate: the width of predictions and their temperature, fitted to held-out examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torch_gbp.batches import pairs
from torch_gbp.errors.checks import require_kind
from torch_gbp.likelihoods import Likelihood
from torch_gbp.modules import device_of
from torch_gbp.predictive import Outputs, outputs_of
from torch_gbp.predictive.examples import log_probability, require_network
from torch_gbp.predictive.predict import SAMPLES
from torch_gbp.weights.seeds import PREDICTING, own_seed

OCTAVES = {
    "variance_factor": (-2, 9),
    "temperature": (-3, 3),
}  # candidates from 1/4 to 512, and from 1/8 to 8, an octave apart at first
FINEST = 1 / 16  # of an octave: what lies between the last candidates differs by 4 % at most
DOUBT = 1.0  # prior deviation of the logs of both: a few examples move them little, hundreds as far as they ask

Point = tuple[float, ...]


class Calibration(NamedTuple):
    """What `calibrate` found, and set in the likelihood; the temperature of real targets is None."""

    variance_factor: float
    temperature: float | None


@torch.no_grad()
def calibrate(
    model: nn.Module,
    likelihood: Likelihood,
    examples: Iterable[Any],
    how: str | None = None,
    samples: int = SAMPLES,
    generator: torch.Generator | None = None,
) -> Calibration:
    """Fit of `likelihood.variance_factor` and `.temperature` to examples that were not trained on, for one way of predicting.

    The variance factor c makes up for a cold posterior and for correlations that a forward pass leaves out; one for all inputs.
    The temperature T divides the outputs of classes, which makes predictions softer (T > 1) or sharper (T < 1).

    c, T = argmax  sum log p(y | c, T) - (log c / c0)^2 / 2 - (log T)^2 / 2,  c0 what the likelihood began with,
    1/4 <= c <= 512, 1/8 <= T <= 8; the best of a grid of octaves, and then of ever closer neighbours.

    c multiplies the variance of Gaussian outputs (how="moments"), and c / c0 that of the weights around their means, to first
    order: the distances of samples from the outputs at the means ("samples"), or the joint covariance ("linear"). Where nothing
    spreads the outputs ("means"), c stays what it was.
    A few hundred examples are enough; with a handful both stay near where they began.
    Source: held-out choice of the posterior temperature; for T, temperature scaling of Guo et al. 2017.

    Args:
        examples: batches (input, target), such as a validation loader.
        how, samples, generator: as in `predict`.

    Returns:
        c and T; they are saved and loaded with the likelihood.

    Raises:
        InvalidInput: no examples, batches that are no pairs, targets that do not fit the outputs, and what `predict` raises.
            Every module is then in the mode that it was in, and the likelihood as it was.

    >>> import torch_gbp as gbp
    >>> x = torch.randn(64, 2)
    >>> y = torch.randint(2, (64,))  # labels that have nothing to do with the inputs
    >>> model, likelihood = gbp.GBPLinear(2, 2), gbp.Softmax()
    >>> model.weight.mean.data *= 30  # far too sure of itself
    >>> found = calibrate(model, likelihood, [(x, y)])
    >>> found.temperature > 1 or found.variance_factor > 8
    True
    """
    require_network(model, likelihood, "calibrate")
    if generator is not None:
        require_kind("generator", generator, torch.Generator, "calibrate", fix="pass torch.Generator().manual_seed(0), or None")
    seed = own_seed(PREDICTING) if generator is None else generator.initial_seed()
    found, targets = _outputs(model, likelihood, examples, how, samples, seed)
    fitted = _fitted(likelihood, found)
    with _put_back(likelihood):
        best = _search(fitted, lambda point: _score(likelihood, found, targets, fitted, point))
    _set(likelihood, fitted, best)
    temperature = None if likelihood.temperature is None else float(likelihood.temperature)
    return Calibration(float(likelihood.variance_factor), temperature)


def _outputs(
    model: nn.Module, likelihood: Likelihood, examples: Iterable[Any], how: str | None, samples: int, seed: int
) -> tuple[Outputs, Tensor]:
    """Outputs of all examples, of the same drawn networks, and their targets."""
    parts, targets, device = [], [], device_of(model)
    for x, y, *_ in pairs(examples, device, "calibrate"):
        found = outputs_of(model, x, "calibrate", how, samples, torch.Generator(device).manual_seed(seed))
        likelihood.check(found.belief, y)
        parts.append(found)
        targets.append(y)
    return Outputs.joined(parts), torch.cat(targets)


def _fitted(likelihood: Likelihood, found: Outputs) -> list[str]:
    """Names of the numbers that these outputs can say something about."""
    can = {"variance_factor": not found.certain, "temperature": likelihood.temperature is not None}
    return [name for name in OCTAVES if can[name]]


def _search(names: list[str], score: Callable[[Point], float]) -> Point:
    """Best point, in octaves: on the grid first, and from there by neighbours whose distance halves where none is better."""
    bounds, scores = [OCTAVES[name] for name in names], dict[Point, float]()

    def of(point: Point) -> float:
        if point not in scores:
            scores[point] = score(point)
        return scores[point]

    best, step = max(product(*(map(float, range(low, high + 1)) for low, high in bounds)), key=of), 0.5
    while step >= FINEST:
        around = product(
            *(sorted({max(low, at - step), at, min(high, at + step)}) for at, (low, high) in zip(best, bounds, strict=True))
        )
        better = max(around, key=of)
        best, step = (better, step) if of(better) > of(best) else (best, step / 2)
    return best


def _score(likelihood: Likelihood, found: Outputs, targets: Tensor, names: list[str], point: Point) -> float:
    """Log-likelihood of the targets at this point, less the doubt about it."""
    _set(likelihood, names, point)
    usual = {"variance_factor": math.log(likelihood.usual_variance_factor), "temperature": 0.0}
    doubt = sum(((at * math.log(2) - usual[name]) / DOUBT) ** 2 / 2 for name, at in zip(names, point, strict=True))
    return float(log_probability(found.distribution(likelihood), targets).double().sum()) - doubt


def _set(likelihood: Likelihood, names: list[str], point: Point) -> None:
    for name, octave in zip(names, point, strict=True):
        likelihood.get_buffer(name).fill_(2.0**octave)


@contextmanager
def _put_back(likelihood: Likelihood) -> Iterator[None]:
    """Widening and temperature are afterwards what they were, after an error too."""
    before = {name: likelihood._buffers[name] for name in OCTAVES}
    kept = {name: float(value) for name, value in before.items() if value is not None}
    try:
        yield
    finally:
        for name, value in kept.items():
            likelihood.get_buffer(name).fill_(value)
