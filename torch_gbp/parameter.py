"""GaussianParameter: the marginal of one weight tensor, kept as two torch parameters and a prior.

`mean` and `precision` are ordinary parameters: they move, save and share like any other. Their `.grad`
after a backward sweep of messages is the product of the batch's messages in centred form, as the gradients that it is of the
expected loss: -g in `mean.grad`, G / 2 in `precision.grad`. Only message passing may write to them; somebody else's write is
found at the next forward sweep, because precisions fall when a gradient method follows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from torch_gbp.errors import ForeignUpdate, InvalidInput
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.loading import CheckedModule, Saved, require_all, require_saved
from torch_gbp.priors import Prior

# parameter -> weak reference to its GaussianParameter: how an optimizer that is handed parameters
# finds the other half and the prior. Attributes on the tensors would not survive a deepcopy.
_OWNERS: Any = WeakIdKeyDictionary()

TOLERANCE = 1e-5  # a precision may lie below the prior's by this much (relative), for rounding
Gradients = tuple[tuple[int, int] | None, ...]  # which tensors the gradients are, and how often they were written to
_PARTS = ("mean", "precision", "prior_precision")  # of a saved marginal: all or none; a prior mean is there if it is not 0


class GaussianParameter(CheckedModule):
    """Marginal N(mean, 1 / precision) of a weight tensor with prior N(prior_mean, 1 / prior_precision).

    With `shared`, the weights that read one input (one input channel of a convolution) share a precision p. Of all such
    marginals the closest to one with precisions P, in the Kullback-Leibler divergence from the shared to the
    full one, has p = mean of P, so a message to p counts as the mean of the messages to those weights.

    Shapes: mean `shape`, (outputs, inputs, ...); precision the same, shared (1, inputs, 1, ...); prior_precision and
    prior_mean broadcast to them (prior_mean None is 0). Units: precision = 1 / variance.

    >>> weight = GaussianParameter((3, 2), Prior(variance=0.5, start_deviation=0.1))
    >>> weight.belief().variance[0, 0].item()
    0.5
    """

    variable = ("prior_precision", "prior_mean")
    mean: nn.Parameter
    precision: nn.Parameter
    prior_precision: Tensor
    prior_mean: Tensor | None
    arrived: Gradients | None = None  # the gradients that wait for a step
    told: Message | None = None  # messages that came beside the gradients, averages over accumulated batches as those are
    rho: Tensor | None = None  # scores of drawn targets that came since the last step (`torch_gbp.probes`)
    moments = True  # its layer carries moments, and so may send it messages
    surplus = 0.0  # part of the precision that nobody has learnt: an optimizer anneals it away
    _stamp: tuple[Tensor, Tensor, int]  # first row of the precision (a view), its values and version when last trusted

    def __init__(self, shape: tuple[int, ...], prior: Prior, device: Any = None, dtype: Any = None, shared: bool = False) -> None:
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        self.prior = prior
        self.mean = nn.Parameter(torch.empty(shape, **factory))
        stored = (1, shape[1], *(1 for _ in shape[2:])) if shared else shape
        self.precision = nn.Parameter(torch.empty(stored, **factory))
        self.register_buffer("prior_precision", torch.tensor(1.0 / prior.variance, **factory))
        self.register_buffer("prior_mean", None)
        self._register()
        self.reset_parameters()

    def _register(self) -> None:
        """After the parameters were made, moved or copied: owns them, and watches the first row of the precision."""
        _OWNERS[self.mean] = _OWNERS[self.precision] = ref(self)
        head = self.precision.detach()[(0,) * (self.precision.ndim - 1)]
        self._stamp = head, head.clone(), self.precision._version

    def reset_parameters(self) -> None:
        """Back to the prior, with a fresh random start of the mean."""
        with torch.no_grad():
            self.mean.normal_(0.0, self.prior.start_deviation) if self.prior.start_deviation else self.mean.zero_()
            if self.prior.random_mean:
                self.prior_mean = self.mean.detach().clone()
            elif self.prior_mean is not None:
                self.mean.copy_(self.prior_mean)
            self.precision.copy_(self.prior_precision.expand_as(self.precision))
        self.surplus = 0.0
        self.trust()

    def set_prior_mean(self, mean: Tensor) -> None:
        """Centres the prior on known weights (a pretrained layer) and starts there."""
        self.prior_mean, self.prior = mean.detach().to(self.mean).clone(), self.prior._replace(random_mean=False)
        self.reset_parameters()

    def prior_message(self) -> Message:
        """The prior as a message: (R0 m0, R0), R0 as it is stored."""
        centre = torch.zeros_like(self.mean) if self.prior_mean is None else self.prior_mean
        return Message(self.prior_precision * centre, self.prior_precision)

    def batch_prior(self) -> Message:
        """The prior of the next batch, R as it is stored: the weights' own prior while nothing was learnt, else the marginal.

        Nothing was learnt where the precision is the prior's. The mean that is stored there, a random or a pretrained
        start, is only where the first linearisation is.
        """
        mean, precision = self.mean.detach(), self.precision.detach()
        centre = mean.new_zeros(()) if self.prior_mean is None else self.prior_mean
        return Message(precision * torch.where(precision == self.prior_precision, centre, mean), precision)

    def belief(self) -> Gaussian:
        """The marginal, detached from any sweep."""
        return Gaussian(self.mean.detach(), self.precision.detach().reciprocal().expand_as(self.mean))

    @property
    def halves(self) -> dict[str, nn.Parameter]:
        """The parameters that an optimizer is given, in order."""
        return {"mean": self.mean, "precision": self.precision}

    @property
    def probed(self) -> bool:
        """Whether the precision of the messages since the last step is that of probes, as nothing else said any."""
        return self.told is None and self.precision.grad is None

    def message(self, take: bool = False) -> Message:
        """The batch's centred message (g, G), from the pair of gradients (-g, G / 2); a shared G is a mean.

        A message that came beside the gradients, because those are the loss's own, counts in their place. With `take` the score
        takes the memory of the mean's gradient, until `give_back`."""
        if self.told is not None:
            return self.told
        assert self.precision.grad is not None
        return Message(self.score(take), self.centred_precision(self.precision.grad))

    def score(self, take: bool = False) -> Tensor:
        """g, from the gradient of the mean; with `take` in its memory, until `give_back`."""
        gradient = self.mean.grad
        assert gradient is not None
        score = torch.neg(gradient, out=gradient if take else None)
        if take:
            self.arrive()
        return score

    def give_back(self) -> None:
        """Turns a score that was taken, and that no step has let in, into the gradient that it was."""
        if self.told is None and self.mean.grad is not None:
            self.mean.grad.neg_()
            self.arrive()

    def centred_precision(self, by_variance: Tensor) -> Tensor:
        """G, from the gradient G / 2 of the variance, of which a shared precision got the sum."""
        return by_variance * (2 * by_variance.numel() / self.mean.numel())

    def tell(self, message: Message) -> None:
        """Puts a centred message (g, G) in the place of the batch's: the reverse of `message`."""
        score, precision = message
        self.mean.grad, self.precision.grad = -score, precision * (0.5 * (score.numel() // precision.numel()))
        self.told = None
        self.arrive()

    def hear(self, message: Message) -> None:
        """Multiplies a message that came beside the gradients to those before it."""
        self.told = message if self.told is None else self.told * message

    def probe(self, score: Tensor, weight: Tensor) -> None:
        """Takes the score of targets that the network itself expects; its square counts by the weight, the factor on the loss."""
        score = score.detach().to(self.precision.dtype).mul_(weight.clamp_min(0).sqrt())
        self.rho = score if self.rho is None else self.rho + score

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
        self.told = self.rho = None

    def fresh(self) -> bool:
        """Whether nothing was learnt yet: the precision is the prior's and the surplus."""
        return bool((self.precision == self.prior_precision + self.surplus).all())

    @property
    def anneals(self) -> bool:
        """Whether a surplus is an optimizer's to take out: a frozen weight keeps the variance of its start."""
        return self.moments or self.mean.requires_grad

    def without_surplus(self) -> Tensor:
        """The precision that prior and messages give: exactly the prior's where there were none, else at least that."""
        prior = self.prior_precision
        rest = torch.maximum(self.precision - self.surplus, prior)  # a difference may round to less than the prior
        return torch.where(self.precision == prior + self.surplus, prior, rest)

    def arrive(self) -> None:
        """Marks the present gradients as a message that no step has taken in; called whenever a sweep reaches them."""
        self.arrived = self._gradients()

    def spend(self) -> None:
        """Marks the present gradients as taken in by a step."""
        self.arrived = None

    def untouched(self) -> bool:
        """Whether the gradients are, bit for bit, what arrived."""
        return self.arrived == self._gradients()

    def _gradients(self) -> Gradients:
        grads = (half.grad for half in self.halves.values())
        return tuple(None if grad is None else (id(grad), grad._version) for grad in grads)

    def trust(self) -> None:
        """Marks the present values as written by message passing (or by loading a checkpoint)."""
        head, witness, _ = self._stamp
        self._stamp = head, witness.copy_(head), self.precision._version

    def check_writes(self) -> None:
        """Raises ForeignUpdate if precisions fell since message passing last wrote to them; InvalidInput without any."""
        if self.mean.is_meta:
            raise _on_meta(
                f"a marginal of shape {tuple(self.mean.shape)}", "call to_empty(device=...) or load a state with assign=True"
            )
        head, witness, version = self._stamp
        if torch.compiler.is_compiling() or self.precision._version == version:
            return
        precision = self.precision.detach()
        fell = ~(precision >= self.prior_precision)
        if fell.any() or (head < witness).any():
            raise ForeignUpdate(
                "weight precisions fell, or are not finite, without a message-passing step",
                where=f"a marginal of shape {tuple(self.mean.shape)}",
                got=f"{int(fell.sum())} below the prior precision, lowest {precision.min().item():.4g}",
                cause="GBP parameters were given to another optimizer (AdamW, SGD, ...)",
                fix="give them to torch_gbp.MessagePassing only, and call reset_parameters() or load a checkpoint",
            )
        self.trust()

    def check_saved(self, saved: Saved, prefix: str) -> None:
        """Raises InvalidInput unless the saved marginal is whole, of this shape, and proper; absent is fine without `strict`.

        A prior mean is 0 where the state has none, also in a network that had one. Precisions of the other kind (shared or
        full) do not fit: what one kind stands for is not what the other would have learnt.
        """
        state, entries = saved.state, self.entries(prefix)
        given = [part for part, name in entries.items() if name in saved.state]
        if not saved.strict and not set(given) & self.own_entries:
            return
        if self.mean.is_meta and not saved.assign:
            raise _on_meta(
                f"load_state_dict, marginal '{prefix[:-1]}'", "load_state_dict(..., assign=True), or to_empty(device=...)"
            )
        if not set(_PARTS) <= set(given):
            raise InvalidInput(
                f"the saved marginal '{prefix[:-1]}' is not whole; nothing has changed",
                where="load_state_dict",
                got=", ".join(given) or "none of its parts",
                cause="a file cut short, another network's, or a torch layer's",
                fix=f"save all of {', '.join(_PARTS)}; from_torch takes a torch network's weights",
            )
        own = {"mean": self.mean, "precision": self.precision, "prior_precision": self.precision, "prior_mean": self.mean}
        found = {
            part: require_saved(entries[part], state[entries[part]], own[part], saved.assign, broadcast=part.startswith("prior"))
            for part in given
        }
        precision, floor = found["precision"], found["prior_precision"]
        require_all(f"{prefix}prior_precision", floor > 0, "positive", floor)
        proper = precision >= floor.to(precision) * (1 - TOLERANCE)
        require_all(f"{prefix}precision", proper, "at least prior_precision", precision)

    own_entries = frozenset((*_PARTS, "prior_mean"))  # those without which there is nothing to load

    def entries(self, prefix: str) -> dict[str, str]:
        """The names of the marginal's parts in a state."""
        return {part: prefix + part for part in (*_PARTS, "prior_mean")}

    def make_room(self, state: Mapping[str, Any], prefix: str) -> None:
        """A prior has the shape that its formula gave it, and a mean only where that is not 0."""
        if prefix + "precision" in state:
            self.surplus = 0.0
            centre, precision = state.get(prefix + "prior_mean"), state[prefix + "prior_precision"]
            self.prior_mean = None if centre is None else centre.detach().to(self.mean, copy=True)
            self.prior_precision = precision.detach().to(self.prior_precision, copy=True)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if prefix + "precision" in state_dict:
            self._register()  # load_state_dict(assign=True) puts other parameters in place

    def _apply(self, fn: Any, recurse: bool = True) -> GaussianParameter:
        empty = self.mean.is_meta
        super()._apply(fn, recurse)
        self._register()
        if empty and not self.mean.is_meta:  # to_empty() leaves whatever was in the memory
            self.prior_precision.fill_(1.0 / self.prior.variance)
            self.reset_parameters()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copies and unpickled modules own their own parameters."""
        super().__setstate__(state)
        self._register()

    def extra_repr(self) -> str:
        return f"{tuple(self.mean.shape)}, prior_variance={self.prior_precision.reciprocal().mean().item():.4g}"


def _on_meta(where: str, fix: str) -> InvalidInput:
    cause = "a network made on the meta device"
    return InvalidInput("the marginal has shapes and no numbers", where=where, got="device meta", cause=cause, fix=fix)


def owner_of(parameter: Tensor) -> GaussianParameter | None:
    """The GaussianParameter that holds this parameter, or None for an ordinary one."""
    reference = _OWNERS.get(parameter)
    return None if reference is None else reference()
