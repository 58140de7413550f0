"""Which of two backward passes is under way: that of messages, or that of true gradients; and what the second needs.

Networks of GBP layers alone know one pass, which carries messages. Where a plain tensor that wants a gradient enters such a
layer, the likelihood sends messages to the marginals and, in a pass of their own, derivatives of the loss to everybody else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput


class _State(threading.local):
    keep = False  # factors keep their inputs, which true gradients are taken at
    true = False  # the pass of true gradients is under way
    means = False  # layers compute with the means of their weights alone
    checked = True  # and check there what comes in, and who wrote to their weights
    linearised = False  # layers expand to first order at the means, in place of matching moments


_state = _State()


def keeping() -> bool:
    """Whether factors keep their inputs: a plain tensor that wants a gradient has entered a GBP layer."""
    return not torch.compiler.is_compiling() and _state.keep


def entered(mean: Tensor, variance: Tensor | None) -> None:
    """Called by a layer with what comes in: a plain tensor, or a belief around one (known variance), may want a gradient."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return
    if mean.requires_grad and not (variance is not None and variance.requires_grad):
        _state.keep = True


def left() -> bool:
    """Called by a likelihood, where a forward pass ends; tells whether a plain tensor that wants a gradient had entered."""
    if torch.compiler.is_compiling():
        return False
    found, _state.keep = _state.keep, False
    return found


@contextmanager
def means_sweep() -> Iterator[None]:
    """A means sweep: inside, networks of GBP layers are plain networks at the means of their weights.

    Their outputs are tensors, which any likelihood takes; the precisions of messages then come from probes. Layers outside that
    carry moments, as in evaluation, predict with what was learnt inside.

    >>> import torch_gbp as gbp
    >>> with means_sweep():
    ...     output = gbp.GBPLinear(3, 2)(torch.ones(1, 3))
    >>> type(output).__name__
    'Tensor'
    """
    before, _state.means = _state.means, True
    try:
        yield
    finally:
        _state.means = before


@contextmanager
def unchecked_means_sweep() -> Iterator[None]:
    """A means sweep whose layers are torch's functions and nothing else, which torch's transforms can follow.

    Weights that are drawn, or moved, may stand there in the place of the means. A check reads numbers off a tensor, and within a
    transform it has none.
    """
    before, _state.means, _state.checked = (_state.means, _state.checked), True, False
    try:
        yield
    finally:
        _state.means, _state.checked = before


@contextmanager
def linearised_sweep() -> Iterator[None]:
    """A sweep of moments to first order at the means: inside, GBP layers are linearised, in place of matching moments.

    A product w a has no variance v_w v_a then: the predictive of what `Inference(approximation="linearised")` learnt.

    >>> import torch_gbp as gbp
    >>> layer, belief = gbp.GBPLinear(1, 1, bias=False, prior=gbp.Prior(2.0)), gbp.Gaussian(torch.zeros(1, 1), torch.ones(1, 1))
    >>> with linearised_sweep():
    ...     first = layer(belief)
    >>> round((layer(belief).variance - first.variance).item(), 4)
    2.0
    """
    before, _state.linearised = _state.linearised, True
    try:
        yield
    finally:
        _state.linearised = before


def linearised() -> bool:
    """Whether layers are linearised."""
    return _state.linearised


def sweep(name: str | None) -> AbstractContextManager[None]:
    """The sweep of this name: "means", or "moments", what layers with moments do by themselves (None likewise)."""
    return means_sweep() if name == "means" else nullcontext()


def require_sweep(name: Any, where: str) -> Any:
    """Raises InvalidInput unless this is a sweep's name, or None."""
    if name not in (None, "means", "moments"):
        fix = "use sweep='means' or sweep='moments', or leave it out"
        raise InvalidInput("no such sweep", where=where, got=repr(name), fix=fix)
    return name


def means() -> bool:
    """Whether a means sweep is under way."""
    return _state.means


def checked() -> bool:
    """Whether layers check what comes in during a means sweep."""
    return _state.checked


def true() -> bool:
    """Whether the backward pass under way is that of true gradients."""
    return not torch.compiler.is_compiling() and _state.true


def begin(true: bool) -> None:
    """Called by a likelihood, where a backward pass begins; when that ends, passes are those of messages again."""
    _state.true = true
    if true:
        torch.autograd.Variable._execution_engine.queue_callback(_end)  # type: ignore[attr-defined]


@contextmanager
def messages() -> Iterator[None]:
    """A pass of messages within that of true gradients."""
    before, _state.true = _state.true, False
    try:
        yield
    finally:
        _state.true = before


def require_inputs(inputs: Sequence[Any]) -> None:
    """Raises InvalidInput if a factor did not keep what a true gradient is taken at."""
    if not inputs:
        raise InvalidInput(
            "a plain parameter wants a gradient through a layer that did not expect it",
            where="loss.backward()",
            cause="a Gaussian both of whose moments were computed by plain parameters",
            fix="pass the plain network's output itself, or Gaussian(output, variance.detach())",
        )


def _end() -> None:
    _state.true = False
