"""What a layer keeps from one inner sweep over a batch to the next, and how it enters the next sweep.

The bridge of `autograd/bridge.py` remembers nothing: one sweep, and the messages of the batch are there. Where inference is
iterated (`inference.py`), a layer asks its `memory` to send, which goes through doors at its input and output:

* `recall`, at an input: forward, belief x message that came back last (the variable's marginal); backward, keeps the new
  message and passes it on;
* `without`, at a marginal of weights: forward, the cavity, marginal / site; backward, the message, centred at the marginal;
* `listen`, at an output: keeps what comes back, for rules whose forward message depends on it;
* `discount`, at an output: forward, takes the last message of the same example out of a mean.

A memory knows no batch: whoever visits a batch hands the layers their memories, and takes them away again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd import Function

from torch_gbp.autograd.bridge import Moments, gradients_of, message_of
from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian, Message

Send = Callable[..., Moments]


class Forms(NamedTuple):
    """A layer's factor in two forms: messages of a single sweep, and exact scalar messages (see `ExactMemory`)."""

    single: Send
    exact: Send


class Memory:
    """No memory: every sweep is the first. The default of every layer."""

    def weighted(self, forms: Forms, options: Any, mean: Tensor, variance: Tensor | None, *marginals: Tensor | None) -> Moments:
        """Sends through a factor with weights; `marginals`: mean and precision of the weights, then of the biases."""
        return forms.single(options, mean, variance, *marginals)

    def activation(self, forms: Forms, options: Any, mean: Tensor, variance: Tensor) -> Moments:
        """Sends through a factor of one input and one output variable."""
        return forms.single(options, mean, variance)


NO_MEMORY = Memory()


class Note:
    """The message that last went through a door, None before the first sweep; a new one is damped towards it."""

    def __init__(self, damping: float = 0.0) -> None:
        self.message: Message | None = None
        self.damping = damping
        self._asked = False

    def ask(self) -> Message | None:
        """The message, as a forward sweep goes through.

        Raises:
            InvalidInput: a second time before an answer came back.
        """
        if self._asked:
            raise InvalidInput(
                "a layer was used twice in one sweep, and cannot keep the messages of both uses apart",
                where="iterated inference",
                cause="one module at two places of the network, or a sweep without a backward sweep",
                fix="give every place a module of its own, or use Inference(iterations=1) in the parallel order",
            )
        self._asked = True
        return self.message

    def keep(self, message: Message) -> Message:
        """Stores (1 - damping) message + damping old, undamped at first, and returns it."""
        self.message = message if self.message is None else message.damp(self.message, 1 - self.damping)
        self._asked = False
        return self.message


class BatchMemory(Memory):
    """Aggregated messages, all examples of a batch at once: the forms of a single sweep, iterated.

    The input of a weighted layer is its marginal, forward x message that came back. Where the input is observed, the
    weights' own marginals hold the message of each example; to first order in 1 / fan-in the cavity's output is
    m_z - v_z g with the example's last score g (the Onsager term of AMP), so the examples are not counted twice.
    Source: AMP-BNN thesis section 4.2 with the aggregation of Donoho, Maleki & Montanari 2009 (AMP).
    """

    def __init__(self, damping: float = 0.0) -> None:
        self.input, self.output = Note(damping), Note(damping)

    def weighted(self, forms: Forms, options: Any, mean: Tensor, variance: Tensor | None, *marginals: Tensor | None) -> Moments:
        if variance is None:
            return discount(self.output, *forms.single(options, mean, None, *marginals))
        return forms.single(options, *recall(self.input, mean, variance), *marginals)


class ExactMemory(Memory):
    """Exact scalar messages of one example, as in the sequential reference (methods of AMP-BNN's code).

    Biases, and weights of an observed input, enter with their cavity, other weights with their marginal; the input of a
    weighted layer is its marginal; an activation's forward message is that marginal / the message from above.

    Args:
        sites: the example's messages to the weights, by the parameter that holds their mean.
    """

    def __init__(self, sites: dict[Tensor, Message]) -> None:
        self.sites, self.input, self.above = sites, Note(), Note()

    def weighted(self, forms: Forms, options: Any, mean: Tensor, variance: Tensor | None, *marginals: Tensor | None) -> Moments:
        weight, bias = marginals[:2], self._cavity(*marginals[2:])
        if variance is None:
            return forms.exact(options, mean, None, *self._cavity(*weight), *bias)
        return forms.exact(options, *recall(self.input, mean, variance), *weight, *bias)

    def activation(self, forms: Forms, options: Any, mean: Tensor, variance: Tensor) -> Moments:
        above = self.above.ask() or (None, None)
        return listen(self.above, *forms.exact(options, mean, variance, *above))

    def _cavity(self, mean: Tensor | None, precision: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if mean is None or precision is None or mean not in self.sites:
            return mean, precision
        return without(self.sites[mean], mean, precision)


def recall(note: Note, mean: Tensor, variance: Tensor) -> Moments:
    """The marginal of an input: its belief x the noted message (eta, R), m' = (m + v eta) / (1 + v R), v' = v / (1 + v R).

    The message (g, G) that comes back to the marginal is exact and noted, as eta = g + G m', R = G. What goes on are the
    derivatives of the evidence at the belief, (eta - R m, R) / (1 + v R).
    """
    return _Recall.apply(note, mean, variance)  # type: ignore[return-value]


class _Recall(Function):
    @staticmethod
    def forward(ctx: Any, note: Note, mean: Tensor, variance: Tensor) -> Moments:
        ctx.note, q, known = note, (mean, variance), note.ask()
        if known is not None:
            information, precision = known
            rest = 1 + variance * precision
            q = (mean + variance * information) / rest, variance / rest
        ctx.save_for_backward(mean, variance, q[0])
        return q

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        mean, variance, q_mean = ctx.saved_tensors
        score, precision = message_of(*gradient)
        information, precision = ctx.note.keep(Message.centred(score, precision, q_mean))
        rest = 1 + variance * precision
        return None, *gradients_of([(information - precision * mean) / rest, precision / rest])


def without(site: Message, mean: Tensor, precision: Tensor) -> Moments:
    """Cavity of a marginal N(mean, 1 / precision): precision R - S, mean (R m - eta) / (R - S); messages come back unchanged."""
    return _Without.apply(site, mean, precision)  # type: ignore[return-value]


class _Without(Function):
    @staticmethod
    def forward(ctx: Any, site: Message, mean: Tensor, precision: Tensor) -> Moments:
        rest = precision - site.precision
        cavity = (precision * mean - site.information) / rest
        ctx.save_for_backward(cavity - mean)
        return cavity, rest

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        (shift,) = ctx.saved_tensors
        score, precision = message_of(*gradient)
        share = precision.numel() / score.numel()  # a shared precision got the sum of the messages, and counts as their mean
        return None, *gradients_of([score + precision * share * shift, precision])


def listen(note: Note, mean: Tensor, variance: Tensor) -> Moments:
    """Passes both ways and notes the message in natural form."""
    return _Listen.apply(note, mean, variance)  # type: ignore[return-value]


class _Listen(Function):
    @staticmethod
    def forward(ctx: Any, note: Note, mean: Tensor, variance: Tensor) -> Moments:
        ctx.note = note
        ctx.save_for_backward(mean, variance)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        mean, variance = ctx.saved_tensors
        ctx.note.keep(Gaussian(mean, variance).evidence_message(*message_of(*gradient)))
        return None, *gradient


def discount(note: Note, mean: Tensor, variance: Tensor) -> Moments:
    """Takes an example's own last score g out of the mean: m - v g; notes the score that comes back."""
    return _Discount.apply(note, mean, variance)  # type: ignore[return-value]


class _Discount(Function):
    @staticmethod
    def forward(ctx: Any, note: Note, mean: Tensor, variance: Tensor) -> Moments:
        ctx.note, known = note, note.ask()
        if known is not None:
            mean = mean - variance * known.information
        return mean, variance

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *gradients_of(ctx.note.keep(message_of(*gradient)))
