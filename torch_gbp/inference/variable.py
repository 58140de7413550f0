"""Variable: a tensor of activations between factors, some entries of which may be observed. Edge: its place in one of them.

Its belief is prior x message from the factor below (a prediction N(m, v)) x messages from all factors above (information and
precision). Where it is observed, its value takes the place of them. A factor above sees the belief through its edge, which
knows the factor's own message, and so can leave it out (the cavity).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import mul

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments
from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Message
from torch_gbp.inference.damping import DampedMessage, Iteration


class Variable:
    """Activations between the factor below and the factors above.

    Args:
        prior: unary prior as a message, broadcast to the variable; None for none.
        values: observed values, where `known` is True; None where nothing is observed.
        known: which entries are observed; None with `values` for all.
        start: mean at which factors above are first linearised, where none of them has sent a message; None for the prior's.
    """

    def __init__(
        self,
        prior: Message | None = None,
        values: Tensor | None = None,
        known: Tensor | None = None,
        start: Tensor | None = None,
    ) -> None:
        self.prior, self.values, self.known, self.start = prior, values, known, start
        self.prediction: Moments | None = None  # the message from below
        self.edges: list[Edge] = []  # to the factors above
        self._centred = prior is not None and not bool(prior.information.any())
        self._rest: Message | None = None  # the product, until a message from above changes it

    def edge(self) -> Edge:
        """A new edge, for one more factor above."""
        self.edges.append(Edge(self))
        return self.edges[-1]

    def predict(self, mean: Tensor, variance: Tensor) -> None:
        """Takes the message of the factor below, N(mean, variance)."""
        self.prediction = mean, variance

    def changed(self) -> None:
        """A message from above is another."""
        self._rest = None

    def rest(self) -> Message | None:
        """Prior x messages from above: what the factor below hears."""
        if self._rest is None:
            self._rest = self.product(self.edges)
        return self._rest

    def product(self, edges: Sequence[Edge]) -> Message | None:
        """Prior x messages over these edges."""
        above = [Message(*edge.above.parts) for edge in edges if edge.above.parts is not None]
        if not above or self.prior is None:
            return reduce(mul, above) if above else self.prior
        message = reduce(mul, above)
        information = message.information if self._centred else message.information + self.prior.information
        return Message(information, message.precision + self.prior.precision)

    def belief(self) -> tuple[Tensor, Tensor | None]:
        """Prior x all messages, mean and variance; variance None where everything is observed."""
        return self.with_message(self.rest())

    def belief_mean(self) -> Tensor:
        """The mean alone, for less."""
        rest = self.rest()
        if self.values is not None or self.prediction is None or rest is None:
            return self.belief()[0]
        return _mean(*self.prediction, rest).mul_(_share(self.prediction[1], rest))

    def score(self, prediction: Moments | None = None) -> Moments:
        """Score and precision of the rest about the prediction N(m, v): g = (eta - R m) / (1 + v R), G = R / (1 + v R).

        They are the derivatives of the log evidence at the prediction; an observed entry y has g = (y - m) / v, G = 1 / v.

        Args:
            prediction: another one than the last message from below.
        """
        prediction = self.prediction if prediction is None else prediction
        assert prediction is not None
        (mean, variance), rest = prediction, self.rest()
        if rest is None:
            score, precision = mean.new_zeros(()).expand_as(mean), mean.new_zeros(()).expand_as(mean)
        else:
            share = _share(variance, rest)
            precision = rest.precision * share
            score = share.mul_(rest.information).addcmul_(precision, mean, value=-1)
        if self.values is None:
            return score, precision
        sharp = variance.reciprocal()
        score_of_value = (self.values - mean) * sharp
        return (
            (score_of_value, sharp)
            if self.known is None
            else (score_of_value.where(self.known, score), sharp.where(self.known, precision))
        )

    def energy(self) -> float:
        """-log prior at the belief means, up to a constant."""
        if self.prior is None:
            return 0.0
        gap = self.belief()[0] - self.prior.information / self.prior.precision
        return 0.5 * float((self.prior.precision * gap.square()).sum())

    def with_message(self, message: Message | None) -> tuple[Tensor, Tensor | None]:
        """Prediction x message, with the observed values in their places."""
        if self.values is not None and self.known is None:
            return self.values, None
        if self.prediction is None:
            mean, variance = self._unpredicted(message)
        else:
            mean, variance = self.prediction if message is None else product(self.prediction, message)
        if self.values is None or self.known is None:
            return mean, variance
        return self.values.where(self.known, mean), variance.masked_fill(self.known, 0)

    def _unpredicted(self, message: Message | None) -> Moments:
        """Prior x messages from above alone."""
        if self.start is not None and message is self.prior:
            return self.start, torch.ones_like(self.start) if message is None else message.precision.reciprocal()
        assert message is not None
        mean, variance = message.information / message.precision, message.precision.reciprocal()
        return (mean if self.start is None or self.prior else mean.where(message.precision > 0, self.start)), variance


class Edge:
    """One use of a variable: the message of the factor above, and the belief with or without it."""

    def __init__(self, variable: Variable) -> None:
        self.variable, self.above = variable, DampedMessage()

    @property
    def observed(self) -> bool:
        """Whether every entry is."""
        return self.variable.values is not None and self.variable.known is None

    def belief(self) -> tuple[Tensor, Tensor | None]:
        """The variable's belief, mean and variance; variance None where everything is observed."""
        return self.variable.belief()

    def belief_mean(self) -> Tensor:
        """The mean alone, for less."""
        return self.variable.belief_mean()

    def cavity(self) -> tuple[Tensor, Tensor | None]:
        """The belief without this factor's own message."""
        return self.variable.with_message(self._others())

    def cavity_moments(self) -> Moments:
        """`cavity`, its variance 0 where everything is observed."""
        mean, variance = self.cavity()
        return mean, torch.zeros_like(mean) if variance is None else variance

    def cavity_at(self, pick: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor | None]:
        """`cavity` of the entries that `pick` takes; only they are multiplied, where that is possible."""
        own, others = self.variable, self._others()
        if own.prediction is None or own.values is not None or (others is not None and others.precision.numel() > 1):
            mean, variance = own.with_message(others)
            return pick(mean), None if variance is None else pick(variance)
        below = pick(own.prediction[0]), pick(own.prediction[1])
        return below if others is None else product(below, others)

    def receive(self, message: Message, now: Iteration, rate: float) -> None:
        """Takes the message of the factor above, damped."""
        self.above.update(message, now, rate)
        self.variable.changed()

    def replace(self, message: Message) -> None:
        """Takes the message of the factor above as it is: it only passes on what others have damped."""
        self.above.parts = list(message)
        self.variable.changed()

    def _others(self) -> Message | None:
        return self.variable.product([edge for edge in self.variable.edges if edge is not self])


def _share(variance: Tensor, message: Message) -> Tensor:
    """1 / (1 + v R), in new memory. Passes over memory are most of an iteration's time, so what is new is written over."""
    return (variance * message.precision).add_(1).reciprocal_()


def _mean(mean: Tensor, variance: Tensor, message: Message) -> Tensor:
    """m + v eta, in new memory."""
    return (variance * message.information).add_(mean)


def product(below: Moments, message: Message) -> Moments:
    """N(m, v) x message: mean (m + v eta) / (1 + v R), variance v / (1 + v R)."""
    share = _share(below[1], message)
    return _mean(*below, message).mul_(share), share.mul_(below[1])


def normal_prior(mean: Tensor, sigma: Tensor) -> Message:
    """N(mean, sigma^2) as a message.

    Raises:
        InvalidInput: a standard deviation that is not positive.
    """
    if bool((~(sigma > 0)).any()):
        raise InvalidInput(
            "standard deviations of a prior must be positive",
            where="a variable of a factor graph",
            got=f"{float(sigma.min()):.3g}",
            cause="an entry that is known exactly",
            fix="mark it as observed, with its value",
        )
    precision = sigma.square().reciprocal()
    return Message(precision * mean, precision)
