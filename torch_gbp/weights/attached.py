"""ParameterMarginal: a marginal on a parameter that a module of torch, or of the user's own, already has.

The parameter is the mean, and stays where it is; the precision stands beside it, in a module of its own that is saved with the
network (`fc.weight` and `fc.weight_marginal.precision`). It is no parameter: nothing but `MessagePassing` writes to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from torch_gbp.errors import InvalidInput
from torch_gbp.weights.held_prior import mean_of
from torch_gbp.weights.loading import Saved, require_saved
from torch_gbp.weights.parameter import GaussianParameter, owner_of
from torch_gbp.weights.priors import Prior
from torch_gbp.weights.sharing import Sharing, fans, sharing_of

SUFFIX = "_marginal"
ROUNDING = 1e-5  # of a precision, relative


class ParameterMarginal(GaussianParameter):
    """Marginal N(parameter, 1 / precision) of a module's own parameter, with prior N(prior_mean, 1 / prior_precision).

    Args:
        module, name: whose parameter it is, and its name there.
        prior: as for any weights.
        sharing: which weights share a precision; None takes `sharing_of`.

    Raises:
        InvalidInput: no such parameter, one that is no floating-point tensor, or one that has a marginal already.

    >>> layer = nn.Linear(3, 2)
    >>> marginal = attach(layer, "weight", Prior(variance=0.5, start_deviation=0.1))
    >>> sorted(layer.state_dict())
    ['bias', 'weight', 'weight_marginal.precision', 'weight_marginal.prior_precision']
    """

    precision: Tensor  # type: ignore[assignment]
    _module: Any  # in __dict__: the module, and its parameter, belong to somebody else
    _mean: nn.Parameter
    own_entries = frozenset(("precision", "prior_precision", "prior_mean"))
    variable = ("prior_precision", "prior_mean", "mean_input")
    mean_input: Tensor | None  # E[x] where a normalisation follows, see `mean_input.py`; broadcasts to the mean
    moments = False

    def __init__(self, module: nn.Module, name: str, prior: Prior, sharing: Sharing | None = None) -> None:
        nn.Module.__init__(self)
        parameter = _parameter(module, name)
        width, self.prior, self.name = prior.width, prior, name
        self._as_built = prior.start_variance
        self.sharing = sharing_of(module, name, parameter) if sharing is None else sharing
        self.__dict__["_module"], self.__dict__["_mean"] = module, parameter  # not as a submodule and a parameter of its own
        like = parameter.new_full((), 1.0 / width)
        self.register_buffer("precision", like.expand(self.sharing.stored(parameter.shape)).clone())
        self.register_buffer("prior_precision", like)
        at_start = isinstance(prior.mean, str)
        self.register_buffer("prior_mean", parameter.detach().clone() if at_start else mean_of(prior, parameter))
        self.register_buffer("mean_input", None)
        self._register()

    @property
    def mean(self) -> nn.Parameter:  # type: ignore[override]
        """The module's parameter, whichever it is by now: sharding and `load_state_dict(assign=True)` put others in place."""
        held = self._module.__dict__.get("_parameters", {}).get(self.name)
        if held is not None and held is not self._mean:
            self.__dict__["_mean"] = held
            self._register()
        return self._mean

    @property
    def halves(self) -> dict[str, nn.Parameter]:
        return {"mean": self.mean}

    def mark_written(self) -> None:
        """Nobody else writes to the precision, which is no parameter, so nothing is watched."""

    def averaged(self, values: Tensor) -> Tensor:
        return self.sharing.average(values)

    def narrow(self, variance: float) -> None:
        """Starts with a variance below the prior's: the precision above is a surplus, which an optimizer anneals away."""
        self.prior = replace(self.prior, start_variance=min(variance, self.prior.width))
        self.surplus = max(0.0, 1 / variance - float(self.floor.mean()))
        self._refresh()

    def check_saved(self, saved: Saved, prefix: str) -> None:
        super().check_saved(saved, prefix)
        if (found := saved.state.get(prefix + "mean_input")) is not None:
            require_saved(prefix + "mean_input", found, self.mean, saved.assign, broadcast=True)

    def make_room(self, state: Mapping[str, Any], prefix: str) -> None:
        """And a mean input only where the saved network has one."""
        super().make_room(state, prefix)
        if prefix + "precision" in state:
            found = state.get(prefix + "mean_input")
            self.mean_input = None if found is None else found.detach().to(self.mean, copy=True)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A loaded precision that is the same for all weights is one that nobody has learnt: above the prior it is a surplus."""
        super()._load_from_state_dict(state_dict, prefix, *args)
        first = float(self.precision.flatten()[0]) if prefix + "precision" in state_dict else 0.0
        if self.precision.numel() > 1 and bool((self.precision == first).all()):
            if first > float(self.floor.mean()) * (1 + ROUNDING):
                self.narrow(1 / first)
            else:  # the start of a network that nobody has trained, elsewhere either
                self.prior, self.surplus = replace(self.prior, start_variance=self._as_built), 0.0

    def _refresh(self) -> None:
        """The precision of a marginal that has learnt nothing."""
        with torch.no_grad():
            self.precision.copy_((self.floor + self.surplus).expand_as(self.precision))
        self.mark_written()

    @cached_property
    def inputs(self) -> int:  # type: ignore[override]
        return fans(self._module, self.name, self.mean)[0]

    def by_output(self, values: Tensor) -> Tensor:
        if not isinstance(self._module, _ConvTransposeNd):
            return super().by_output(values)
        groups, (_, outputs, *kernel) = self._module.groups, values.shape  # stored (inputs, outputs of a group, ...)
        return values.reshape(groups, -1, outputs, *kernel).transpose(1, 2).reshape(groups * outputs, -1)

    def of_outputs(self, values: Tensor) -> Tensor:
        if not isinstance(self._module, _ConvTransposeNd):
            return super().of_outputs(values)
        each = len(self.mean) // self._module.groups
        rows = values.view(self._module.groups, -1).repeat_interleave(each, 0)
        return rows.view(*rows.shape, *(1 for _ in self.mean.shape[2:]))

    @property
    def variance(self) -> Tensor:
        variance = self.precision.reciprocal()
        if self.sharing.constant is not None:
            variance[self.sharing.constant] = 0.0
        return variance

    def entries(self, prefix: str) -> dict[str, str]:
        own = super().entries(prefix)
        return own | {"mean": prefix.removesuffix(f"{self.name}{SUFFIX}.") + self.name}

    def _apply(self, fn: Any, recurse: bool = True) -> ParameterMarginal:
        empty = self.precision.is_meta
        started = not empty and self.surplus > 0 and self.fresh()
        nn.Module._apply(self, fn, recurse)
        self._register()
        if empty and not self.precision.is_meta:  # to_empty() leaves whatever was in the memory
            self.mean_input = None
            self.prior_precision.fill_(1.0 / self.prior.width)
            self._refresh()
        elif started and not self.precision.is_meta:  # a sum rounds otherwise in another dtype
            self._refresh()
        return self

    def extra_repr(self) -> str:
        return f"{self.name} {super().extra_repr()}"


def attach(module: nn.Module, name: str, prior: Prior, sharing: Sharing | None = None) -> ParameterMarginal:
    """Gives a module's parameter a marginal, which becomes its submodule `<name>_marginal`; the prior sees its `fans`."""
    marginal = ParameterMarginal(module, name, prior.resolved(*fans(module, name, _parameter(module, name))), sharing)
    module.add_module(name + SUFFIX, marginal)
    return marginal


def detach(marginal: ParameterMarginal) -> None:
    """Takes a marginal off its parameter, which keeps the mean."""
    marginal._module._modules.pop(marginal.name + SUFFIX)
    marginal.mean.grad = None


def marginals(model: nn.Module) -> dict[str, GaussianParameter]:
    """All marginals of a network, by the qualified name of what they are the marginals of.

    >>> network = nn.Sequential(nn.Linear(3, 2))
    >>> _ = attach(network[0], "weight", Prior(variance=0.5, start_deviation=0.1))
    >>> list(marginals(network))
    ['0.weight']
    """
    found = {name: own for name, own in model.named_modules() if isinstance(own, GaussianParameter)}
    for own in found.values():
        own._register()
    return {name.removesuffix(SUFFIX) if isinstance(own, ParameterMarginal) else name: own for name, own in found.items()}


def plain_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters that have no marginal."""
    owned = {id(half) for own in marginals(model).values() for half in own.halves.values()}
    return ((name, parameter) for name, parameter in model.named_parameters() if id(parameter) not in owned)


def _parameter(module: nn.Module, name: str) -> nn.Parameter:
    parameter = module._parameters.get(name)
    if not isinstance(parameter, nn.Parameter) or not parameter.is_floating_point():
        raise InvalidInput(
            f"'{name}' is no floating-point parameter of {type(module).__name__}",
            where="attach",
            got=type(parameter).__name__,
            cause="a buffer, a submodule, or a lazy layer that has seen no input",
            fix=f"use one of {sorted(module._parameters)}",
        )
    if owner_of(parameter) is not None:
        raise InvalidInput("the parameter has a marginal already", where="attach", got=name, fix="detach that first")
    return parameter


Filter = Callable[[nn.Module, str], bool]
"""(module, qualified name of its parameter) -> whether that parameter becomes Gaussian."""
