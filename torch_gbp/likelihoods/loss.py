"""The loss of a likelihood as a torch function: what it sends backward, to beliefs, to plain tensors, and as a probe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function

from torch_gbp.autocast import full_precision
from torch_gbp.autograd import passes
from torch_gbp.autograd.bridge import gradients_of
from torch_gbp.autograd.probes import attached, due
from torch_gbp.autograd.sweep import Outcome, Sweep, announce
from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.likelihoods.evidence import Evidence

if TYPE_CHECKING:
    from torch_gbp.likelihoods.base import Likelihood


class Loss(Function):
    """-log evidence of a batch; the outputs are known where `variance` is None, and `mixed` with plain tensors beneath."""

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, variance: Tensor | None, target: Tensor, known: Tensor | None, likelihood: Likelihood, mixed: bool
    ) -> Tensor:
        at = mean.detach(), None if variance is None else variance.detach()
        evidence = _evidence(likelihood, *at, target, known is not None and known.ndim > 1).masked(known)
        log_evidence = evidence.log.sum()
        outcome = Outcome(target, evidence.log, lambda y: _evidence(likelihood, *at, y).log) if known is None else None
        learn = likelihood.m_step(_belief(*at), target, known) if likelihood.learns else None
        ctx.likelihood, ctx.mixed = likelihood, mixed
        ctx.sweep = Sweep(len(mean), log_evidence, likelihood, likelihood.power, variance is None, outcome, learn)
        ctx.save_for_backward(evidence.score, evidence.precision, mean, variance, target, known)
        return -log_evidence

    @staticmethod
    def backward(ctx: Any, *factor: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # which it is in a backward pass that makes a graph
            raise InvalidInput(
                "the loss of a likelihood has first derivatives alone",
                where="loss.backward()",
                got="create_graph=True",
                cause="a penalty on gradients, or a Hessian",
                fix="take these from a torch loss, e.g. F.cross_entropy(outputs, y, reduction='sum')",
            )
        ctx.sweep.factor = factor[0]
        announce(ctx.sweep)
        with full_precision(factor[0].device):  # it may be called under autocast too
            return Loss.send(ctx, factor[0])

    @staticmethod
    def send(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the outputs, and what goes to the marginals beside them."""
        score, precision, mean, variance, target, known = ctx.saved_tensors
        passes.begin(ctx.mixed and variance is not None)
        if variance is None:
            _probe(mean, partial(_scores, ctx.likelihood, mean, known), factor, moments=True)
            return score * -factor, None, None, None, None, None
        message = gradients_of([score * factor, precision * factor])
        if not ctx.mixed:
            return *message, None, None, None, None
        _tell([mean, variance], message)
        _probe(mean, partial(_diagonal, precision), factor, moments=False)
        truth = _gradient(ctx.likelihood, Gaussian(mean, variance), target, known)
        return *(part * factor for part in truth), None, None, None, None


def _evidence(likelihood: Likelihood, mean: Tensor, variance: Tensor | None, target: Tensor, whole: bool = False) -> Evidence:
    """The evidence; where the outputs are known its precision is not asked for, unless the `whole` of it is."""
    if variance is not None or whole:
        return likelihood.evidence(mean, torch.zeros_like(mean) if variance is None else variance, target)
    log, score = likelihood.known_evidence(mean, target)
    return Evidence(log, score, score)


def _belief(mean: Tensor, variance: Tensor | None) -> Gaussian:
    return Gaussian(mean, torch.zeros_like(mean) if variance is None else variance)


def _tell(outputs: Sequence[Tensor], message: Sequence[Any]) -> None:
    """Sends the message to the marginals of layers that carry moments, beside the gradients."""
    pairs = [own for own in attached() if own.moments and all(half.requires_grad for half in own.halves.values())]
    halves = [half for own in pairs for half in own.halves.values()]
    if not halves:
        return
    with passes.messages():
        found = torch.autograd.grad(outputs, halves, message, retain_graph=True, allow_unused=True)
    for own, score, precision in zip(pairs, found[::2], found[1::2], strict=True):
        if score is not None and precision is not None:
            own.add_message(Message(score.neg(), own.centred_precision(precision)))


def _probe(output: Tensor, scores: Callable[[torch.Generator], Tensor], weight: Tensor, moments: bool) -> None:
    """Sends a probe for every optimizer that asks for one, to layers that could carry moments too if they did not."""
    for prober in due() if output.requires_grad else ():
        prober.probe(output, scores, weight, moments)


def _scores(likelihood: Likelihood, output: Tensor, known: Tensor | None, generator: torch.Generator) -> Tensor:
    """Scores of drawn targets; examples whose target is not known say nothing."""
    score = likelihood.probe(output.detach(), generator)
    return Evidence(score.new_zeros(len(score)), score, score).masked(known).score


def _diagonal(precision: Tensor, generator: torch.Generator) -> Tensor:
    """Independent scores of random sign, whose squares are the message's precision: for outputs that are beliefs."""
    signs = torch.randint(0, 2, precision.shape, generator=generator, device=precision.device)
    return precision.clamp_min(0).sqrt() * (2 * signs - 1)


@torch.enable_grad()
def _gradient(likelihood: Likelihood, output: Gaussian, target: Tensor, known: Tensor | None) -> tuple[Tensor, ...]:
    """Derivatives of the loss by the moments of the outputs, by autograd through the log evidence."""
    leaves = [part.detach().requires_grad_() for part in output]
    loss = -likelihood.evidence(leaves[0], leaves[1], target).masked(known).log.sum()
    return torch.autograd.grad(loss, leaves, materialize_grads=True)
