"""The factors of a layer with weights, y = f(W a + b) + e, by summed messages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments
from torch_gbp.gaussian import Message
from torch_gbp.inference.damping import Iteration
from torch_gbp.inference.node import Bound, SummedNode
from torch_gbp.inference.variable import Edge, Variable
from torch_gbp.inference.weights import WeightBelief


class LinearNode(SummedNode):
    """The factors of a linear or convolutional layer, and of the activation f inside them; weights enter like inputs.

    One dual number takes the messages to weights out of the mean as well: `a` is the variance that inputs and weights bring.
    """

    def __init__(
        self,
        affine: Bound,
        activation: Bound | None,
        weights: tuple[WeightBelief, ...],
        noise: float,
        prior: Message | None,
    ) -> None:
        super().__init__(None, noise, prior)
        self.affine, self.activation, self.weights = affine, activation, weights

    def connect(self, lowers: Sequence[Edge], upper: Variable) -> None:
        super().connect(lowers, upper)
        values = self.lower.variable.values
        if self.lower.observed and values is not None and self.affine.hold is not None:
            self.affine = self.affine.hold(values)

    def send(self) -> Moments:
        self.input = self.lower.belief()
        moments, self.saved = self.affine.rule.forward(self.affine.options, *self.input, *self._weights())
        if self.activation is not None:
            moments, self.bent = self.activation.forward(*moments)
        return moments

    def answer(self, score: Tensor, precision: Tensor, now: Iteration) -> None:
        if self.activation is not None:
            score, precision = self.activation.backward(self.bent, score, precision)
        to_mean, to_variance, *to_weights = self.affine.rule.backward(self.affine.options, self.saved, score, precision)
        if to_mean is not None and to_variance is not None:
            self.lower.receive(Message.centred(to_mean, to_variance, self.input[0]), now, now.rate)
        for weight, to, sharp in zip(self.weights, to_weights[::2], to_weights[1::2], strict=False):
            if weight.learn and to is not None and sharp is not None:
                weight.receive(to, sharp, now)

    def predicted(self, *means: Tensor) -> Tensor:
        (mean, variance), _ = self.affine.rule.forward(self.affine.options, *means, None, *self._weights())
        return mean if self.activation is None else self.activation.forward(mean, torch.zeros_like(variance))[0][0]

    def _weights(self) -> list[Tensor | None]:
        """Mean and variance of the weights, then of the biases."""
        found: list[Tensor | None] = [part for weight in self.weights for part in (weight.mean, weight.variance)]
        return found if len(found) == 4 else [*found, None, None]
