"""What a message-passing step tells about itself."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from torch_gbp.autograd.sweep import Total
from torch_gbp.weights.parameter import GaussianParameter


class StepReport(NamedTuple):
    """What a step did: largest_change is max |dm| / sigma over all weights, evidence is log p(y) per example."""

    step: int
    examples: int
    evidence: float
    rate: float
    largest_change: float
    lowest_precision: float
    highest_precision: float


def make_report(step: int, total: Total, rate: float, marginals: list[GaussianParameter], moved: list[float]) -> StepReport:
    """Report of a step that moved each marginal's mean by at most `moved` standard deviations."""
    low, high = (torch.stack([bound(marginal.precision) for marginal in marginals]) for bound in (torch.min, torch.max))
    evidence = float(total.log_evidence) / total.examples
    return StepReport(step, total.examples, evidence, rate, max(moved), float(low.min()), float(high.max()))


def farthest(before: Tensor, marginal: GaussianParameter) -> float:
    """max |dm| / sigma since the means were these, which are written over."""
    return float(before.sub_(marginal.mean).abs_().mul_(marginal.precision.sqrt()).max())
