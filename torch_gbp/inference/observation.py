"""ObservationNode: what a likelihood says about the outputs, for the examples whose target is known."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import shown
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.inference.damping import Iteration
from torch_gbp.inference.node import Node
from torch_gbp.likelihoods import Likelihood
from torch_gbp.likelihoods.evidence import Evidence


class ObservationNode(Node):
    """The factor p(target | output)^power at the top of a graph; its first message of a batch is not damped.

    Args:
        likelihood, target: of the outputs; unknown targets may be any valid value. A likelihood that is linearised is so at the
            belief's mean.
        known: which targets are known, (n,) or as the outputs are shaped; None for all. The others say nothing.
        proper: whether evidence that leaves the outputs no variance is refused; exact messages ask it product by product.

    Raises (when it first speaks):
        InvalidInput: targets that do not fit the likelihood, a mask of another shape.
    """

    found: Evidence | None = None  # what was said last, of the outputs
    outputs: Gaussian

    def __init__(self, likelihood: Likelihood, target: Tensor, known: Tensor | None = None, proper: bool = True) -> None:
        self.likelihood, self.target, self.known, self.proper = likelihood, target, known, proper
        self.at: Tensor | None = None
        self._checked = False

    def up(self, now: Iteration) -> None:
        """Nothing is above."""

    def down(self, now: Iteration) -> None:
        self.outputs = Gaussian(*self.lower.cavity_moments())
        self.found = self._evidence(*self.outputs, self.at)
        message = self._message(self.found.score, self.found.precision).tempered(self.likelihood.power)
        self.lower.receive(message, now, now.rate if now.number else 1.0)
        self.at, _ = self.lower.belief()

    def energy(self) -> float:
        """-log p(target | output) at the belief means."""
        mean, _ = self.lower.belief()
        return -self.likelihood.power * float(self._evidence(mean, mean.new_zeros(mean.shape), mean).log.sum())

    def _message(self, score: Tensor, precision: Tensor) -> Message:
        mean, variance = self.outputs
        if self.proper:
            return self.outputs.evidence_message(score, precision)
        rest = 1 - variance * precision
        return Message.centred(score / rest, precision / rest, mean)

    def _evidence(self, mean: Tensor, variance: Tensor, at: Tensor | None) -> Evidence:
        if not self._checked:
            self._check(Gaussian(mean, variance))
        return self.likelihood.evidence_at(mean, variance, self.target, at).masked(self.known)

    def _check(self, output: Gaussian) -> None:
        self.likelihood.check(output, self.target)
        self._checked = True


def require_likelihood(likelihood: Any) -> None:
    """Raises InvalidInput unless it is a likelihood, or None."""
    if not (likelihood is None or isinstance(likelihood, Likelihood)):
        raise InvalidInput(
            "likelihood must be a likelihood, or None for outputs that are observed exactly",
            where="FactorGraph",
            got=shown(likelihood),
            cause="targets in its place, or a class in that of its instance",
            fix="pass target=y by name, and e.g. torch_gbp.Softmax() as the likelihood",
        )


def observed_outputs(output: Gaussian, target: Any, known: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Outputs that are observed exactly, and their mask as they are shaped (None for all).

    Raises:
        InvalidInput: targets of another shape or type than the outputs, or not finite where they are known; another mask.
    """
    if not isinstance(target, Tensor) or target.shape != output.shape or target.dtype != output.dtype:
        got = f"{target.dtype} {tuple(target.shape)}" if isinstance(target, Tensor) else shown(target)
        raise InvalidInput(
            "without a likelihood the targets are the outputs themselves",
            where="FactorGraph",
            got=f"targets {got}, outputs {output.dtype} {tuple(output.shape)}",
            cause="labels, or an axis too few",
            fix="pass a likelihood, or targets of the outputs' shape and dtype",
        )
    entries = None if known is None else known.view(*known.shape, *(1 for _ in output.shape[known.ndim :])).expand_as(target)
    if not bool((target if entries is None else target[entries]).isfinite().all()):
        raise InvalidInput(
            "targets are NaN or Inf", where="FactorGraph", cause="missing values", fix="mark those that are there in `observed`"
        )
    return target, entries
