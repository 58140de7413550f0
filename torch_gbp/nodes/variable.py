"""Variable: a tensor of activations between two factors, some entries of which may be observed.

Its belief is prior x message from the factor below (a prediction N(m, v)) x message from the factor above
(information and precision). Where it is observed, its value takes the place of all three.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from torch_gbp.autograd.bridge import Moments
from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Message
from torch_gbp.nodes.pace import Kept, Pace


class Variable:
    """Activations between the factor below and the factor above.

    Args:
        prior: unary prior as a message, broadcast to the variable; None for none.
        values: observed values, where `known` is True; None where nothing is observed.
        known: which entries are observed; None with `values` for all.
    """

    def __init__(self, prior: Message | None = None, values: Tensor | None = None, known: Tensor | None = None) -> None:
        self.prior, self.values, self.known = prior, values, known
        self.prediction: Moments | None = None  # the message from below
        self.above = Kept()  # the message from above
        self._centred = prior is not None and not bool(prior.information.any())
        self._rest: Message | None = None  # the product, until a message from above changes it

    def predict(self, mean: Tensor, variance: Tensor) -> None:
        """Takes the message of the factor below, N(mean, variance)."""
        self.prediction = mean, variance

    def hear(self, message: Message, pace: Pace, rate: float) -> None:
        """Takes the message of the factor above, damped."""
        self.above.keep(message, pace, rate)
        self._rest = None

    def replace(self, message: Message) -> None:
        """Takes the message of the factor above as it is: it only passes on what others have damped."""
        self.above.parts = list(message)
        self._rest = None

    def rest(self) -> Message | None:
        """Prior x message from above: what the factor below hears."""
        if self.above.parts is None:
            return self.prior
        above = Message(*self.above.parts)
        if self.prior is None:
            return above
        if self._rest is None:
            information = above.information if self._centred else above.information + self.prior.information
            self._rest = Message(information, above.precision + self.prior.precision)
        return self._rest

    def upward(self) -> tuple[Tensor, Tensor | None]:
        """Prior x message from below, mean and variance: what the factor above sees without its own message."""
        return self._observed(*self._with(self.prior))

    def upward_at(self, pick: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor | None]:
        """`upward` of the entries that `pick` takes; only they are multiplied, where that is possible."""
        prior = self.prior
        if self.prediction is None or self.values is not None or (prior is not None and prior.precision.numel() > 1):
            mean, variance = self.upward()
            return pick(mean), None if variance is None else pick(variance)
        below = pick(self.prediction[0]), pick(self.prediction[1])
        return below if prior is None else product(below, prior)

    def belief(self) -> tuple[Tensor, Tensor | None]:
        """Prior x messages from below and above, mean and variance; variance None where everything is observed."""
        return self._observed(*self._with(self.rest()))

    def belief_mean(self) -> Tensor:
        """The mean alone, for less."""
        rest = self.rest()
        if self.values is not None or self.prediction is None or rest is None:
            return self.belief()[0]
        return _mean(*self.prediction, rest).mul_(_share(self.prediction[1], rest))

    def answer(self) -> Moments:
        """Score and precision of the rest about the prediction N(m, v): g = (eta - R m) / (1 + v R), G = R / (1 + v R).

        They are the derivatives of the log evidence at the prediction; an observed entry y has g = (y - m) / v, G = 1 / v.
        """
        assert self.prediction is not None
        (mean, variance), rest = self.prediction, self.rest()
        if rest is None:
            score, precision = mean.new_zeros(()).expand_as(mean), mean.new_zeros(()).expand_as(mean)
        else:
            share = _share(variance, rest)
            precision = rest.precision * share
            score = share.mul_(rest.information).addcmul_(precision, mean, value=-1)
        if self.values is None:
            return score, precision
        sharp = variance.reciprocal()
        told = (self.values - mean) * sharp
        return (told, sharp) if self.known is None else (told.where(self.known, score), sharp.where(self.known, precision))

    def energy(self) -> float:
        """-log prior at the belief means, up to a constant."""
        if self.prior is None:
            return 0.0
        mean, _ = self.belief()
        gap = mean - self.prior.information / self.prior.precision
        return 0.5 * float((self.prior.precision * gap.square()).sum())

    def _with(self, message: Message | None) -> tuple[Tensor, Tensor | None]:
        """Prediction x message."""
        if self.values is not None and self.known is None:
            return self.values, None
        if self.prediction is None:
            assert message is not None
            return message.information / message.precision, message.precision.reciprocal()
        return self.prediction if message is None else product(self.prediction, message)

    def _observed(self, mean: Tensor, variance: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The observed values in their places."""
        if self.values is None or self.known is None or variance is None:
            return mean, variance
        return self.values.where(self.known, mean), variance.masked_fill(self.known, 0)


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
