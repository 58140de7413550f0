"""Node: one factor, or all factors of a layer, between the variables below and one above, with what it keeps for a batch.

A node is visited upwards (message to the variable above), downwards (messages to the variables below and to weights), or both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.inference.damping import DampedMessage, Iteration
from torch_gbp.inference.variable import Edge, Variable
from torch_gbp.inference.weights import WeightBelief


class Factor(Protocol):
    """A factor without weights: moments of its output from those of its inputs, and centred messages to the inputs."""

    def moments(self, inputs: Sequence[Moments]) -> tuple[Moments, Any]:
        """Moments of the output, and what `messages` needs."""
        ...

    def messages(self, saved: Any, score: Tensor, precision: Tensor) -> Sequence[Moments]:
        """(g, G) to each input, from (g, G) to the output."""
        ...


class Bound(NamedTuple):
    """A rule with its options; as it is, a factor of one input without weights.

    `hold`, if there is one, makes a faster one for inputs that are observed, and so stay the same in all iterations.
    """

    rule: Rule
    options: Any
    hold: Callable[[Tensor], Bound] | None = None

    def moments(self, inputs: Sequence[Moments]) -> tuple[Moments, Any]:
        return self.forward(*inputs[0])

    def messages(self, saved: Any, score: Tensor, precision: Tensor) -> Sequence[Moments]:
        return [self.backward(saved, score, precision)]

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
    lowers: Sequence[Edge] = ()
    upper: Variable

    @property
    def lower(self) -> Edge:
        """The only edge to a variable below."""
        return self.lowers[0]

    def connect(self, lowers: Sequence[Edge], upper: Variable) -> None:
        self.lowers, self.upper = lowers, upper

    def up(self, now: Iteration) -> None:
        """Sends to the variable above."""
        raise NotImplementedError

    def down(self, now: Iteration) -> None:
        """Sends to the variables below and to the weights, if there are any."""
        raise NotImplementedError

    def finish(self) -> None:
        """After the last visit: what is only needed then."""

    def predicted(self, *means: Tensor) -> Tensor:
        """What the factor says the variable above is, at the means of the others."""
        raise NotImplementedError

    def energy(self) -> float:
        """Squared residuals at the belief means / (2 noise), and -log prior of the variable above and the weights."""
        own = self.upper.energy() + sum(weight.energy() for weight in self.weights)
        if not self.noise:
            return own
        return own + self.cost(self.predicted(*(edge.belief_mean() for edge in self.lowers)) - self.upper.belief_mean())

    def cost(self, residual: Tensor) -> float:
        """-log of the factor at these residuals, up to a constant."""
        return float(residual.square().sum()) / (2 * self.noise)

    def damped(self) -> list[DampedMessage]:
        """Everything that is damped."""
        return [*(edge.above for edge in self.lowers), *(weight.message_so_far for weight in self.weights)]


class FactorNode(Node):
    """A factor each of whose inputs is in no other factor of the node: an activation, a sum, an average of windows apart.

    The message to an input is the exact quotient, posterior / cavity, from the derivatives of the evidence at the cavities of
    all inputs. Exact on trees where the factor is linear.
    """

    def __init__(self, factor: Factor, noise: float = 0.0, prior: Message | None = None) -> None:
        self.factor, self.noise, self.prior = factor, noise, prior

    def up(self, now: Iteration) -> None:
        self.cavities = [edge.cavity_moments() for edge in self.lowers]
        (mean, variance), self.saved = self.factor.moments(self.cavities)
        self.upper.predict(mean, variance + self.noise)

    def down(self, now: Iteration) -> None:
        messages = self.factor.messages(self.saved, *self.upper.score())
        for edge, cavity, message in zip(self.lowers, self.cavities, messages, strict=True):
            if not edge.observed:
                edge.receive(Gaussian(*cavity).evidence_message(*message), now, now.rate)

    def predicted(self, *means: Tensor) -> Tensor:
        return self.factor.moments([(mean, torch.zeros_like(mean)) for mean in means])[0][0]


class SummedNode(Node):
    """A factor whose inputs are in many of its outputs: the messages to an input are summed over them.

    Inputs enter with their beliefs, which hold the factor's own messages. For each output one dual number, its last score g,
    takes them out of the mean in one go (the Onsager term of AMP): with a the variance that they bring,

        m = f(u) - a g_old,   v = a + noise,   (g, G) = score of the variable above,   g_old <- damped g

    Messages to inputs are the factor's, centred at the beliefs. At a fixed point the force on every mean is the gradient of the
    energy, since then g = -(residual at the belief means) / noise.
    Source: GBP Learning (arXiv 2311.14649) section 3.2, its messages summed as in AMP (Donoho, Maleki & Montanari 2009).
    """

    factor: Factor

    def __init__(self, factor: Factor | None, noise: float = 0.0, prior: Message | None = None) -> None:
        if factor is not None:
            self.factor = factor
        self.noise, self.prior, self.dual = noise, prior, DampedMessage()

    def up(self, now: Iteration) -> None:
        mean, variance = self.send()
        noise = self.residual_variance(mean)
        if self.dual.parts is not None:
            mean = torch.addcmul(mean, variance, self.dual.parts[0], value=-1)
        self.upper.predict(mean, variance + noise)

    def down(self, now: Iteration) -> None:
        score, precision = self.upper.score()
        self.dual.update([score], now, now.rate)
        self.answer(score, precision, now)

    def residual_variance(self, prediction: Tensor) -> float | Tensor:
        """Variance of the residual; of a robust factor it grows with its distance from the prediction."""
        return self.noise

    def send(self) -> Moments:
        """Moments of the output at the beliefs."""
        beliefs = [edge.belief() for edge in self.lowers]
        self.inputs = [(mean, torch.zeros_like(mean) if variance is None else variance) for mean, variance in beliefs]
        moments, self.saved = self.factor.moments(self.inputs)
        return moments

    def answer(self, score: Tensor, precision: Tensor, now: Iteration) -> None:
        """The messages to the inputs."""
        messages = self.factor.messages(self.saved, score, precision)
        for edge, (mean, _), message in zip(self.lowers, self.inputs, messages, strict=True):
            if not edge.observed:
                edge.receive(Message.centred(*message, mean), now, now.rate)

    def predicted(self, *means: Tensor) -> Tensor:
        return self.factor.moments([(mean, torch.zeros_like(mean)) for mean in means])[0][0]

    def damped(self) -> list[DampedMessage]:
        return [self.dual, *super().damped()]
