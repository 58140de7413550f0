"""Batch, layer, group, instance and RMS normalisation: an affine map by statistics that are held known.

    mu = average of m over a group            s^2 = average of (m - mu)^2 + average of v
    z = (a - mu) / sqrt(s^2 + eps) g + b

s^2 is the expected second moment of the group about mu: the beliefs' own variance counts. That the statistics are uncertain
themselves, and move with each entry, is left out: O(1 / entries in the group). Gains g and shifts b may be known or Gaussian.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.factors.torch_functions.arithmetic import Term, belief_of, product
from torch_gbp.functions import moments, named
from torch_gbp.gaussian import Gaussian


def standardised(belief: Gaussian, axes: Any, eps: float, centred: bool = True) -> Gaussian:
    """The beliefs less their mean over `axes` (where centred), divided by the root of their second moment plus eps.

    >>> x = Gaussian(torch.tensor([[1.0, 3.0]]), torch.tensor([[3.0, 3.0]]))
    >>> standardised(x, -1, 0.0).mean
    tensor([[-0.5000,  0.5000]])
    """
    shifted = belief - belief.mean.mean(axes, keepdim=True) if centred else belief
    second = (shifted.mean.square() + belief.variance).mean(axes, keepdim=True)
    return shifted * (second + eps).rsqrt()


def affine(belief: Gaussian, gain: Term | None, shift: Term | None, trailing: int = 0) -> Gaussian:
    """Gain and shift, known or Gaussian, whose last axis stands `trailing` axes before the belief's end; None for none."""
    if gain is not None:
        belief = product(belief, _placed(gain, trailing))
    if shift is None:
        return belief
    mean, variance = belief_of(_placed(shift, trailing))
    return Gaussian(belief.mean + mean, belief.variance + variance)  # a parameter: no dependence to note


def _placed(parameter: Term, trailing: int) -> Term:
    return parameter.view(*parameter.shape, *(1 for _ in range(trailing)))


@moments(*named("batch_norm"))
def batch_norm(
    input: Term,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Term | None = None,
    bias: Term | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Gaussian:
    """Per channel (axis 1): by the running statistics in evaluation; by the batch's in training, which updates the running ones.

    Raises:
        InvalidInput: a single value per channel in training.
    """
    belief = belief_of(input)
    axes = tuple(axis for axis in range(belief.ndim) if axis != 1)
    if training:
        _require_several(belief)
        _update(belief, axes, running_mean, running_var, momentum)
        normal = standardised(belief, axes, eps)
    else:
        assert running_mean is not None and running_var is not None
        mean, variance = (part.view(-1, *(1 for _ in belief.shape[2:])) for part in (running_mean, running_var))
        normal = (belief - mean) * (variance + eps).rsqrt()
    return affine(normal, weight, bias, len(belief.shape[2:]))


def _require_several(belief: Gaussian) -> None:
    """Raises InvalidInput for one value per channel, as torch does."""
    if belief.numel() <= belief.shape[1]:
        raise InvalidInput(
            "batch normalisation in training needs more than one value per channel",
            where="batch_norm",
            got=f"input {tuple(belief.shape)}",
            fix="use larger batches, or model.eval()",
        )


@torch.no_grad()
def _update(belief: Gaussian, axes: Any, running_mean: Tensor | None, running_var: Tensor | None, momentum: float) -> None:
    """Running statistics as torch keeps them: the variance is the unbiased one of the means, plus the average of the beliefs'."""
    if running_mean is not None:
        running_mean.lerp_(belief.mean.mean(axes).to(running_mean.dtype), momentum)
    if running_var is not None:
        running_var.lerp_((belief.mean.var(axes) + belief.variance.mean(axes)).to(running_var.dtype), momentum)


@moments(*named("layer_norm"))
def layer_norm(
    input: Term, normalized_shape: Any, weight: Term | None = None, bias: Term | None = None, eps: float = 1e-5, *_: Any
) -> Gaussian:
    """Over the last axes, those of `normalized_shape`."""
    return affine(standardised(belief_of(input), _last(normalized_shape), eps), weight, bias)


@moments(*named("rms_norm"))
def rms_norm(input: Term, normalized_shape: Any, weight: Term | None = None, eps: float | None = None) -> Gaussian:
    """Over the last axes, without a mean taken off: a / sqrt(average of (m^2 + v) + eps)."""
    belief = belief_of(input)
    eps = torch.finfo(belief.dtype).eps if eps is None else eps
    return affine(standardised(belief, _last(normalized_shape), eps, centred=False), weight, None)


def _last(shape: Any) -> tuple[int, ...]:
    return tuple(range(-len(shape), 0)) if isinstance(shape, (tuple, list)) else (-1,)


@moments(*named("group_norm"))
def group_norm(
    input: Term, num_groups: int, weight: Term | None = None, bias: Term | None = None, eps: float = 1e-5, *_: Any
) -> Gaussian:
    """Over the channels of each group and their positions."""
    belief = belief_of(input)
    groups = belief.reshape(belief.shape[0], num_groups, -1)
    return affine(standardised(groups, -1, eps).reshape(belief.shape), weight, bias, len(belief.shape[2:]))


@moments(F.instance_norm)
def instance_norm(
    input: Term,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Term | None = None,
    bias: Term | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Gaussian:
    """Over the positions of each channel of each example; by the running statistics where the layer keeps them, in evaluation.

    The running statistics are not updated.
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    belief = belief_of(input)
    axes = tuple(range(2, belief.ndim))
    return affine(standardised(belief, axes, eps), weight, bias, len(axes))
