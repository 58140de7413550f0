"""GaussianParameter: the marginal of one weight tensor, kept as two torch parameters and a prior.

`mean` and `precision` are ordinary parameters: they move, save and share like any other. Their `.grad`
after a backward sweep of messages is the product of the batch's messages in centred form, as the gradients that it is of the
expected loss: -g in `mean.grad`, G / 2 in `precision.grad`. Only message passing may write to them; somebody else's write is
found at the next forward sweep, because precisions fall when a gradient method follows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from torch_gbp.errors import ForeignUpdate, InvalidInput
from torch_gbp.gaussian import Gaussian
from torch_gbp.weights.held_prior import HeldPrior, Start, mean_of
from torch_gbp.weights.loading import CheckedModule, Saved, require_all, require_saved
from torch_gbp.weights.priors import Prior
from torch_gbp.weights.received import Received

# parameter -> weak reference to its GaussianParameter: how an optimizer that is handed parameters
# finds the other half and the prior. Attributes on the tensors would not survive a deepcopy.
_OWNERS: Any = WeakIdKeyDictionary()

TOLERANCE = 1e-5  # a precision may lie below the prior's by this much (relative), for rounding
_PARTS = ("mean", "precision", "prior_precision")  # of a saved marginal: all or none; a prior mean is there if it is not 0


class GaussianParameter(Received, HeldPrior, CheckedModule):
    """Marginal N(mean, 1 / precision) of a weight tensor with prior N(prior_mean, 1 / prior_precision).

    With `shared`, the weights that read one input (one input channel of a convolution) share a precision p. Of all such
    marginals the closest to one with precisions P, in the Kullback-Leibler divergence from the shared to the
    full one, has p = mean of P, so a message to p counts as the mean of the messages to those weights.

    Shapes: mean `shape`, (outputs, inputs, ...); precision the same, shared (1, inputs, 1, ...); prior_precision and
    prior_mean broadcast to the mean (prior_mean None is 0). Units: precision = 1 / variance.

    >>> weight = GaussianParameter((3, 2), Prior(variance=0.5, start_deviation=0.1))
    >>> weight.belief().variance[0, 0].item()
    0.5
    """

    variable = ("prior_precision", "prior_mean")
    mean: nn.Parameter
    precision: nn.Parameter
    moments = True  # its layer carries moments, and so may send it messages
    _stamp: tuple[Tensor, Tensor, int]  # first row of the precision (a view), its values and version when last marked as written

    def __init__(self, shape: tuple[int, ...], prior: Prior, device: Any = None, dtype: Any = None, shared: bool = False) -> None:
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        width, self.prior = prior.width, prior
        self.mean = nn.Parameter(torch.empty(shape, **factory))
        stored = (1, shape[1], *(1 for _ in shape[2:])) if shared else shape
        self.precision = nn.Parameter(torch.empty(stored, **factory))
        self.register_buffer("prior_precision", torch.tensor(1.0 / width, **factory))
        self.register_buffer("prior_mean", mean_of(prior, self.mean))
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
            if isinstance(self.prior.mean, str):
                self.prior_mean = self.mean.detach().clone()
            elif self.prior.given is not None and self.prior_mean is not None:
                self.mean.add_(self.prior_mean)
            elif self.prior_mean is not None:
                self.mean.copy_(self.prior_mean)
            if self.prior.adapts:
                self.prior_precision = self.prior_precision.new_full((), 1.0 / self.prior.width)
            self.precision.copy_(self.floor.expand_as(self.precision))
        self.surplus = 0.0
        self.mark_written()

    def set_prior_mean(self, mean: Tensor) -> None:
        """Centres the prior on known weights (a pretrained layer) and starts there."""
        self.prior_mean, self.prior = mean.detach().to(self.mean).clone(), replace(self.prior, mean=0.0)
        self.reset_parameters()

    @property
    def variance(self) -> Tensor:
        """The variances, as the precision is stored, detached from any sweep."""
        return self.precision.detach().reciprocal()

    def belief(self) -> Gaussian:
        """The marginal, detached from any sweep."""
        return Gaussian(self.mean.detach(), self.variance.expand_as(self.mean))

    @property
    def inputs(self) -> int:
        """How many weights an output adds up."""
        return self.by_output(self.mean).shape[1]

    def by_output(self, values: Tensor) -> Tensor:
        """Values of the weights, one row per output, (outputs, inputs)."""
        return values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)

    def of_outputs(self, values: Tensor) -> Tensor:
        """What is there for each output, (outputs,), to be broadcast to the weights."""
        return values.view(-1, *(1 for _ in self.mean.shape[1:])) if self.mean.ndim else values.view(())

    @property
    def start(self) -> Start:
        """What the weights start from: known are those with a prior around them, and a torch layer's whose marginal is narrower
        than its prior; the prior itself where it is around a torch layer's own weights."""
        narrow = None if self.moments else self.prior.start_variance
        if self.prior_mean is None:
            return Start.KNOWN if narrow is not None and narrow < self.prior.width else Start.NEW
        return Start.KNOWN if self.prior.start_variance is None else Start.PRIOR

    @property
    def anneals(self) -> bool:
        """Whether a surplus is an optimizer's to take out: a frozen weight keeps the variance of its start."""
        return self.moments or self.mean.requires_grad

    def mark_written(self) -> None:
        """Marks the present values as written by message passing (or by loading a checkpoint)."""
        head, witness, _ = self._stamp
        self._note(_stamp=(head, witness.copy_(head), self.precision._version))

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
        fell = ~(precision >= self.floor)
        if fell.any() or (head < witness).any():
            raise ForeignUpdate(
                "weight precisions fell, or are not finite, without a message-passing step",
                where=f"a marginal of shape {tuple(self.mean.shape)}",
                got=f"{int(fell.sum())} below the prior precision, lowest {precision.min().item():.4g}",
                cause="GBP parameters were given to another optimizer (AdamW, SGD, ...)",
                fix="give them to torch_gbp.MessagePassing only, and call reset_parameters() or load a checkpoint",
            )
        self.mark_written()

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
        own = {"mean": self.mean, "precision": self.precision, "prior_precision": self.mean, "prior_mean": self.mean}
        found = {
            part: require_saved(entries[part], state[entries[part]], own[part], saved.assign, broadcast=part.startswith("prior"))
            for part in given
        }
        precision, floor = found["precision"], found["prior_precision"]
        require_all(f"{prefix}prior_precision", floor > 0, "positive", floor)
        floor = self.as_stored(floor)
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
            self.prior_precision.fill_(1.0 / self.prior.width)
            self.prior_mean = mean_of(self.prior, self.mean)
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
