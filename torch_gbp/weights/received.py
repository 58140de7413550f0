"""Received: what sweeps have brought a marginal since the last step, as gradients, beside them, or as probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from torch_gbp import foreach
from torch_gbp.gaussian import Message

Version = tuple[int, int]  # which tensor a gradient is, and how often it was written to
Gradients = tuple[Version | None, ...]


class Received:
    """The part of a marginal in which messages wait for a step."""

    mean: nn.Parameter
    precision: nn.Parameter
    arrived: Gradients | None = None  # the gradients that wait for a step
    direct: Message | None = None  # messages that came beside the gradients, averages over accumulated batches as those are
    rho: Tensor | None = None  # scores of drawn targets that came since the last step (`torch_gbp.autograd.probes`)
    sent: tuple[Any, Tensor] | None = None  # a sweep and its probe, until the sweep brings the mean its gradient
    used: Version | None = None  # the mean's gradient, once a step has taken it in

    @property
    def halves(self) -> dict[str, nn.Parameter]:
        """The parameters that an optimizer is given, in order."""
        return {"mean": self.mean, "precision": self.precision}

    @property
    def probed(self) -> bool:
        """Whether the precision of the messages since the last step is that of probes, as nothing else said any."""
        return self.direct is None and self.precision.grad is None

    def message(self, take: bool = False) -> Message:
        """The batch's centred message (g, G), from the pair of gradients (-g, G / 2); a shared G is a mean.

        A message that came beside the gradients, because those are the loss's own, counts in their place. With `take` the score
        takes the memory of the mean's gradient, until `give_back`."""
        if self.direct is not None:
            return self.direct
        assert self.precision.grad is not None
        return Message(self.score(take), self.centred_precision(self.precision.grad))

    def score(self, take: bool = False) -> Tensor:
        """g, from the gradient of the mean; with `take` in its memory, until `give_back`."""
        return scores_of([self], take)[0]

    def give_back(self) -> None:
        """Turns a score that was taken, and that no step has let in, into the gradient that it was."""
        if self.direct is None and self.mean.grad is not None:
            self.mean.grad.neg_()
            self.arrive()

    def centred_precision(self, by_variance: Tensor) -> Tensor:
        """G, from the gradient G / 2 of the variance, of which a shared precision got the sum."""
        return by_variance * (2 * by_variance.numel() / self.mean.numel())

    def replace_message(self, message: Message) -> None:
        """Puts a centred message (g, G) in the place of the batch's: the reverse of `message`."""
        score, precision = message
        self.mean.grad, self.precision.grad = -score, precision * (0.5 * (score.numel() // precision.numel()))
        self._note(direct=None)
        self.arrive()

    def add_message(self, message: Message) -> None:
        """Multiplies a message that came beside the gradients to those before it."""
        self._note(direct=message if self.direct is None else self.direct * message)

    def probe(self, score: Tensor, weight: Tensor, sweep: Any) -> None:
        """Keeps the score of targets that the network itself expects; its square counts by the weight, the factor on the loss.

        It counts once the sweep that it came with reaches the mean: one that asks for gradients of inputs alone says nothing.
        """
        self._note(sent=(sweep, score.detach().to(self.precision.dtype).mul_(weight.clamp_min(0).sqrt())))

    @property
    def curvature(self) -> Tensor | None:
        """The precision that probes gave since the last step, rho^2, a shared one the mean."""
        return None if self.rho is None else self.averaged(self.rho.square())

    def averaged(self, values: Tensor) -> Tensor:
        """The mean of what is there for each weight, over the weights that share a precision."""
        axes = [axis for axis, size in enumerate(self.precision.shape) if size != values.shape[axis]]
        return values.mean(axes, keepdim=True) if axes else values

    def forget(self) -> None:
        """Forgets the messages since the last step."""
        self._note(direct=None, rho=None, sent=None, used=None)

    def hear(self, parameter: Tensor, sweep: Any = None) -> None:
        """A sweep has reached one of the halves: marks the present gradients as a message that no step has taken in.

        Unless it has added to one that a step took in: a gradient that was set to zero in between was written to once more.
        """
        if self.sent is not None and parameter is self.mean and self.sent[0] is sweep:
            self._note(rho=self.sent[1] if self.rho is None else self.rho + self.sent[1], sent=None)
        now = self._gradients()
        if parameter is not self.mean:
            self._note(arrived=self.arrived and now)
        elif self.used is not None and now[0] == (self.used[0], self.used[1] + 1):
            self._note(used=now[0])
        else:
            self._note(arrived=now, used=None)

    def arrive(self) -> None:
        """Marks the present gradients as a message that no step has taken in."""
        self._note(arrived=self._gradients())

    def mark_used(self) -> None:
        """Marks the present gradients as taken in by a step, and forgets what came beside them."""
        self._note(arrived=None, direct=None, rho=None, used=self._gradients()[0])

    def untouched(self) -> bool:
        """Whether the gradients are, bit for bit, what arrived."""
        return self.arrived == self._gradients()

    def _note(self, **what: Any) -> None:
        """Sets attributes, several in every step: torch's own way looks for parameters first, which takes ten times as long."""
        self.__dict__.update(what)

    def _gradients(self) -> Gradients:
        grads = (half.grad for half in self.halves.values())
        return tuple(None if grad is None else (id(grad), grad._version) for grad in grads)


def scores_of(marginals: Sequence[Received], take: bool = False) -> list[Tensor]:
    """The scores g of several marginals; `take` as in `Received.message`."""
    gradients = [own.mean.grad for own in marginals if own.mean.grad is not None]
    if not (take and gradients):
        return list(foreach.neg(gradients)) if gradients else []
    foreach.neg_(gradients)
    for own in marginals:
        own.arrive()
    return gradients
