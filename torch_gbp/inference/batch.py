"""Batch: a batch and who takes part in its visit, as iterated inference sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.likelihoods import Likelihood
from torch_gbp.likelihoods.targets import MISSING
from torch_gbp.optim.message_passing import MessagePassing
from torch_gbp.optim.message_weight import full_power
from torch_gbp.optim.stores.base import write
from torch_gbp.weights.attached import plain_parameters
from torch_gbp.weights.parameter import GaussianParameter


class Batch(NamedTuple):
    """A batch, and who takes part in its visit; the weights are at their cavity as it begins."""

    model: nn.Module
    likelihood: Likelihood
    propagate: MessagePassing
    x: Tensor | Sequence[Tensor]
    y: Tensor

    def output(self) -> Gaussian:
        """The network's output in a plain forward sweep."""
        return self.model(*self.x) if isinstance(self.x, (tuple, list)) else self.model(self.x)

    def row(self, n: int) -> Tensor | tuple[Tensor, ...]:
        """Inputs of one example."""
        return tuple(part[n : n + 1] for part in self.x) if isinstance(self.x, (tuple, list)) else self.x[n : n + 1]  # type: ignore[call-overload, index]

    def labelled(self) -> tuple[Tensor, Tensor | None]:
        """Targets with any class in the place of a missing label, and which are known (None for all)."""
        if self.y.is_floating_point():
            return self.y, None
        known = self.y != MISSING
        return (self.y, None) if bool(known.all()) else (torch.where(known, self.y, 0), known)

    def at_full_power(self) -> Likelihood:
        """The likelihood whose messages count in every iteration as they will in the step, an automatic power included.

        Else what the weights take in would differ from what is taken out of the outputs as their own.
        """
        likelihood = copy(self.likelihood)
        weights = [marginal.mean.numel() for marginal in self.propagate.marginals]
        likelihood.power = full_power(likelihood, weights, self.propagate.param_groups[0]["num_data"])
        likelihood.automatic = False
        return likelihood

    def require_no_plain_parameters(self) -> None:
        """Raises InvalidInput for parameters without marginal that want a gradient: iterated messages bring none."""
        plain = [name for name, parameter in plain_parameters(self.model) if parameter.requires_grad]
        if plain:
            raise InvalidInput(
                "plain parameters are not trained by iterated messages",
                where="Inference",
                got=", ".join(plain[:4]),
                cause="torch layers with weights beneath or between GBP layers",
                fix="use iterations=1, or freeze them with requires_grad_(False)",
            )

    @torch.no_grad()
    def learn_from_outputs(self, messages: Mapping[GaussianParameter, Message]) -> None:
        """Has the step's M step of a likelihood that learns use outputs that know the batch's targets once.

        They are from cavity x the batch's messages (g, G), or from what the store holds if it has no cavity.
        """
        if not self.likelihood.learns:
            return
        with self._informed(messages if self.propagate.store.cavity else {}):
            output = self.output()
        self.propagate.learn_by(partial(self.likelihood.learn, *output, self.y, True))

    @torch.no_grad()
    def log_evidence(self, messages: Mapping[GaussianParameter, Message]) -> Tensor:
        """Log evidence of each example with a target, (n,), in a forward sweep of weights that know these messages (g, G)."""
        y, known = self.labelled()
        with self._informed(messages):
            found = self.likelihood.log_evidence(self.output(), y)
        return found if known is None else found[known]

    @contextmanager
    def _informed(self, messages: Mapping[GaussianParameter, Message]) -> Iterator[None]:
        """Weights that know the batch, and again those from before, whatever happens."""
        before = [(own, own.mean.detach().clone(), own.precision.detach().clone()) for own in messages]
        try:
            for own, message in messages.items():
                write(own, own.batch_prior() * Message.centred(*message, own.mean.detach()))
                own.mark_written()
            yield
        finally:
            for own, mean, precision in before:
                own.mean.copy_(mean)
                own.precision.copy_(precision)
                own.mark_written()
