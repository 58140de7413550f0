"""torch's smooth activations as elementwise factors: one row each gives the moment map, the messages and their other forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.errors import MissingRule
from torch_gbp.factors.elementwise import Elementwise, ElementwiseOptions
from torch_gbp.factors.leaky_relu import LEAKY_RELU, LeakyReLUOptions
from torch_gbp.factors.quadrature import Shape
from torch_gbp.functions import moments, named
from torch_gbp.gaussian import Gaussian

_AROUND = (-16.0, -8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0, 16.0)  # bends of what changes over a unit and then settles
_HALVED = tuple(place / 2 for place in _AROUND)


def _scaled(places: tuple[float, ...], factor: float) -> tuple[float, ...]:
    return tuple(factor * place for place in places)


# A row for each module of torch whose function has the module's name and arguments: where it bends.
SHAPES: dict[type[nn.Module], Callable[[Any], Shape]] = {
    nn.Sigmoid: lambda _: Shape(bends=_AROUND, narrow=1.0),
    nn.Tanh: lambda _: Shape(bends=_HALVED, narrow=0.5),
    nn.Tanhshrink: lambda _: Shape(bends=_HALVED, narrow=0.5),
    nn.LogSigmoid: lambda _: Shape(bends=_AROUND, narrow=1.0),
    nn.SiLU: lambda _: Shape(bends=_AROUND, narrow=1.0),
    nn.Mish: lambda _: Shape(bends=_AROUND, narrow=0.75),
    nn.GELU: lambda _: Shape(bends=_HALVED, narrow=0.75),
    nn.Hardswish: lambda _: Shape((-3.0, 3.0), narrow=math.inf),
    nn.SELU: lambda _: Shape((0.0,), _AROUND[:4], 1.0),
    nn.ELU: lambda _: Shape((0.0,), _AROUND[:4], 1.0),
    nn.CELU: lambda own: Shape((0.0,), _scaled(_AROUND[:4], own.alpha), own.alpha),  # its curvature jumps at 0, not its slope
    nn.Softplus: lambda own: Shape((), _scaled((*_AROUND, own.threshold), 1 / own.beta), 1 / own.beta),
}


class Sigmoid(Elementwise):
    """1 / (1 + exp(-z)), with the slope in closed form."""

    def slope(self, arguments: tuple[Any, ...], x: Tensor) -> tuple[Tensor, Tensor]:
        height = torch.sigmoid(x)
        return height, height * (1 - height)


SIGMOID = Sigmoid(torch.sigmoid, bends=_AROUND, narrow=1.0)


def factor_of(module: nn.Module | Elementwise) -> tuple[Elementwise, Any]:
    """The factor of an activation and its options: a module with a row above, a rectifier, an `Elementwise` of your own.

    Raises:
        MissingRule: anything else.

    >>> factor, options = factor_of(nn.GELU())
    >>> round(factor.moments(options, torch.tensor(0.0), torch.tensor(1.0))[0].item(), 4)
    0.2821
    """
    if isinstance(module, Elementwise):
        return module, ElementwiseOptions()
    if isinstance(module, (nn.ReLU, nn.LeakyReLU)):
        return LEAKY_RELU, LeakyReLUOptions(getattr(module, "negative_slope", 0.0))
    if type(module) not in SHAPES:
        raise MissingRule(
            "no elementwise factor for this activation",
            where="GBPActivation",
            got=type(module).__name__,
            fix=f"use {', '.join(kind.__name__ for kind in SHAPES)}, or torch_gbp.factors.elementwise.Elementwise(function)",
        )
    return _factor(module), ElementwiseOptions()


def _factor(module: Any) -> Elementwise:
    if getattr(module, "inplace", False):
        module = type(module)(**{"inplace": False} | ({"alpha": module.alpha} if hasattr(module, "alpha") else {}))
    return Elementwise(module, **SHAPES[type(module)](module)._asdict())


def _map_of(kind: type[nn.Module]) -> Callable[..., Gaussian]:
    """The moment map of the function of a module."""

    def map(input: Gaussian, *args: Any, **kwargs: Any) -> Gaussian:
        return _factor(kind(*args, **kwargs))(input)

    map.__doc__ = f"Moments of what nn.{kind.__name__} makes of every entry, by quadrature."
    return map


for _kind in SHAPES:
    moments(*named(_kind.__name__.lower()))(_map_of(_kind))
