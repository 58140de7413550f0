"""A first linear layer whose prior follows the covariance of the inputs."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.bases import InputBasis
from torch_gbp.convert.choice import copied
from torch_gbp.errors import InvalidInput
from torch_gbp.layers import LAYERS
from torch_gbp.layers.base import WeightedLayer
from torch_gbp.layers.incoming import require_features
from torch_gbp.modules import evaluating

_LOG = logging.getLogger(__name__)
WEIGHTED = tuple(layer.twin for layer in LAYERS if layer.twin and issubclass(layer, WeightedLayer))


def first_basis(network: nn.Module, inputs: Tensor, fresh: bool) -> tuple[nn.Linear, InputBasis] | None:
    """The layer with weights that is called first and the basis of its inputs, if that layer is linear.

    Raises:
        InvalidInput: weights that were to be kept, or inputs of another width.
    """
    if not fresh:
        raise InvalidInput(
            "a prior that follows the inputs needs a fresh start",
            where="from_torch",
            cause="inputs given together with the network's own weights",
            fix="add fresh=True, or leave inputs out",
        )
    first = _called_first(network, inputs)
    if not isinstance(first, nn.Linear):
        return None
    if not first.weight.requires_grad:
        raise InvalidInput(
            "a first layer whose prior follows the inputs is made anew",
            where="from_torch",
            got="a frozen one",
            fix="unfreeze it by requires_grad_(), or leave inputs out",
        )
    basis = InputBasis.fit(inputs).to(first.weight.device, first.weight.dtype)
    require_features(len(basis.mean), first.in_features, "features", first)
    return first, basis


@torch.no_grad()
def _called_first(network: nn.Module, inputs: Tensor) -> nn.Module | None:
    """The layer with weights that a forward pass of an input comes to first; the one that is defined first if it fails before."""
    layers, called = [module for module in network.modules() if isinstance(module, WEIGHTED)], list[nn.Module]()
    handles = [layer.register_forward_pre_hook(lambda layer, _: called.append(layer)) for layer in layers]
    try:
        with evaluating(network):
            network(inputs[:1].clone())
    except (RuntimeError, TypeError, ValueError, IndexError) as error:  # inputs that do not fit: told of by their layer's name
        _LOG.debug("the forward pass that looks for the first layer failed, after %d layers: %s", len(called), error)
    finally:
        for handle in handles:
            handle.remove()
    return next(iter(called + layers), None)


def followed(network: nn.Module, inputs: Tensor, fresh: bool) -> nn.Module:
    """A copy of the network with such a basis in front of a first linear layer, which reads the features it makes."""
    found = first_basis(network, inputs, fresh)
    if found is None:
        return copied(network, "from_torch")
    first, basis = found
    like: dict[str, Any] = {"device": first.weight.device, "dtype": first.weight.dtype}
    layer = nn.Sequential(basis, nn.Linear(basis.basis.shape[1], first.out_features, first.bias is not None, **like))
    return copied(network, "from_torch", {id(first): layer})
