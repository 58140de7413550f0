"""Node: one factor, or all factors of a layer, between a variable below and one above, with what it keeps for a batch.

A visit to a node goes up (message to the variable above), down (messages to the variable below and to weights), or both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torch_gbp.autograd.bridge import Moments, Rule
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.nodes.pace import Kept, Pace
from torch_gbp.nodes.variable import Variable
from torch_gbp.nodes.weights import WeightBelief


class Bound(NamedTuple):
    """A rule with its options: a factor without weights.

    `hold`, if there is one, makes a faster one for inputs that are observed, and so stay the same in all iterations.
    """

    rule: Rule
    options: Any
    hold: Callable[[Tensor], Bound] | None = None

    def forward(self, mean: Tensor, variance: Tensor) -> tuple[Moments, Any]:
        return self.rule.forward(self.options, mean, variance)

    def backward(self, saved: Any, score: Tensor, precision: Tensor) -> Moments:
        to_mean, to_variance = self.rule.backward(self.options, saved, score, precision)[:2]
        assert to_mean is not None and to_variance is not None
        return to_mean, to_variance


class Node:
    """One layer's factors. `prior` is the unary prior of the variable above, `noise` the variance of the residual."""

    prior: Message | None = None
    noise = 0.0
    weights: tuple[WeightBelief, ...] = ()
    lower: Variable
    upper: Variable

    def connect(self, lower: Variable, upper: Variable) -> None:
        self.lower, self.upper = lower, upper

    def up(self, pace: Pace) -> None:
        """Sends to the variable above."""
        raise NotImplementedError

    def down(self, pace: Pace) -> None:
        """Sends to the variable below and to the weights, if there are any."""
        raise NotImplementedError

    def finish(self) -> None:
        """After the last visit: what is only needed then."""

    def predicted(self, mean: Tensor) -> Tensor:
        """What the factor says the variable above is, at the means of the others."""
        raise NotImplementedError

    def energy(self) -> float:
        """Squared residuals at the belief means / (2 noise), and -log prior of the variable above and the weights."""
        own = self.upper.energy() + sum(weight.energy() for weight in self.weights)
        if not self.noise:
            return own
        residual = self.predicted(self.lower.belief()[0]) - self.upper.belief()[0]
        return own + float(residual.square().sum()) / (2 * self.noise)

    def kept(self) -> list[Kept]:
        """Everything that is damped."""
        return [self.lower.above, *(weight.said for weight in self.weights)]


class ShapeNode(Node):
    """A reshape: the variable above is the one below, entry by entry in the same order."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def up(self, pace: Pace) -> None:
        mean, variance = self.lower.upward()
        variance = torch.zeros_like(mean) if variance is None else variance
        self.shape = mean.shape
        self.upper.predict(self.module(mean), self.module(variance))

    def down(self, pace: Pace) -> None:
        rest = self.upper.rest()
        if rest is not None:
            information, precision = (part.expand_as(self.upper.upward()[0]).reshape(self.shape) for part in rest)
            self.lower.replace(Message(information, precision))


class SingleNode(Node):
    """Factors without weights, whose input is in no other factor: an activation or an average.

    The message to the input is the exact quotient, posterior / cavity.
    """

    def __init__(self, bound: Bound, noise: float, prior: Message | None) -> None:
        self.bound, self.noise, self.prior = bound, noise, prior

    def up(self, pace: Pace) -> None:
        mean, variance = self.lower.upward()
        self.cavity = mean, torch.zeros_like(mean) if variance is None else variance
        (out_mean, out_var), self.saved = self.bound.forward(*self.cavity)
        self.upper.predict(out_mean, out_var + self.noise)

    def down(self, pace: Pace) -> None:
        message = self.bound.backward(self.saved, *self.upper.answer())
        self.lower.hear(Gaussian(*self.cavity).evidence_message(*message), pace, pace.rate)

    def predicted(self, mean: Tensor) -> Tensor:
        return self.bound.forward(mean, torch.zeros_like(mean))[0][0]


class LinearNode(Node):
    """The factors y = f(W a + b) + e of a linear or convolutional layer, with summed messages.

    Inputs and weights enter with their beliefs, which hold this layer's own messages. For each factor one dual number, its
    last score g, takes them out of the mean in one go (the Onsager term of AMP): with a the variance that they bring,

        m = f(u) - a g_old,   v = a + noise,   (g, G) = answer of the variable above,   g_old <- damped g

    Messages to inputs and weights are the rule's, centred at the beliefs. At a fixed point the force on every mean is the
    gradient of the energy, since then g = -(residual at the belief means) / noise.
    Source: GBP Learning (arXiv 2311.14649) section 3.2, its messages summed as in AMP (Donoho, Maleki & Montanari 2009).
    """

    def __init__(
        self,
        affine: Bound,
        activation: Bound | None,
        weights: tuple[WeightBelief, ...],
        noise: float,
        prior: Message | None,
    ) -> None:
        self.affine, self.activation, self.weights, self.noise, self.prior = affine, activation, weights, noise, prior
        self.dual = Kept()

    def connect(self, lower: Variable, upper: Variable) -> None:
        super().connect(lower, upper)
        if lower.values is not None and lower.known is None and self.affine.hold is not None:
            self.affine = self.affine.hold(lower.values)

    def up(self, pace: Pace) -> None:
        self.input = self.lower.belief()
        (mean, variance), self.saved = self.affine.rule.forward(self.affine.options, *self.input, *self._moments())
        if self.activation is not None:
            (mean, variance), self.bent = self.activation.forward(mean, variance)
        if self.dual.parts is not None:
            mean = torch.addcmul(mean, variance, self.dual.parts[0], value=-1)
        self.upper.predict(mean, variance + self.noise)

    def down(self, pace: Pace) -> None:
        score, precision = self.upper.answer()
        self.dual.keep([score], pace, pace.rate)
        if self.activation is not None:
            score, precision = self.activation.backward(self.bent, score, precision)
        to_mean, to_variance, *to_weights = self.affine.rule.backward(self.affine.options, self.saved, score, precision)
        if to_mean is not None and to_variance is not None:
            self.lower.hear(Message.centred(to_mean, to_variance, self.input[0]), pace, pace.rate)
        for weight, to, sharp in zip(self.weights, to_weights[::2], to_weights[1::2], strict=False):
            if weight.learn and to is not None and sharp is not None:
                weight.hear(to, sharp, pace)

    def predicted(self, mean: Tensor) -> Tensor:
        (mean, variance), _ = self.affine.rule.forward(self.affine.options, mean, None, *self._moments())
        return mean if self.activation is None else self.activation.forward(mean, torch.zeros_like(variance))[0][0]

    def kept(self) -> list[Kept]:
        return [self.dual, *super().kept()]

    def _moments(self) -> list[Tensor | None]:
        """Mean and variance of the weights, then of the biases."""
        found: list[Tensor | None] = [part for weight in self.weights for part in (weight.mean, weight.variance)]
        return found if len(found) == 4 else [*found, None, None]
