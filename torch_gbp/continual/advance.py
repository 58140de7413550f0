"""advance: the posterior of one task becomes the prior of the next.

Bayes' rule, task by task: q_t(w) is proportional to q_{t-1}(w) p(D_t | w)^P, with P the likelihood's power. In precisions and
means of Gaussian marginals,

    R_t = R_{t-1} + P sum_{n in D_t} G_n        prior of the next task: N(m_t, 1 / R_t)

An example counts P times in its own task and P times in the prior of the tasks after it, so the tempering is not undone: q_t is
the posterior of all tasks together at power P.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from torch_gbp.convert.modes import freeze_plain
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import PART, Range, listed, require, require_count, require_kind, shown
from torch_gbp.optim.message_passing import MessagePassing
from torch_gbp.weights.attached import marginals, plain_parameters
from torch_gbp.weights.parameter import GaussianParameter

STRENGTH = Range("positive, at most 1e6", lambda value: 0 < value <= 1e6)


@torch.no_grad()
def advance(
    model: nn.Module,
    optimizer: MessagePassing | None = None,
    *,
    drift: float = 0.0,
    strength: float = 1.0,
    plain: Literal["freeze", "learn"] | None = None,
    num_data: int | None = None,
) -> nn.Module:
    """The posterior made the prior: of the next task, or of the next batch of a stream (variational continual learning).

    Every marginal N(m, 1 / R) that learns becomes its own prior, with a precision for each weight (as far as the marginal has):

        m0 <- m,  R <- R0 + strength (R - R0) / h,  1 / R0 <- 1 / R + drift (v_first - 1 / R)

    h is the share of the data that the average site of `AveragedSites` has heard, 1 - prod (1 - rate / batches) over the
    optimizer's steps: it begins at silence, and one pass at the usual rates leaves it at a quarter. Other stores count a batch
    at once, and h is 1; so it is where no optimizer is given. v_first is the variance of the layer's `Prior`.
    Frozen marginals, and weights that received no message, stay what they are. Networks trained by moment sweeps and by
    means sweeps are treated alike, and a `state_dict` has the new priors in it.

    Args:
        model: network with marginals; changed in place.
        optimizer: the one that has learnt the task. What it remembers (momentum, sites, averages, steps of the schedule) is
            forgotten, and it begins the next task; or make another one.
        drift: in [0, 1], how far variances go back to the first prior's, because the weights may have changed since. The means
            stay. 0 for tasks that all hold; for streams that change, about 1 / (batches that count).
        strength: in (0, 1e6], how many times as much what was learnt counts than it says; 1 is Bayes' rule. Factorised
            posteriors know nothing of the correlations between weights and let them go too easily, so more forgets less (the
            strength of elastic weight consolidation). The marginals get narrower likewise.
        plain: what becomes of gains, shifts, biases and other parameters without a posterior, which nothing protects: "freeze"
            them, and the running statistics of normalisation layers, for good; or have them "learn" on and forget.
        num_data: number of examples of the next task, where it differs and the optimizer goes on.

    Raises:
        InvalidInput: no marginals that learn; settings out of range; another network's optimizer; plain parameters that learn,
            and no word about them; a prior that adapts (`LaplacePrior`), which is no Gaussian. Before anything changes.

    Source: variational continual learning, Nguyen et al. 2018, section 2; strengths and cold posteriors, Loo, Swaroop & Turner
    2021 (generalized variational continual learning).

    >>> import torch_gbp as gbp
    >>> layer = gbp.GBPLinear(1, 1, bias=False, prior=gbp.Prior(variance=1.0))
    >>> propagate = MessagePassing(layer.parameters(), num_data=3, store=gbp.Filtering())
    >>> gbp.Regression(1.0)(layer(torch.ones(3, 1)), torch.ones(3, 1)).backward()
    >>> _ = propagate.step()
    >>> _ = advance(layer, propagate)
    >>> layer.weight.prior_message().belief()  # no longer N(0, 1)
    Gaussian(mean=tensor([[0.6000]]), variance=tensor([[0.4000]]))
    """
    learning = _learning(model)
    drift = require("drift", drift, PART, "advance", fix="use 0 to keep everything")
    strength = require("strength", strength, STRENGTH, "advance", fix="use 1, Bayes' rule")
    _require_plain(model, plain)
    if num_data is not None:
        num_data = require_count("num_data", num_data, "advance", fix="leave it out where the next task is as large")
    if optimizer is not None or num_data is not None:
        _require_own(optimizer, model)
    if optimizer is not None:
        optimizer.close()
    for marginal in learning:
        heard = 1.0 if optimizer is None else optimizer.heard(marginal)
        _become_prior(marginal, _precision(marginal, strength / heard, drift))
    if plain == "freeze":
        freeze_plain(model)
    if optimizer is not None:
        optimizer.restart(num_data)
    return model


def _precision(marginal: GaussianParameter, factor: float, drift: float) -> Tensor:
    """The precision of the next prior: what was learnt times the factor, then the drift."""
    precision = torch.lerp(marginal.floor.expand_as(marginal.precision), marginal.without_surplus(), factor)
    if not drift:
        return precision
    variance = precision.reciprocal()
    return (variance + drift * (marginal.prior.width - variance)).reciprocal()


def _become_prior(marginal: GaussianParameter, precision: Tensor) -> None:
    """The marginal and its prior are both N(mean, 1 / precision) from now on; what no example reached keeps its prior."""
    marginal.advances += 1
    if marginal.fresh():
        return
    learnt = marginal.without_surplus() != marginal.floor
    marginal.prior_mean = torch.where(learnt, marginal.mean.detach(), marginal.centre)
    marginal.set_prior_precision(precision)
    marginal.prior = replace(marginal.prior, mean=0.0)  # the one that it was built with says no longer where it is
    marginal.precision.copy_(precision)
    marginal.surplus = 0.0
    marginal.mark_written()


def _learning(model: nn.Module) -> list[GaussianParameter]:
    """The marginals of a network that are not frozen."""
    require_kind("model", model, nn.Module, "advance", fix="pass a network with marginals")
    found = [own for own in marginals(model).values() if own.mean.requires_grad]
    if not found:
        raise InvalidInput(
            "the network has no marginals that learn",
            where="advance",
            cause="a torch network as it is, or all of it frozen",
            fix="model = torch_gbp.from_torch(model), before it is trained",
        )
    adapting = [own for own in found if own.prior.adapts]
    if adapting:
        raise InvalidInput(
            f"the message of a {type(adapting[0].prior).__name__} follows the marginal, and has no place for a posterior",
            where="advance",
            got=f"{len(adapting)} of {len(found)} marginals with such a prior",
            fix="use Prior in networks that learn task after task",
        )
    return found


def _require_plain(model: nn.Module, plain: str | None) -> None:
    """Raises InvalidInput where parameters without a posterior learn, and nobody said what becomes of them."""
    if plain not in (None, "freeze", "learn"):
        fix = 'use "freeze", or "learn"'
        raise InvalidInput('plain must be "freeze" or "learn"', where="advance", got=shown(plain), fix=fix)
    names = [name for name, parameter in plain_parameters(model) if parameter.requires_grad]
    if names and plain is None:
        raise InvalidInput(
            f"{len(names)} parameters have no posterior that could become a prior",
            where="advance",
            got=listed(names, most=6),
            cause="biases, gains and shifts, which from_torch leaves plain",
            fix='say plain="freeze", or plain="learn" to have them learn on and forget; '
            "from_torch(which=lambda module, name: True) makes them Gaussian",
        )


def _require_own(optimizer: MessagePassing | None, model: nn.Module) -> None:
    require_kind("optimizer", optimizer, MessagePassing, "advance", fix="pass the MessagePassing that trained the network")
    assert optimizer is not None
    known = set(map(id, marginals(model).values()))
    if any(id(own) not in known for own in optimizer.marginals):
        raise InvalidInput(
            "the optimizer is another network's",
            where="advance",
            got=f"{len(optimizer.marginals)} marginals, not all of this network",
            cause="a copy of the network, or a head that was widened since",
            fix="pass the optimizer's own network, or leave the optimizer out and make a new one",
        )
