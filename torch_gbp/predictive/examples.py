"""Outputs of a network on examples, and what a prediction says of their targets."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_kind
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods import Likelihood
from torch_gbp.likelihoods.evidence import per_example
from torch_gbp.modules import spare


def output_of(model: nn.Module, x: Any, where: str) -> Gaussian:
    """The network's belief of its outputs; x stays, whatever the network does to its input.

    Raises:
        InvalidInput: an output that is no Gaussian.
    """
    output = model(spare(x))
    if not isinstance(output, Gaussian):
        raise InvalidInput(
            "the output of the network must be a Gaussian",
            where=where,
            got=type(output).__name__,
            cause="a network without GBP layers, or one converted for means sweeps",
            fix="build it of GBP layers, or convert it by from_torch(network, moments=True)",
        )
    return output


def log_probability(predictive: Distribution, target: Tensor) -> Tensor:
    """log p(y) of every example, (n,): summed over its targets, averaged over its classes where they have probabilities."""
    if isinstance(predictive, Categorical) and target.is_floating_point():
        return (target * predictive.logits).sum(-1)
    return per_example(predictive.log_prob(target))


def require_network(model: Any, likelihood: Any, where: str) -> None:
    """Raises InvalidInput unless these are a module and a likelihood."""
    require_kind("model", model, nn.Module, where, fix="pass a network of GBP layers")
    require_kind("likelihood", likelihood, Likelihood, where, fix="pass an instance, such as torch_gbp.Softmax()")
