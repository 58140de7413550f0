"""GBPActivation for any elementwise function; GBPLeakyReLU and GBPReLU, in closed form, and GBPSigmoid, linearised."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_gbp.autograd.bridge import Rule, factor
from torch_gbp.errors.checks import PART, require, require_kind
from torch_gbp.factors import leaky_relu
from torch_gbp.factors.activations import SIGMOID, factor_of
from torch_gbp.factors.elementwise import Elementwise, ElementwiseOptions
from torch_gbp.factors.leaky_relu import LeakyReLUOptions
from torch_gbp.layers.base import ActivationLayer, factor_arguments

_SIGMOID = SIGMOID.linearised().rule()
_RULES = leaky_relu.SCORE, leaky_relu.EP, leaky_relu.LINEARISED, _SIGMOID
_FORMS = [factor(rule) for rule in _RULES]  # made now, see autograd/bridge.py


class GBPLeakyReLU(ActivationLayer):
    """a = max(z, negative_slope z), with the exact mean and variance of a (factors/leaky_relu.py).

    Args:
        negative_slope: 0 <= negative_slope <= 1.
        inplace: accepted as in torch.nn.LeakyReLU; moments are always new tensors.
        rule: `factors.leaky_relu.SCORE` (default) or `factors.leaky_relu.EP`, the form of the backward message.

    Shape: any, output as input. An observed tensor is taken as a belief of variance 0.

    >>> import torch_gbp as gbp
    >>> output = GBPLeakyReLU(0.1)(gbp.Gaussian(torch.tensor([0.0]), torch.tensor([1.0])))
    >>> round(output.mean.item(), 4)
    0.359
    """

    twin, replaces = nn.LeakyReLU, ("leaky_relu",)
    linearised, exact = leaky_relu.LINEARISED, leaky_relu.EXACT

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False, *, rule: Rule = leaky_relu.SCORE) -> None:
        super().__init__()
        self.negative_slope = require("negative_slope", negative_slope, PART, "GBPLeakyReLU", fix="use a slope such as 0.1")
        require_kind("rule", rule, Rule, "GBPLeakyReLU", fix="use factors.leaky_relu.SCORE")
        self.rule = rule
        factor(rule)

    @classmethod
    def from_torch(cls, layer: nn.LeakyReLU | nn.ReLU) -> GBPLeakyReLU:
        """The GBP twin of nn.LeakyReLU or nn.ReLU."""
        return cls(getattr(layer, "negative_slope", 0.0))

    def to_torch(self) -> nn.Module:
        """The torch layer of the same settings."""
        return nn.LeakyReLU(self.negative_slope)

    def plain(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope)

    @property
    def options(self) -> LeakyReLUOptions:  # type: ignore[override]
        return LeakyReLUOptions(self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class GBPReLU(GBPLeakyReLU):
    """a = max(z, 0), with the exact mean and variance of a; the LeakyReLU of slope 0.

    >>> import torch_gbp as gbp
    >>> round(GBPReLU()(gbp.Gaussian(torch.tensor([0.0]), torch.tensor([1.0]))).mean.item(), 4)
    0.3989
    """

    twin, replaces = nn.ReLU, ("relu",)

    def __init__(self, inplace: bool = False, *, rule: Rule = leaky_relu.SCORE) -> None:
        super().__init__(0.0, inplace, rule=rule)

    @classmethod
    def from_torch(cls, layer: nn.LeakyReLU | nn.ReLU) -> GBPReLU:
        return cls()

    def to_torch(self) -> nn.Module:
        """The torch layer of the same settings."""
        return nn.ReLU()


class GBPSigmoid(ActivationLayer):
    """a = 1 / (1 + exp(-z)) to first order at the mean: mean f(m), variance f'(m)^2 v (factors/elementwise.py).

    Meant for deep factor graphs, where the point of the expansion moves with the beliefs; in a single sweep the error grows
    with the variance of z.

    Shape: any, output as input. An observed tensor is taken as a belief of variance 0.

    >>> import torch_gbp as gbp
    >>> GBPSigmoid()(gbp.Gaussian(torch.tensor([0.0]), torch.tensor([1.0]))).variance
    tensor([0.0625])
    """

    twin, replaces = nn.Sigmoid, ("sigmoid",)
    rule = linearised = _SIGMOID
    options = ElementwiseOptions()

    @classmethod
    def from_torch(cls, layer: nn.Sigmoid) -> GBPSigmoid:
        """The GBP twin of nn.Sigmoid."""
        return cls()

    def to_torch(self) -> nn.Module:
        """The torch layer of the same settings."""
        return nn.Sigmoid()

    def plain(self, input: Tensor) -> Tensor:
        return torch.sigmoid(input)


class GBPActivation(ActivationLayer):
    """a = f(z) for any elementwise function f: moments and variational messages by quadrature (factors/elementwise.py).

    Args:
        activation: a module of torch such as nn.GELU() or nn.SiLU(), or `factors.elementwise.Elementwise(f)` for f of your own.

    Shape: any, output as input. An observed tensor is taken as a belief of variance 0.

    Raises:
        MissingRule: an activation without factor, such as one that is not elementwise.

    >>> import torch_gbp as gbp
    >>> GBPActivation(nn.GELU())(gbp.Gaussian(torch.tensor([0.0]), torch.tensor([1.0]))).mean
    tensor([0.2821])
    """

    @factor_arguments
    def __init__(self, activation: nn.Module | Elementwise) -> None:
        super().__init__()
        self.factor, self.options = factor_of(activation)
        self.source: tuple[Any] = (activation,)  # no submodule
        self.rule, self.linearised = self.factor.rule(), self.factor.linearised().rule()
        self.exact = self.factor.per_edge().rule()
        _ = factor(self.rule), factor(self.linearised)  # made now, see autograd/bridge.py

    @classmethod
    def from_torch(cls, layer: nn.Module) -> GBPActivation:
        """The GBP twin of a torch activation."""
        return cls(layer)

    def to_torch(self) -> nn.Module:
        """The torch layer of the same settings."""
        return copy.deepcopy(self.source[0])

    def plain(self, input: Tensor) -> Tensor:
        return self.factor.function(input, *self.options.arguments)

    def extra_repr(self) -> str:
        return repr(self.source[0])
