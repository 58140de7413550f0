"""ReLU, LeakyReLU, absolute value and PReLU: the exact moments of factors/leaky_relu.py, and their exact derivatives."""

from __future__ import annotations

from functools import partial

from torch_gbp.factors.elementwise import differentiable
from torch_gbp.factors.leaky_relu import LEAKY_RELU
from torch_gbp.factors.torch_functions.arithmetic import Term, belief_of, product
from torch_gbp.functions import moments, named
from torch_gbp.gaussian import Gaussian


@moments(*named("leaky_relu"))
def leaky_relu(input: Gaussian, negative_slope: float = 0.01, inplace: bool = False) -> Gaussian:
    """max(z, l z) for 0 <= l <= 1, z above 0 and l z below for any l; exact.

    Float32 error: 2e-6 of max(|m|, s) for the mean, and 2e-6 of v for the variance (0 <= l <= 1). Always a new Gaussian, also
    where torch would write in place.

    >>> import torch
    >>> torch.nn.functional.leaky_relu(Gaussian(torch.tensor([0.0]), torch.tensor([1.0])), 0.1).mean
    tensor([0.3590])
    """
    return differentiable(partial(LEAKY_RELU.expectations, (float(negative_slope),)), input)


@moments(*named("relu"))
def relu(input: Gaussian, inplace: bool = False) -> Gaussian:
    """max(z, 0); exact."""
    return leaky_relu(input, 0.0)


@moments(*named("abs", "absolute"))
def absolute(input: Gaussian) -> Gaussian:
    """|z|, z rectified by the slope -1; exact."""
    return leaky_relu(input, -1.0)


@moments(*named("prelu"))
def prelu(input: Term, weight: Term) -> Gaussian:
    """z above 0 and a z below, a slope for all entries or one a channel (axis 1), known or Gaussian; differentiable in a too.

    With the parts p = max(z, 0) and q = max(-z, 0), of which one is 0, and a independent of z: mean E[p] - E[a] E[q], variance
    Var[p] + Var[a q] + 2 E[a] E[p] E[q].
    """
    belief = belief_of(input)
    slope = weight if weight.numel() == 1 else weight.view(-1, *(1 for _ in belief.shape[2:]))
    up, below = relu(belief), product(relu(-belief), slope)
    return Gaussian(up.mean - below.mean, up.variance + below.variance + 2 * up.mean * below.mean)
