"""The reconstruction factors of one layer: pixels (or activations) z from coefficients x by a transposed convolution.

    r = f(W^T * x + b) - z,   energy rho(sum over channels r^2 / sigma^2),   f LeakyReLU (slope 1: linear)

z, x, W and b are all variables, and the factors a `LinearNode` to first order (inference/linear.py, factors/bilinear.py).
Its residual has the variance sigma^2 / k, with k the robust weight at the prediction and the belief of z. At a fixed point
the force on every mean is the gradient of the energy.
Source: GBP Learning, section 3.1 and appendix B; aggregation and Onsager term as in Donoho, Maleki & Montanari 2009 (AMP).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from torch_gbp.denoise.filters import Filters
from torch_gbp.denoise.robust import QUADRATIC, Robust, require_robust
from torch_gbp.errors.checks import DEVIATION, DEVIATION_OR_0, PART, RATE, require, require_count
from torch_gbp.gaussian import Message
from torch_gbp.inference.damping import Iteration
from torch_gbp.inference.latent import Latent
from torch_gbp.inference.linear import LinearNode
from torch_gbp.inference.rules import leaky_relu, transposed_convolution
from torch_gbp.inference.variable import Variable


class Reconstruction(nn.Module):
    """Filters and settings of a layer of reconstruction factors.

    Args:
        channels: of the reconstructed z.
        coefficients: number of filters, the channels of x.
        kernel_size: of the square filters; x is kernel_size - 1 smaller than z.
        deviation: sigma of the factors.
        robust: their energy, joint over the channels of a position.
        slope: of f below 0; 1 is linear.
        weight_deviation, bias_deviation, activation_deviation: of the priors of W, b and x.
        start_deviation: of the random first means of W and x.
        initial_message: damping starts from messages after which beliefs have the first means; else from none, which draws
            beliefs to the priors' means. Between layers those are 0, and a product of two variables near 0 says little: a
            `Stack` needs it.
        weight_rate: 1 - damping of the messages to W and b, as a share of the others'; many inputs to a z need a small one.

    Raises:
        InvalidInput: settings out of range.
    """

    def __init__(
        self,
        channels: int,
        coefficients: int,
        kernel_size: int = 3,
        *,
        deviation: float,
        robust: Robust = QUADRATIC,
        slope: float = 1.0,
        weight_deviation: float,
        bias_deviation: float = 0.3,
        activation_deviation: float = 0.5,
        start_deviation: float = 0.1,
        weight_rate: float = 1.0,
        initial_message: bool = False,
    ) -> None:
        super().__init__()
        where = "Reconstruction"
        channels = require_count("channels", channels, where, fix="use the image's channels")
        coefficients = require_count("coefficients", coefficients, where, fix="use 4")
        kernel_size = require_count("kernel_size", kernel_size, where, fix="use 3")
        named = {"weight": weight_deviation, "bias": bias_deviation, "activation": activation_deviation}
        for name, value in named.items():
            named[name] = require(f"{name}_deviation", value, DEVIATION, where, fix="use 0.3")
        self.start_deviation = require("start_deviation", start_deviation, DEVIATION_OR_0, where, fix="use 0.1")
        self.deviation = require("deviation", deviation, DEVIATION, where, fix="use 0.1")
        self.slope = require("slope", slope, PART, where, fix="use 1.0 for linear, 0.2 for a LeakyReLU")
        self.weight_rate = require("weight_rate", weight_rate, RATE, where, fix="use 1.0")
        require_robust(robust, where)
        self.weight = Filters((channels, coefficients, kernel_size, kernel_size), named["weight"], self.start_deviation)
        self.bias = Filters((channels,), named["bias"])
        self.robust, self.activation_deviation, self.initial_message = robust, named["activation"], bool(initial_message)

    @property
    def channels(self) -> int:
        """Channels of z."""
        return self.weight.mean.shape[0]

    @property
    def coefficients(self) -> int:
        """Channels of x."""
        return self.weight.mean.shape[1]

    def shrink(self, high: int, wide: int) -> tuple[int, int]:
        """Rows and columns of x where z has these."""
        less = self.weight.mean.shape[-1] - 1
        return high - less, wide - less

    def filters(self) -> list[Filters]:
        """What is learned."""
        return [self.weight, self.bias]

    def nodes(self, z: Variable, high: int, wide: int, generator: torch.Generator | None = None) -> list[ReconstructionNode]:
        """The factors of activations z of this size, with new coefficients at random means."""
        size = 1, self.coefficients, *self.shrink(high, wide)
        start = (self.start_deviation * torch.randn(size, generator=generator)).to(self.weight.mean)
        x = Latent(torch.zeros_like(start), self.activation_deviation).variable()
        x.start = start
        node = ReconstructionNode(self)
        node.connect([x.edge()], z)
        if self.initial_message and x.prior is not None:
            node.lower.replace(Message(x.prior.precision * start, torch.zeros_like(start)))
        return [node]


class ReconstructionNode(LinearNode):
    """The factors of a layer and their beliefs of W and b while one image is inferred."""

    def __init__(self, layer: Reconstruction) -> None:
        self.layer = layer
        weights = layer.weight.belief(layer.initial_message), layer.bias.belief(layer.initial_message)
        super().__init__(transposed_convolution(), leaky_relu(layer.slope), weights, layer.deviation**2, None)

    def down(self, now: Iteration) -> None:
        damping = replace(now.damping, weights=1 - now.rate * self.layer.weight_rate)
        super().down(replace(now, damping=damping))

    def residual_variance(self, prediction: Tensor) -> Tensor:
        return self.noise / self.layer.robust.weight(self._squared(prediction - self.upper.belief_mean()))

    def cost(self, residual: Tensor) -> float:
        return float(self.layer.robust.descended(self._squared(residual)).sum())

    def finish(self) -> None:
        """Hands the beliefs of W and b to the layer, as posterior."""
        for own, belief in zip(self.layer.filters(), self.weights, strict=True):
            own.keep(belief)

    def _squared(self, residual: Tensor) -> Tensor:
        """M^2 of every position, its channels together."""
        return residual.square().sum(1, keepdim=True) / self.noise
