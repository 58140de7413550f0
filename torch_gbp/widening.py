"""calibrate: the factor on the variance of predictions, fitted to held-out examples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.examples import device_of, evaluating, log_probability, output_of, pairs, require_network
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods import Likelihood

OCTAVES, STEPS = (-2, 9), 8  # candidates from 1/4 to 512, eight to an octave: what lies between differs by 9 % at most
DOUBT = 1.0  # prior deviation of log widening: a few examples move it little, hundreds as far as they ask


@torch.no_grad()
def calibrate(model: nn.Module, likelihood: Likelihood, examples: Iterable[Any]) -> float:
    """Sets `likelihood.widening`, the factor on the outputs' variance in predictions, by examples that were not trained on.

    The factor makes up for a cold posterior and for the correlations that a forward pass leaves out; one number for all inputs.

    c = argmax  sum log p(y | m, c v) - (log c / c0)^2 / 2,  c0 what the likelihood began with, 1/4 <= c <= 512.
    The means stay what they are, so hardly any decision changes; calibration and log-likelihood do. A few hundred examples
    are enough; with a handful c stays near c0.
    Source: held-out choice of the posterior temperature; for point estimates, temperature scaling of Guo et al. 2017.

    Args:
        examples: batches (input, target), such as a validation loader.

    Returns:
        c; it is saved and loaded with the likelihood.

    Raises:
        InvalidInput: no examples, batches that are no pairs, targets that do not fit the outputs, outputs that are no Gaussian
            or not finite. Every module is then in the mode that it was in, and the widening what it was.

    >>> import torch_gbp as gbp
    >>> x = torch.randn(64, 2)
    >>> y = torch.randint(2, (64,))  # labels that have nothing to do with the inputs
    >>> model, likelihood = gbp.GBPLinear(2, 2), gbp.Softmax()
    >>> model.weight.mean.data *= 30  # far too sure of itself
    >>> calibrate(model, likelihood, [(x, y)]) > 8
    True
    """
    require_network(model, likelihood, "calibrate")
    outputs, targets = _outputs(model, likelihood, examples)
    first, last = (octave * STEPS for octave in OCTAVES)
    candidates = torch.arange(first, last + 1, device=outputs.device, dtype=torch.float64).div(STEPS).exp2()
    scores = torch.stack([_score(likelihood, outputs, targets, float(c)) for c in candidates])
    best = float(candidates[scores.argmax()])
    likelihood.widening.fill_(best)
    return best


def _outputs(model: nn.Module, likelihood: Likelihood, examples: Iterable[Any]) -> tuple[Gaussian, Tensor]:
    """Beliefs of the outputs of all examples, and their targets."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    with evaluating(model):
        for x, y, *_ in pairs(examples, device_of(model), "calibrate"):
            output = output_of(model, x, "calibrate")
            likelihood.check(output, y)
            _require_finite(output)
            found.append((output.mean, output.variance, y))
    mean, variance, targets = (torch.cat(part) for part in zip(*found, strict=True))
    return Gaussian(mean, variance), targets


def _require_finite(outputs: Gaussian) -> None:
    bad = int((~(outputs.mean.isfinite() & outputs.variance.isfinite())).flatten(1).any(1).sum())
    if bad:
        raise InvalidInput(
            "outputs are not finite",
            where="calibrate",
            got=f"{bad} of {len(outputs.mean)} examples",
            cause="a network that diverged",
            fix="train it with a lower lr, or standardise the inputs",
        )


def _score(likelihood: Likelihood, outputs: Gaussian, targets: Tensor, widening: float) -> Tensor:
    """Log-likelihood of the targets with this widening, less the doubt about it."""
    widened = Gaussian(outputs.mean, outputs.variance * widening)
    log = log_probability(likelihood.distribution(widened), targets).double().sum()
    return log - (math.log(widening / likelihood.usual_widening) / DOUBT) ** 2 / 2
