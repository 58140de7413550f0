"""ReLU6, Hardtanh and Hardsigmoid: z kept between two numbers, exact moments by those of two rectifiers.

With A = max(z - low, 0), B = max(z - high, 0) and f = low + A - B, of which A B = B^2 + (high - low) B:

    E[f] = low + E[A] - E[B]        Var[f] = Var[A] - Var[B] - 2 E[B] (high - E[f])

Means above the middle are mirrored first, so that B is the rarer part. Where s is beyond high - low the variances of A and B
cancel, and quadrature takes over.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

from torch_gbp.factors.elementwise import by_quadrature
from torch_gbp.factors.quadrature import Shape
from torch_gbp.factors.torch_functions.rectifiers import relu
from torch_gbp.functions import moments, named
from torch_gbp.gaussian import Gaussian


def clip(input: Gaussian, low: float, high: float) -> Gaussian:
    """min(max(z, low), high), low < high.

    >>> clip(Gaussian(torch.tensor([0.0]), torch.tensor([1.0])), -1.0, 1.0).variance
    tensor([0.5161])
    """
    found = _by_rectifiers(input, low, high)
    wide = input.variance > (high - low) ** 2
    if not bool(wide.any()):
        return found
    other = by_quadrature(partial(F.hardtanh, min_val=low, max_val=high), Shape((low, high)), input[wide])
    return Gaussian(*(own.masked_scatter(wide, part) for own, part in zip(found, other, strict=True)))


def _by_rectifiers(input: Gaussian, low: float, high: float) -> Gaussian:
    mirrored = input.mean > (low + high) / 2
    mean = torch.where(mirrored, low + high - input.mean, input.mean)
    above, beyond = (relu(Gaussian(mean - edge, input.variance)) for edge in (low, high))
    clipped = low + above.mean - beyond.mean
    variance = above.variance - beyond.variance - 2 * beyond.mean * (high - clipped)
    variance = variance + variance.detach().neg().clamp_min(0)  # rounded below 0; a clamp would cut the gradient at variance 0
    return Gaussian(torch.where(mirrored, low + high - clipped, clipped), variance)


@moments(*named("hardtanh"))
def hardtanh(input: Gaussian, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Gaussian:
    """z kept between two numbers; nn.ReLU6 calls it."""
    return clip(input, min_val, max_val)


@moments(*named("clamp", "clip"))
def clamp(input: Gaussian, min: float | None = None, max: float | None = None) -> Gaussian:
    """z kept above one known number, below another, or between the two."""
    if min is not None and max is not None:
        return clip(input, min, max)
    if max is not None:
        return max - relu(max - input)
    return input if min is None else relu(input - min) + min


@moments(F.relu6)
def relu6(input: Gaussian, inplace: bool = False) -> Gaussian:
    """z kept between 0 and 6."""
    return clip(input, 0.0, 6.0)


@moments(F.hardsigmoid)
def hardsigmoid(input: Gaussian, inplace: bool = False) -> Gaussian:
    """(z + 3) / 6 kept between 0 and 1."""
    return clip(input, -3.0, 3.0) / 6 + 0.5
