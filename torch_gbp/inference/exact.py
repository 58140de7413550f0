"""Exact scalar messages: the factors of one example, and weights whose every example has a message of its own.

Biases, and weights of an observed input, enter an example's factors with their cavity, other weights with their marginal; the
input of a layer with weights is its belief; an activation's message upwards is that of its output's marginal / the message from
above. Source: AMP-BNN thesis section 4.2 and its code.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import mul

import torch
from torch import Tensor

from torch_gbp.errors import MissingRule
from torch_gbp.gaussian import Message
from torch_gbp.inference.build import Builder, Fused
from torch_gbp.inference.damping import Iteration
from torch_gbp.inference.node import Bound, FactorNode, Node
from torch_gbp.inference.rules import by_rows
from torch_gbp.layers import GBPLinear, GBPMaxPool2d
from torch_gbp.layers.base import ActivationLayer, WeightedLayer
from torch_gbp.weights.parameter import GaussianParameter


class ExampleWeights:
    """A weight tensor during a visit to a batch: what was known before x one message from every example.

    Its mean is the stored one until the first message, where the first products are taken.
    """

    def __init__(self, marginal: GaussianParameter) -> None:
        self.marginal, self.before = marginal, marginal.batch_prior()
        self.mean, self.precision = marginal.mean.detach(), marginal.precision.detach()
        self.sites: dict[int, Message] = {}
        self._now = self.before

    def moments(self, example: int | None = None) -> tuple[Tensor, Tensor]:
        """Mean and variance of the marginal, or of the cavity without the message of an example."""
        site = None if example is None else self.sites.get(example)
        if site is None:
            return self.mean, self.precision.reciprocal()
        rest = self.precision - site.precision
        return (self.precision * self.mean - site.information) / rest, rest.reciprocal()

    def replace(self, example: int, message: Message) -> None:
        """The example's new message takes the place of its old one."""
        old = self.sites.get(example)
        self._take(self._now * message if old is None else self._now * message / old)
        self.sites[example] = message

    def renew(self) -> None:
        """Exactly before x messages: takes away the rounding of many replacements."""
        if self.sites:
            self._take(self.before * self.product())

    def product(self) -> Message:
        """The messages of all examples."""
        return reduce(mul, self.sites.values())

    def message(self) -> Message:
        """The batch's message (g, G), centred at the stored mean."""
        information, precision = self.product()
        return Message(information - precision * self.marginal.mean.detach(), precision)

    def _take(self, now: Message) -> None:
        self._now, self.mean, self.precision = now, now.information / now.precision, now.precision


class ExactNode(Node):
    """The factors of a layer with weights and of one example."""

    def __init__(self, bound: Bound, weights: Iterable[ExampleWeights], example: int, fused: Fused) -> None:
        self.bound, self.own, self.example = bound, list(weights), example
        self.noise, self.prior = fused.variance, fused.prior()

    def up(self, now: Iteration) -> None:
        self.input = self.lower.belief()
        weight, *bias = self.own
        moments = [weight.moments(self.example if self.input[1] is None else None), *(b.moments(self.example) for b in bias)]
        self.at = [mean for mean, _ in moments]
        flat = [part for pair in moments for part in pair]
        (mean, variance), self.saved = self.bound.rule.forward(self.bound.options, *self.input, *flat, *[None] * (4 - len(flat)))
        self.upper.predict(mean, variance + self.noise)

    def down(self, now: Iteration) -> None:
        to_mean, to_variance, *messages = self.bound.rule.backward(self.bound.options, self.saved, *self.upper.score())
        if to_mean is not None and to_variance is not None:
            self.lower.receive(Message.centred(to_mean, to_variance, self.input[0]), now, 1.0)
        for own, at, score, precision in zip(self.own, self.at, messages[::2], messages[1::2], strict=False):
            if score is not None and precision is not None and own.marginal.mean.requires_grad:
                share = (
                    precision.numel() / score.numel()
                )  # a shared precision got the sum of the messages, and counts as their mean
                own.replace(self.example, Message.centred(score, precision * share, at))

    def predicted(self, *means: Tensor) -> Tensor:
        flat = [part for own in self.own for part in own.moments()]
        return self.bound.rule.forward(self.bound.options, *means, None, *flat, *[None] * (4 - len(flat)))[0][0]


class ExactActivation(FactorNode):
    """A rectifier between two variables, whose messages are exact both ways."""

    def up(self, now: Iteration) -> None:
        assert isinstance(self.factor, Bound)
        self.cavities = [self.lower.cavity_moments()]
        above = self.upper.rest() or (None, None)
        (mean, variance), self.saved = self.factor.rule.forward(self.factor.options, *self.cavities[0], *above)
        self.upper.predict(mean, variance + self.noise)

    def predicted(self, *means: Tensor) -> Tensor:
        assert isinstance(self.factor, Bound)
        return self.factor.rule.forward(self.factor.options, *means, torch.zeros_like(*means), None, None)[0][0]


class ExactBuilder(Builder):
    """Makes the nodes of one example.

    Args:
        weights: of the batch, by their marginals; new ones are added.
        example: its place in the batch.
    """

    inside = proper = False

    def __init__(self, weights: dict[GaussianParameter, ExampleWeights], example: int) -> None:
        super().__init__(True, False, True)
        self.all, self.example = weights, example

    def weighted(self, layer: WeightedLayer, part: Fused) -> Node:
        """The node of a layer with weights.

        Raises:
            MissingRule: a layer without exact messages.
        """
        rule = layer.exact
        if rule is None:
            raise MissingRule(
                f"{type(layer).__name__} has no exact scalar messages",
                where=f"ExampleByExample, layer {part.name}",
                fix="use another schedule, or a layer with an exact rule",
            )
        if isinstance(layer, GBPLinear) and part.inputs[0].belief.ndim != 2:
            rule = by_rows(rule)
        owned = [own for own in (layer.weight, layer.bias) if own is not None]
        weights = [self.all.setdefault(own, ExampleWeights(own)) for own in owned]
        return ExactNode(Bound(rule, layer.options), weights, self.example, part)

    def activation(self, layer: ActivationLayer, part: Fused) -> Node:
        if layer.exact is None:
            return super().activation(layer, part)
        return ExactActivation(Bound(layer.exact, layer.options), part.variance, part.prior())

    def max_pool(self, layer: GBPMaxPool2d, part: Fused) -> Node:
        return FactorNode(Bound(layer.rule, layer.options), part.variance, part.prior())
