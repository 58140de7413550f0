"""GaussianParameter: the marginal of one weight tensor, kept as two torch parameters and a prior.

`mean` and `precision` are ordinary parameters: they move, save and share like any other. Their `.grad`
after a backward sweep is the product of the batch's messages in centred form (g in `mean.grad`,
G in `precision.grad`). Only message passing may write to them; somebody else's write is found at
the next forward sweep, because precisions fall when a gradient method follows G.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from torch_gbp.errors import ForeignUpdate
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.priors import Prior

# parameter -> weak reference to its GaussianParameter: how an optimizer that is handed parameters
# finds the other half and the prior. Attributes on the tensors would not survive a deepcopy.
_OWNERS: Any = WeakIdKeyDictionary()


class GaussianParameter(nn.Module):
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

    mean: nn.Parameter
    precision: nn.Parameter
    prior_precision: Tensor
    prior_mean: Tensor | None
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

    def message(self) -> Message:
        """The batch's centred message (g, G), from the pair of gradients; a shared G is a mean."""
        score, precision = self.mean.grad, self.precision.grad
        assert score is not None and precision is not None
        share = precision.numel() / score.numel()
        return Message(score, precision if share == 1 else precision * share)

    def tell(self, message: Message) -> None:
        """Puts a centred message (g, G) in the place of the batch's: the reverse of `message`."""
        score, precision = message
        self.mean.grad, self.precision.grad = score, precision * (score.numel() // precision.numel())

    def trust(self) -> None:
        """Marks the present values as written by message passing (or by loading a checkpoint)."""
        head, witness, _ = self._stamp
        self._stamp = head, witness.copy_(head), self.precision._version

    def check_writes(self) -> None:
        """Raises ForeignUpdate if precisions fell since message passing last wrote to them."""
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

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A prior mean exists only for layers made from known weights, and loads wherever it was saved."""
        stored = state_dict.get(prefix + "prior_mean")
        self.prior_mean = None if stored is None else torch.empty_like(stored).to(self.mean)
        self.prior_precision = self.prior_precision.new_empty(
            state_dict.get(prefix + "prior_precision", self.prior_precision).shape
        )
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._register()  # load_state_dict(assign=True) puts other parameters in place

    def _apply(self, fn: Any, recurse: bool = True) -> GaussianParameter:
        super()._apply(fn, recurse)
        self._register()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copies and unpickled modules own their own parameters."""
        super().__setstate__(state)
        self._register()

    def extra_repr(self) -> str:
        return f"{tuple(self.mean.shape)}, prior_variance={self.prior_precision.reciprocal().mean().item():.4g}"


def owner_of(parameter: Tensor) -> GaussianParameter | None:
    """The GaussianParameter that holds this parameter, or None for an ordinary one."""
    reference = _OWNERS.get(parameter)
    return None if reference is None else reference()
