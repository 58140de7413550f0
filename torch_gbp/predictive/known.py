"""A network as a function of its weights: what sampling and linearising call, with torch's transforms where those can follow.

A plain network is called with other tensors in the place of the parameters that have marginals (`torch.func.functional_call`).
Layers of beliefs do, while `weights_known`, what torch's own layers do; where one cannot (noise of its own, a layer of the
user's), the network carries beliefs whose weights have the variance 0, which torch's transforms cannot follow.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from torch_gbp.errors import InvalidInput
from torch_gbp.factors import max_pool
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers import (
    GBPActivation,
    GBPAdaptiveAvgPool2d,
    GBPAvgPool2d,
    GBPConv2d,
    GBPConvTranspose2d,
    GBPLeakyReLU,
    GBPLinear,
    GBPMaxPool2d,
    GBPSigmoid,
    GBPUpsample,
)
from torch_gbp.layers.base import FactorLayer, WeightedLayer
from torch_gbp.predictive.examples import spare
from torch_gbp.weights.attached import ParameterMarginal, marginals
from torch_gbp.weights.parameter import GaussianParameter

Weights = dict[str, Tensor]
Scattered = tuple[Tensor, Tensor]  # mean, and deviation as the precision is stored: weights that share one have it once


class Network:
    """Outputs of a network on one batch, as a function of the weights that have marginals.

    Attributes:
        scattered: means and deviations of the marginals, by the names of the parameters that are the means.
        plain: whether no layer is one of beliefs.
        traceable: whether those that there are can do without.

    Raises:
        InvalidInput: no weight has a marginal, though one is `needed`.
    """

    def __init__(self, model: nn.Module, where: str, needed: bool = True) -> None:
        self.model = uncompiled(model)
        self.where = where
        self.owners = {_mean(name, own): own for name, own in marginals(self.model).items()}
        if needed and not self.owners:
            raise no_marginals(where)
        layers = [module for module in self.model.modules() if isinstance(module, FactorLayer)]
        self.plain = not layers and all(isinstance(own, ParameterMarginal) for own in self.owners.values())
        held = {id(own) for layer in layers if _plain(layer) for own in layer.children()}
        known = (isinstance(own, ParameterMarginal) or id(own) in held for own in self.owners.values())
        self.traceable = all(map(_plain, layers)) and all(known)

    @property
    def scattered(self) -> dict[str, Scattered]:
        return {name: (own.mean.detach(), own.variance.sqrt()) for name, own in self.owners.items()}

    def means(self) -> Weights:
        return {name: own.mean.detach() for name, own in self.owners.items()}

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        """Outputs (n, ...), never in half precision; x stays, whatever the network does to its input."""
        return tensor_of(functional_call(self.model, weights, (spare(x),)), self.where, len(x))

    def centre(self, x: Tensor) -> Tensor | None:
        """Outputs at the means while `weights_known`; None where the network's own forward cannot do without beliefs."""
        if not self.traceable:
            return None
        try:
            found = functional_call(self.model, self.means(), (spare(x),))
        except Exception:
            if self.plain:
                raise
            return None  # with the errors of the layers of beliefs, if it has any
        return None if isinstance(found, Gaussian) else tensor_of(found, self.where, len(x))

    def carrying(self, weights: Weights, x: Tensor) -> Gaussian:
        """The same by layers of beliefs: what their own noise leaves uncertain has a variance."""
        sure = {name.removesuffix("mean") + "precision": own.precision.detach().new_full((), torch.inf).expand_as(own.precision)
                for name, own in self.owners.items() if not isinstance(own, ParameterMarginal)}  # fmt: skip
        found = functional_call(self.model, weights | sure, (spare(x),))
        return found if isinstance(found, Gaussian) else Gaussian(found, torch.zeros_like(found))


def uncompiled(model: nn.Module) -> nn.Module:
    """The network inside what `torch.compile` makes of it."""
    return getattr(model, "_orig_mod", model)


@contextmanager
def weights_known(model: nn.Module) -> Iterator[None]:
    """Inside, layers of beliefs take their means for the weights and give tensors; afterwards they are what they were."""
    layers = [module for module in model.modules() if isinstance(module, FactorLayer) and _plain(module)]
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # torch's transforms cannot follow it
        for layer in layers:
            layer.__dict__["forward"] = partial(_PLAIN[type(layer).plain], layer)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for layer in layers:
            layer.__dict__.pop("forward", None)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Inside, modules may keep what a pass brings, such as attention maps; afterwards each holds what it held before.

    What torch's transforms pass through a network cannot be used, copied or saved outside of them.
    """
    held = [(module, dict(module.__dict__), dict(module._buffers)) for module in model.modules()]
    try:
        yield
    finally:
        for module, own, buffers in held:
            module.__dict__.clear()
            module.__dict__.update(own)
            module._buffers.clear()
            module._buffers.update(buffers)


@contextmanager
def slow_rules() -> Iterator[None]:
    """Inside, torch does not warn of operations that its transforms follow one by one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield


def tensor_of(output: Any, where: str, examples: int | None = None) -> Tensor:
    """The outputs of a network of known weights; raises InvalidInput unless they are floating-point numbers, a row an example."""
    if not isinstance(output, Tensor) or not output.is_floating_point():
        raise InvalidInput(
            "the network must give a floating-point tensor of outputs",
            where=where,
            got=str(getattr(output, "dtype", type(output).__name__)),
            cause="a network that returns several things",
            fix="wrap it in a module that returns the outputs alone",
        )
    if examples is not None and (not output.ndim or len(output) % examples):  # of a sequence it may give several
        raise InvalidInput(
            "the network must give a row of outputs for each example",
            where=where,
            got=f"outputs {tuple(output.shape)} of {examples} examples",
            cause="a network that ends in .squeeze(), which takes a batch of one away, or in .mean()",
            fix="use .squeeze(-1), .squeeze(1), ...",
        )
    return output.to(torch.promote_types(output.dtype, torch.float32))


def no_marginals(where: str) -> InvalidInput:
    """The error for a network that has nothing to predict by but its weights."""
    return InvalidInput(
        "no weight of the network has a marginal",
        where=where,
        cause="a torch network that was not converted, so the output of the network is not Gaussian",
        fix='convert it by from_torch, build it of GBP layers, or predict by the weights alone with how="means"',
    )


def _mean(name: str, own: GaussianParameter) -> str:
    """Name of the parameter that holds a marginal's mean."""
    return name if isinstance(own, ParameterMarginal) else f"{name}.mean"


def _plain(layer: FactorLayer) -> bool:
    """Whether a torch function does what the layer does for known weights and inputs."""
    chosen = getattr(layer, "rule", max_pool.SCORE) if isinstance(layer, GBPMaxPool2d) else max_pool.SCORE
    own = type(layer).forward is not FactorLayer.forward or "forward" in layer.__dict__
    return chosen is max_pool.SCORE and type(layer).plain in _PLAIN and not own


def _weights(layer: WeightedLayer) -> tuple[Tensor, Tensor | None]:
    return layer.weight.mean, None if layer.bias is None else layer.bias.mean


def _linear(layer: GBPLinear, x: Tensor) -> Any:
    return F.linear(x, *_weights(layer))


def _conv(layer: GBPConv2d, x: Tensor) -> Any:
    return F.conv2d(x, *_weights(layer), *layer.options)


def _conv_transpose(layer: GBPConvTranspose2d, x: Tensor) -> Any:
    weight, bias = _weights(layer)
    return F.conv_transpose2d(x, weight.transpose(0, 1), bias, *layer.options)


def _avg_pool(layer: GBPAvgPool2d, x: Tensor) -> Tensor:
    kernel, stride, padding, _, ceil_mode = layer.options
    return F.avg_pool2d(x, kernel, stride, padding, ceil_mode, layer.count_include_pad, layer.divisor_override)


def _upsample(layer: GBPUpsample, x: Tensor) -> Tensor:
    size, scale = (None if part is None else list(part) for part in layer.options)
    return F.interpolate(x, size, scale)  # type: ignore[arg-type]


_PLAIN: dict[Callable[..., Any], Callable[..., Any]] = {
    GBPLinear.plain: _linear,
    GBPConv2d.plain: _conv,
    GBPConvTranspose2d.plain: _conv_transpose,
    GBPLeakyReLU.plain: lambda layer, x: F.leaky_relu(x, layer.negative_slope),
    GBPActivation.plain: lambda layer, x: layer.plain(x),
    GBPSigmoid.plain: lambda _, x: torch.sigmoid(x),
    GBPMaxPool2d.plain: lambda layer, x: F.max_pool2d(x, *layer.options),
    GBPAvgPool2d.plain: _avg_pool,
    GBPAdaptiveAvgPool2d.plain: lambda layer, x: F.adaptive_avg_pool2d(x, layer.output_size),
    GBPUpsample.plain: _upsample,
}
