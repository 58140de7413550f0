"""The common part of all likelihoods: checks, the loss, and how its backward becomes the message."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from torch_gbp.autocast import full_precision
from torch_gbp.autograd import passes
from torch_gbp.autograd.sweep import MStep
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import POSITIVE, require, require_kind, require_moments
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.standardise import Standardise
from torch_gbp.likelihoods.evidence import Evidence
from torch_gbp.likelihoods.loss import Loss
from torch_gbp.likelihoods.predicting import Predicting, wide
from torch_gbp.likelihoods.predicting import validation as validation
from torch_gbp.likelihoods.targets import check_known, require_finite_output

MANY = 40  # batches in a pass; with fewer, smaller steps were better


class Likelihood(Predicting):
    """p(target | output): `loss = likelihood(output, target)` is -log evidence, its backward the message.

    The loss is the sum over the batch of -log p(y) under the output's belief, or at the output itself where that is a plain
    tensor (the means sweep). Neither its value nor its gradients are ever tempered: `power` multiplies the messages, as they
    enter the marginals. power = 1 is Bayes' rule for the model as written; a larger power counts every example that many times (a
    cold posterior), and a factor on the loss acts in the same way.
    Predictions take `variance_factor` times the outputs' variance: a factor that makes up for a cold posterior, too sure of
    its means, and for the correlations that a forward pass leaves out; and, for classes, the outputs divided by `temperature`.

    Args:
        power: likelihood power, positive and finite; None takes `automatic_power`, which `MessagePassing` raises for
            networks with more weights than examples (optim/message_weight.py), and `automatic_variance_factor`.

    Raises:
        InvalidInput: power not positive and finite; outputs that are no Gaussian; targets whose shape, type or values do not fit.
    """

    automatic_power, automatic_variance_factor = 1.0, 1.0
    targets: Standardise | None  # statistics of the targets, of a likelihood that standardises them
    learns = False  # True: `learn` is called at every step
    hold = 0.0  # share of the passes before the first such step
    steady = False  # True: the curvature at the outputs does not fall as the fit gets better

    def __init__(self, power: float | None = 1.0) -> None:
        automatic = power is None
        super().__init__(self.automatic_variance_factor if automatic else 1.0)
        self.targets, self.automatic = None, automatic
        power = self.automatic_power if power is None else power
        self.power = require("power", power, POSITIVE, type(self).__name__, fix="use 1")

    def forward(self, output: Gaussian | Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """-log evidence of the batch (scalar); its backward sends the message (g, G) to the output.

        A belief gets the gradients (-g, G / 2), those of the expected loss to second order (bridge.py). Where a plain tensor
        that wants a gradient has entered the layers, the gradients are those of the loss itself, and the marginals get their
        messages beside them. A plain tensor of outputs gets the gradient of the loss, and, in the steps in which an optimizer
        asks for it, a probe (`torch_gbp.autograd.probes`).

        Args:
            output, target: the outputs' belief, or the outputs, and the targets.
            known: which targets are known, (n,) or as the outputs are shaped; None for all. The others may be any valid
                value: their examples count for the step, and send nothing.
        """
        mixed = passes.left()
        mean, variance = map(wide, output) if isinstance(output, Gaussian) else (wide(self._plain(output)), None)
        self.validate(Gaussian(mean, mean if variance is None else variance), target, known=variance is None)
        check_known(known, mean, type(self).__name__)
        with full_precision(mean.device):
            return Loss.apply(mean, variance, target, known, self, mixed)  # type: ignore[return-value]

    def _plain(self, output: Any) -> Tensor:
        """Outputs that are a plain tensor."""
        if not isinstance(output, Tensor) or not output.is_floating_point():
            raise InvalidInput(
                "the output must be a Gaussian or a floating-point tensor",
                where=type(self).__name__,
                got=str(getattr(output, "dtype", type(output).__name__)),
                cause="a network that returns several things",
                fix="pass the tensor of outputs alone",
            )
        return output

    def log_evidence(self, output: Gaussian, target: Tensor) -> Tensor:
        """log p(y) of every example, (n,), without starting a sweep."""
        self.validate(output, target)
        return self.evidence(output.mean, output.variance, target).log

    def validate(self, output: Gaussian, target: Tensor, known: bool = False) -> None:
        """Raises InvalidInput unless the outputs are a sound belief, or finite where they are `known`, and the targets fit."""
        if known:
            require_finite_output(output.mean, type(self).__name__)
        else:
            require_moments(*output, type(self).__name__)
        require_kind("target", target, Tensor, type(self).__name__, fix="pass a tensor")
        self.check(output, target)

    def check(self, output: Gaussian, target: Tensor) -> None:
        """Raises InvalidInput unless the targets fit the outputs."""
        raise NotImplementedError

    def evidence(self, mean: Tensor, variance: Tensor, target: Tensor) -> Evidence:
        """Log evidence and untempered message, from the outputs' moments."""
        raise NotImplementedError

    def known_evidence(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Log evidence per example (n,) and score, where the outputs are known."""
        found = self.evidence(output, torch.zeros_like(output), target)
        return found.log, found.score

    def evidence_at(self, mean: Tensor, variance: Tensor, target: Tensor, at: Tensor | None) -> Evidence:
        """`evidence` for iterated inference; `at` is the mean of the outputs' belief, None at first.

        Likelihoods that linearise do it there; the others do not look at it.
        """
        return self.evidence(mean, variance, target)

    def probe(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """The score at the outputs of targets that are drawn from the likelihood there; its square is G on average.

        Args:
            output: outputs (n, ...), known.
            generator: of random numbers, on their device.

        Raises:
            InvalidInput: a likelihood without targets to draw.
        """
        raise InvalidInput(
            "targets cannot be drawn, so the means sweep has no precisions",
            where=type(self).__name__,
            cause="a likelihood of your own without `probe`",
            fix="define probe(output, generator): the score of drawn targets; or use a network of GBP layers",
        )

    def learn(
        self, mean: Tensor, variance: Tensor, target: Tensor, seen: bool, share: float, known: Tensor | None = None
    ) -> None:
        """Learns parameters of the likelihood itself; called when a step takes the batch's messages, if `learns`.

        Args:
            mean, variance, target: the outputs' belief in that sweep, and the targets.
            seen: whether the marginals of the weights knew these targets (False: they were a cavity without them).
            share: the batch's share of the training data, at most 1; under torch.distributed that of this process's part of it.
            known: which of the targets are known, as they are shaped; None for all.
        """
        raise NotImplementedError

    def rate_factor(self, batches: float, layers: int) -> float:
        """Factor on the store's own rate where a pass has so many batches and the network so many layers with weights:
        min(1, sqrt(B / 40)), see benchmarks/README.md."""
        return min(1.0, math.sqrt(batches / MANY))

    def m_step(self, output: Gaussian, target: Tensor, known: Tensor | None = None) -> MStep | None:
        """`learn` from the known targets, for the step that takes the batch's messages; None where there is nothing to learn."""
        if not self.learns or not (known is None or bool(known.any())):
            return None
        if known is not None and known.ndim > 1:
            return partial(self.learn, *output, target, known=known)
        parts = (*output, target) if known is None else (part[known] for part in (*output, target))
        return partial(self.learn, *parts)

    def extra_repr(self) -> str:
        set_to = {
            "variance_factor": float(self.variance_factor),
            "temperature": 1.0 if self.temperature is None else float(self.temperature),
        }
        shown = {name: f"{value:g}" for name, value in set_to.items() if value != 1}
        settings = [f"{name}={value}" for name, value in (self.settings() | shown).items()]
        return ", ".join([*settings, f"power={self.power:g}{' (automatic)' * self.automatic}"])

    def settings(self) -> dict[str, float | None]:
        """What the likelihood shows of itself besides its power."""
        return {}
