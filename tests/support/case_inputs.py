"""A row of the table of rules, and the inputs that every rule is tried on: random, asymmetric, extreme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Rule, factor

Tensors = tuple[Tensor | None, ...]


class Case(NamedTuple):
    """One row. Tolerances are relative to the largest entry of each answer, and to every entry."""

    name: str
    rule: Any  # the module in torch_gbp/rules
    send: Callable[..., tuple[Tensor, Tensor]]  # inputs -> moments of the output, differentiable by the bridge or by torch
    sample: Callable[[str], Tensors]  # "random", "asymmetric" or "extreme" -> inputs in float64
    answer: Callable[..., Tensors]  # (g, G, *inputs) -> moments, then one message part per input
    float64: float
    float32: float
    signed: bool = False  # messages from above may have negative precision
    bounded: bool = False  # (g, G) are derivatives of one factor's evidence: v G < 1


def means(kind: str, *shape: int) -> Tensor:
    """Centred; shifted and skewed; or over ten orders of magnitude of both signs."""
    draw = torch.randn(shape, dtype=torch.float64)
    return {"random": draw, "asymmetric": 3 + draw.exp(), "extreme": draw * 10 ** torch.empty_like(draw).uniform_(-5, 3)}[kind]


def variances(kind: str, *shape: int) -> Tensor:
    """About 1; skewed; or over eight orders of magnitude."""
    draw = torch.empty(shape, dtype=torch.float64)
    if kind == "random":
        return draw.uniform_(0.5, 2)
    return draw.exponential_(2) + 0.01 if kind == "asymmetric" else 10 ** draw.uniform_(-6, 2)


def message(kind: str, like: Tensor, signed: bool = False) -> tuple[Tensor, Tensor]:
    """A centred message (g, G) to the output; a signed one is negative in a third of its precisions."""
    score, precision = means(kind, *like.shape), variances(kind, *like.shape)
    return score, torch.where(
        torch.rand_like(precision) < 1 / 3, -0.2 * precision.clamp_max(1), precision
    ) if signed else precision


def weighted(
    activation: tuple[int, ...], weight: tuple[int, ...], observed: bool, bias: bool, groups: int = 1
) -> Callable[[str], Tensors]:
    outputs = groups * weight[0]  # of a transposed convolution; the others' weights count all groups' outputs

    def sample(kind: str) -> Tensors:
        hidden = None if observed else variances(kind, *activation)
        biases = (means(kind, outputs), variances(kind, outputs)) if bias else (None, None)
        return means(kind, *activation), hidden, means(kind, *weight), variances(kind, *weight), *biases

    return sample


def shared(sample: Callable[[str], Tensors]) -> Callable[[str], Tensors]:
    """The same inputs, but one weight variance for each input (channel)."""

    def draw(kind: str) -> Tensors:
        *first, weight_mean, weight_var, bias_mean, bias_var = sample(kind)
        assert weight_var is not None
        tied = weight_var[:1] if weight_var.ndim == 2 else weight_var[:1, :, :1, :1]
        return *first, weight_mean, tied, bias_mean, bias_var

    return draw


def correlated(sample: Callable[[str], Tensors]) -> Callable[[str], Tensors]:
    """The same inputs, but a covariance (o, d, d) for the weights of every filter, with their variances on its diagonal."""

    def draw(kind: str) -> Tensors:
        *first, weight_mean, weight_var, bias_mean, bias_var = sample(kind)
        assert weight_var is not None
        deviations = weight_var.flatten(1).sqrt()
        rows = torch.nn.functional.normalize(torch.randn(*deviations.shape, deviations.shape[1], dtype=deviations.dtype), dim=2)
        return *first, weight_mean, deviations[:, :, None] * (rows @ rows.mT) * deviations[:, None], bias_mean, bias_var

    return draw


def belief(*shape: int) -> Callable[[str], Tensors]:
    return lambda kind: (means(kind, *shape), variances(kind, *shape))


def near_kink(kind: str) -> Tensors:
    """Beliefs whose mean lies at most 12 deviations from 0: beyond, one side of the kink is all there is."""
    variance = variances(kind, 60)
    spread = {"random": 1.0, "asymmetric": 2.0, "extreme": 12.0}[kind]
    return variance.sqrt() * torch.empty_like(variance).uniform_(-spread, spread), variance


def bridge(rule: Rule, options: Any) -> Callable[..., tuple[Tensor, Tensor]]:
    return lambda *inputs: factor(rule)(options, *inputs)


def kinds(observed: bool, bias: bool) -> str:
    """Which inputs of a weighted rule are means and variances that get a message, see `oracle.by_autograd`."""
    return ("--" if observed else "mv") + "mv" + ("mv" if bias else "--")


def with_above(kind: str) -> Tensors:
    """A belief near the kink, and a message from above that is up to as strong and agrees within a few deviations."""
    mean, variance = near_kink(kind)
    precision = torch.rand_like(variance) / variance
    return mean, variance, precision * (mean + variance.sqrt() * torch.randn_like(mean)), precision
