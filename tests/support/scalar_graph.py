"""ScalarGraph: exact messages on every edge, for small graphs of scalar variables. The reference of the summed messages.

Variables have Gaussian priors; a group of factors has one residual function r of K variables each, with noise sigma. A factor,
linearised at the belief means x0 as r0 + sum_k J_k (x_k - x0_k), sends to its k-th variable, from cavities N(m_i, v_i),

    precision J_k^2 / s,  information -J_k (c + sum_{i != k} J_i m_i) / s,  s = sigma^2 + sum_{i != k} J_i^2 v_i,  c = r0 - J x0

Exact on trees; on loops the means of linear-Gaussian graphs are exact where it converges.
Source: GBP Learning (arXiv 2311.14649) section 2.1, equations 17 to 23 with the sign of the information corrected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian

Residual = Callable[[Tensor], Tensor]
"""(..., K) values of a factor's variables -> (...) residual, in torch functions that act entry by entry."""


class Factors(NamedTuple):
    """Factors of one form: which variables each connects (F, K), their residual, and the noise's standard deviation."""

    index: Tensor
    residual: Residual
    sigma: float


class ScalarGraph:
    """A factor graph with all its messages.

    Args:
        mean, precision: of the variables' priors, (V,); precision 0 for none.
        groups: factors, visited group by group in this order, in parallel within a group.
        start: where the first linearisation is, (V,); None for the prior means.

    Memory: four numbers an edge. `infer` goes on from where it stopped.

    Raises:
        InvalidInput: variables without prior that no chain of factors connects to a prior or to a factor of one variable.

    >>> pair = Factors(torch.tensor([[0, 1]]), lambda x: x[..., 0] - x[..., 1], 1.0)
    >>> seen = Factors(torch.tensor([[1]]), lambda x: x[..., 0] - 3, 1.0)
    >>> graph = ScalarGraph(torch.zeros(2), torch.tensor([1.0, 0.0]), [seen, pair])
    >>> _ = graph.infer(3)
    >>> graph.belief().mean
    tensor([1., 2.])
    """

    def __init__(self, mean: Tensor, precision: Tensor, groups: list[Factors], start: Tensor | None = None) -> None:
        _check_anchors(precision, groups)
        self.prior, self.groups = (precision * mean, precision), groups
        self.start: Tensor | None = mean if start is None else start
        self.messages = [torch.zeros(2, *group.index.shape, dtype=mean.dtype) for group in groups]

    def infer(
        self, iterations: int, damping: float = 0.0, dropout: float = 0.0, tolerance: float = 0.0, undamped_first: bool = True
    ) -> list[float]:
        """Visits all groups so many times; returns the largest change of a message in each iteration.

        Stops where every message changes by less than `tolerance`.
        """
        changes: list[float] = []
        for _ in range(iterations):
            undamped = undamped_first and self.start is not None
            old = [message.clone() for message in self.messages]
            for place in range(len(self.groups)):
                self._visit(place, 0.0 if undamped else damping, 0.0 if undamped else dropout)
            self.start = None
            changes.append(max(float((new - was).abs().max()) for new, was in zip(self.messages, old, strict=True)))
            if changes[-1] < tolerance:
                break
        return changes

    def belief(self) -> Gaussian:
        """Marginals of all variables: prior x messages; a variable that has heard nothing has an infinite variance."""
        information, precision = self._natural()
        mean = torch.where(precision > 0, information / precision.where(precision > 0, 1), 0)
        return Gaussian(mean, precision.reciprocal())

    def energy(self) -> float:
        """Squared residuals / (2 sigma^2) and -log priors, at the marginals' means."""
        mean = self.belief().mean
        information, precision = self.prior
        centre = information / precision.where(precision > 0, 1)
        total = 0.5 * (precision * (mean - centre).square()).sum()
        for index, residual, sigma in self.groups:
            total = total + 0.5 * residual(mean[index]).square().sum() / sigma**2
        return float(total)

    def _natural(self) -> Tensor:
        total = torch.stack(self.prior)
        for group, message in zip(self.groups, self.messages, strict=True):
            total = total.index_add(1, group.index.flatten(), message.flatten(1))
        return total

    def _visit(self, place: int, damping: float, dropout: float) -> None:
        """New messages of one group."""
        (index, residual, sigma), old = self.groups[place], self.messages[place]
        point = (self.belief().mean if self.start is None else self.start)[index].detach().requires_grad_()
        value = residual(point)
        (jacobian,) = torch.autograd.grad(value.sum(), point)
        information, precision = self._natural()[:, index] - old
        known = precision > 0
        mean = information / precision.where(known, 1)
        constant = (value - (jacobian * point).sum(-1)).detach()
        spread = torch.where(jacobian == 0, 0, jacobian.square() / precision.where(known, 0))
        others = ~torch.eye(index.shape[1], dtype=torch.bool)
        noise = sigma**2 + torch.where(others, spread[:, None, :], 0).sum(-1)
        shift = constant[:, None] + torch.where(others, (jacobian * mean.where(known, 0))[:, None, :], 0).sum(-1)
        new = torch.stack([-jacobian * shift, jacobian.square()]) / noise
        new = torch.lerp(old, new, 1 - damping)
        if dropout:
            new = torch.where(torch.rand(index.shape) < dropout, old, new)
        self.messages[place] = new


def _check_anchors(precision: Tensor, groups: list[Factors]) -> None:
    """Spreads from priors and factors of one variable along the factors; whoever is not reached floats freely."""
    anchored = precision > 0
    for group in groups:
        if group.index.shape[1] == 1:
            anchored = anchored.index_fill(0, group.index.flatten(), True)
    for _ in range(len(precision)):
        before = int(anchored.sum())
        for group in groups:
            reached = group.index[anchored[group.index].any(1)]
            anchored = anchored.index_fill(0, reached.flatten(), True)
        if int(anchored.sum()) == before:
            break
    if not bool(anchored.all()):
        loose = (~anchored).nonzero().flatten().tolist()
        raise InvalidInput(
            f"{len(loose)} of {len(precision)} variables have no prior and no observation",
            where="ScalarGraph",
            got=f"variables {loose[:8]}",
            cause="precision 0, and no factor that ties them to something known",
            fix="give them a prior, or add a factor of one variable",
        )
