"""Prediction in one pass, by moments; and by the means of the weights alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.errors import GBPError, MissingRule
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import weights_known
from torch_gbp.modules import evaluating, spare, uncompiled
from torch_gbp.predictive.announced import dependence_announced
from torch_gbp.predictive.known import Network, no_marginals, tensor_of, undisturbed
from torch_gbp.predictive.outputs import Outputs
from torch_gbp.weights.attached import ParameterMarginal, marginals


def moments(model: nn.Module, x: Any, where: str) -> Outputs:
    """Beliefs of the outputs, carried through the network as mean and variance.

    Warns:
        DependentTerms: once for a network, if a plain one adds up terms that may depend on each other.

    Raises:
        MissingRule: an operation that has no map of moments, or a forward that takes tensors alone.
        InvalidInput: neither marginals nor layers of beliefs.
    """
    plain = any(isinstance(own, ParameterMarginal) for own in marginals(model).values())
    output = _carried(model, x, where) if plain else _passed(model, x)
    if isinstance(output, Gaussian):
        return Outputs(*(part.to(torch.promote_types(part.dtype, torch.float32)) for part in output))
    if not marginals(model):
        raise no_marginals(where)
    output = tensor_of(output, where, len(x) if isinstance(x, Tensor) else None)
    return Outputs(output, torch.zeros_like(output))  # of the weights that have marginals none is used


def at_means(model: nn.Module, x: Tensor, where: str) -> Outputs:
    """Outputs at the weights' means, certain; of layers with noise of their own, what that leaves uncertain."""
    network = Network(model, where, needed=False)
    with evaluating(model), undisturbed(network.model), torch.no_grad():
        with weights_known():
            mean = network.centre(x)
        return Outputs(*network.carrying(network.means(), x)) if mean is None else Outputs(mean, torch.zeros_like(mean))


def _passed(model: nn.Module, x: Any) -> Any:
    with evaluating(model), torch.no_grad():
        return model(spare(x))


def _carried(model: nn.Module, x: Any, where: str) -> Any:
    """A plain network's output; what goes wrong there and not at the means is for want of a map."""
    try:
        with shadowed(model), dependence_announced(model):
            return _passed(uncompiled(model), x)
    except (GBPError, Warning):
        raise
    except Exception as error:
        if isinstance(x, Tensor):
            at_means(model, x, where)  # the network's own errors
        raise MissingRule(
            "the network cannot carry moments",
            where=where,
            got=f"{type(error).__name__}: {error}",
            cause="a layer without moment map (recurrent ones), or x.mean(dim), which of a Gaussian is torch.mean(x, dim)",
            fix='predict by how="samples"',
        ) from error


@contextmanager
def shadowed(model: nn.Module) -> Iterator[None]:
    """Inside, every parameter that has a marginal is its belief, wherever a module holds it; afterwards all is as it was.

    An entry of a module's own dictionary hides the parameter of that name, which stays where it is.
    """
    beliefs = {id(own.mean): own.belief() for own in marginals(model).values() if isinstance(own, ParameterMarginal)}
    held = [(module, name, beliefs[id(parameter)]) for module in model.modules()
            for name, parameter in module._parameters.items() if id(parameter) in beliefs]  # fmt: skip
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # it takes tensors alone
        for module, name, belief in held:
            module.__dict__[name] = belief
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, name, _ in held:
            module.__dict__.pop(name, None)
