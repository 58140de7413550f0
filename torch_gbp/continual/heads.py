"""widen_head: further outputs for the last layer, for classes that nobody has seen yet."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_count, require_kind
from torch_gbp.layers.linear import GBPLinear
from torch_gbp.weights.attached import SUFFIX, ParameterMarginal, attach
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.priors import Prior
from torch_gbp.weights.sharing import Sharing


@torch.no_grad()
def widen_head(model: nn.Module, outputs: int, layer: str | None = None) -> nn.Module:
    """A network whose last linear layer has further outputs, at their prior; the marginals of the old ones are kept.

    The new layer has a precision for each weight: new outputs know nothing yet, old ones do. Make the optimizer anew: it would
    otherwise hold the old layer's weights. A saved state fits a network with a head of that width and covariance="diagonal".

    Args:
        model: network with marginals on the weights of its head; changed in place.
        outputs: number of outputs afterwards.
        layer: name of the head; None takes the GBPLinear or nn.Linear that is defined last.

    Returns:
        The network; the new layer, where the network is the layer.

    Raises:
        InvalidInput: no such layer, or one without marginals; no more outputs than there are.

    >>> import torch_gbp as gbp
    >>> model = nn.Sequential(gbp.GBPLinear(4, 8), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(8, 2))
    >>> widen_head(model, 5)(torch.zeros(1, 4)).shape
    torch.Size([1, 5])
    """
    require_kind("model", model, nn.Module, "widen_head", fix="pass a network with marginals")
    name, old = _head(model, layer)
    outputs = require_count("outputs", outputs, "widen_head", fix=f"the head has {old.out_features}", least=old.out_features + 1)
    new = _gbp_twin(old, outputs) if isinstance(old, GBPLinear) else _torch_twin(old, outputs)
    new.train(old.training)
    if not name:
        return new
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, new)
    return model


def _head(model: nn.Module, layer: str | None) -> tuple[str, GBPLinear | nn.Linear]:
    found = {name: module for name, module in model.named_modules() if isinstance(module, (GBPLinear, nn.Linear))}
    name = next(reversed(found), None) if layer is None else layer
    head = found.get(name) if name is not None else None
    if head is None or not (isinstance(head, GBPLinear) or hasattr(head, "weight" + SUFFIX)):
        raise InvalidInput(
            "no linear layer whose weights have marginals",
            where="widen_head",
            got="no linear layer" if name is None else repr(name),
            cause="a misspelling, a convolution, or a torch layer as it is",
            fix=f"name one of {sorted(found)}, and use from_torch before",
        )
    assert name is not None
    return name, head


def _gbp_twin(old: GBPLinear, outputs: int) -> GBPLinear:
    prior = _prior(old.weight) if old.bias is None else replace(_prior(old.weight), bias=_prior(old.bias))
    like = {"device": old.weight.mean.device, "dtype": old.weight.mean.dtype}
    new = GBPLinear(old.in_features, outputs, old.bias is not None, prior=prior, covariance="diagonal", **like)
    for before, after in ((old.weight, new.weight), (old.bias, new.bias)):
        if before is not None:
            _keep(before, cast(GaussianParameter, after))
            cast(GaussianParameter, after).requires_grad_(before.mean.requires_grad)
    return new


def _torch_twin(old: nn.Linear, outputs: int) -> nn.Linear:
    new = nn.Linear(old.in_features, outputs, old.bias is not None, old.weight.device, old.weight.dtype)
    for name, parameter in old.named_parameters(recurse=False):
        getattr(new, name)[: old.out_features] = parameter
        getattr(new, name).requires_grad_(parameter.requires_grad)
        marginal = getattr(old, name + SUFFIX, None)
        if isinstance(marginal, ParameterMarginal):
            _keep(marginal, attach(new, name, _prior(marginal), Sharing()))
    return new


def _prior(marginal: GaussianParameter) -> Prior:
    """The first prior of a marginal, without a mean of its shape."""
    return replace(marginal.prior, mean=0.0) if isinstance(marginal.prior.mean, Tensor) else marginal.prior


def _keep(old: GaussianParameter, new: GaussianParameter) -> None:
    """The first rows of the new marginal, and of its prior, become the old one's."""
    rows = len(old.mean)
    floor, precision = old.floor.expand_as(old.mean), old.without_surplus().expand_as(old.mean)
    wide = new.floor.expand_as(new.mean).clone()
    wide[:rows] = floor
    if old.prior_precision.ndim:
        new.set_prior_precision(wide)
    else:
        new.set_prior_precision(old.prior_precision)
    if old.prior_mean is not None:
        new.prior_mean = new.centre.expand_as(new.mean).clone()
        new.prior_mean[:rows] = old.prior_mean
    new.mean.data[:rows] = old.mean
    new.precision.copy_(new.floor.expand_as(new.precision))
    new.precision[:rows] = precision
    new.advances = old.advances
    new.mark_written()
