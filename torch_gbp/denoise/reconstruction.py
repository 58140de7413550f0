"""The reconstruction factors of one layer: pixels (or activations) z from coefficients x by a transposed convolution.

    r = f(W^T * x + b) - z,   energy rho(sum over channels r^2 / sigma^2),   f LeakyReLU (slope 1: linear)

z, x, W and b are all variables. Messages are aggregated: a factor keeps one number, its dual g, damped. Linearised at
the belief means, with J = f', all sums over factors being transposed convolutions and their transposes,

    a = J^2 (W^2 * v_x + v_W * x^2 + v_b)        variance that x, W, b bring
    m = f(u) + a g                               prediction without the factor's own messages (the Onsager term)
    s = sigma^2 / k + a                          its variance, N(m, s) is the message to z
    g = (m - z_c) / (s + v_c)                    N(z_c, v_c): z without this factor
    to W (x alike): precision sum J^2 x^2 / (s + v_c), force sum J x g

At rest g = r k / sigma^2 at the beliefs, so the force on every mean is the gradient of the energy.
Source: GBP Learning, section 3.1 and appendix B; aggregation and Onsager term as in Donoho, Maleki & Montanari 2009 (AMP).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_gbp.denoise.filters import Filters, Gathered
from torch_gbp.denoise.robust import QUADRATIC, Robust
from torch_gbp.errors.checks import DEVIATION, DEVIATION_OR_0, PART, RATE, require, require_count, require_kind
from torch_gbp.factors.convolutions import CONV_TRANSPOSE, ConvTransposeOptions
from torch_gbp.gaussian import Gaussian, Message

_PLAIN = ConvTransposeOptions()


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
        hold: damping holds on to the first means, else to the priors' means. Between layers those are 0, and a product of two
            variables near 0 says little: a `Stack` needs it.
        haste: rate of the messages to W and b, as a share of the others'; many inputs to a z need a small one.

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
        haste: float = 1.0,
        hold: bool = False,
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
        self.haste = require("haste", haste, RATE, where, fix="use 1.0")
        require_kind("robust", robust, Robust, where, fix="use Tukey(2.5)")
        self.weight = Filters((channels, coefficients, kernel_size, kernel_size), named["weight"], self.start_deviation)
        self.bias = Filters((channels,), named["bias"])
        self.robust, self.activation_deviation, self.hold = robust, named["activation"], bool(hold)

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

    def begin(self, high: int, wide: int, generator: torch.Generator | None = None) -> Visit:
        """The state of inference for one image of this size: nothing said yet, coefficients at random means."""
        return Visit(self, high, wide, generator)


class Visit:
    """What a layer keeps while one image is inferred: beliefs of x, W and b, and a dual for every factor."""

    def __init__(self, layer: Reconstruction, high: int, wide: int, generator: torch.Generator | None) -> None:
        self.layer = layer
        weight, bias = layer.weight, layer.bias
        start = layer.start_deviation * torch.randn(1, layer.coefficients, *layer.shrink(high, wide), generator=generator)
        mean = start.to(weight.mean)
        precision = torch.full_like(mean, layer.activation_deviation**-2)
        self.x = Gathered(Message(torch.zeros_like(mean), precision), mean, layer.hold)
        self.w = Gathered(weight.prior(), weight.mean.clone(), layer.hold)
        self.b = Gathered(bias.prior(), bias.mean.clone(), layer.hold)
        self.dual = mean.new_zeros(1, layer.channels, high, wide)

    def predict(self) -> Tensor:
        """f(W^T * x + b) at the belief means."""
        x, w, b = self.x.belief, self.w.belief, self.b.belief
        return F.leaky_relu(CONV_TRANSPOSE.affine(_PLAIN, x.mean, w.mean, b.mean), self.layer.slope)

    def squared(self, prediction: Tensor, z: Tensor) -> Tensor:
        """M^2 of every position, its channels together."""
        return (prediction - z).square().sum(1, keepdim=True) / self.layer.deviation**2

    def energy(self, z: Tensor) -> Tensor:
        """Energy of the factors and of the priors of x, W and b at the belief means."""
        factors = self.layer.robust.descended(self.squared(self.predict(), z)).sum()
        activation = self.x.belief.mean.square().sum() / (2 * self.layer.activation_deviation**2)
        return factors + activation + self.layer.weight.energy(self.w.belief.mean) + self.layer.bias.energy(self.b.belief.mean)

    def update(self, z: Tensor, cavity: Message, rate: float) -> Message:
        """One iteration of all messages of the layer; returns the message to z.

        Args:
            z: belief mean, where the robust weights are taken.
            cavity: z without this layer's message, precision 0 where nothing is known.
            rate: 1 - damping.
        """
        x, w, b = self.x.belief, self.w.belief, self.b.belief
        u = CONV_TRANSPOSE.affine(_PLAIN, x.mean, w.mean, b.mean)
        slope = None if self.layer.slope == 1 else torch.where(u > 0, 1.0, self.layer.slope)
        prediction = F.leaky_relu(u, self.layer.slope)
        squares = x.mean.square(), w.mean.square()
        brought = _brought(squares, x, w, b)
        brought = brought if slope is None else slope.square() * brought
        noise = self.layer.deviation**2 / self.layer.robust.weight(self.squared(prediction, z))
        mean, variance = prediction + brought * self.dual, noise + brought
        strength = cavity.precision / (1 + variance * cavity.precision)  # 1 / (s + v_c)
        dual = (mean * cavity.precision - cavity.information) / (1 + variance * cavity.precision)
        self.dual = torch.lerp(self.dual, dual, rate)
        if slope is not None:
            dual, strength = slope * dual, slope.square() * strength
        self._tell(dual, strength, squares, rate)
        return Message(mean / variance, variance.reciprocal())

    def _tell(self, dual: Tensor, strength: Tensor, squares: tuple[Tensor, Tensor], rate: float) -> None:
        """The sums of the messages to x, W and b."""
        forces = CONV_TRANSPOSE.transpose(_PLAIN, dual, self.x.belief.mean, self.w.belief.mean)
        precisions = CONV_TRANSPOSE.transpose(_PLAIN, strength, *squares)
        slow = rate * self.layer.haste
        for own, precision, force, share in zip((self.x, self.w), precisions, forces, (rate, slow), strict=True):
            own.absorb(precision, force, share)
        self.b.absorb(strength.sum((0, 2, 3)), dual.sum((0, 2, 3)), slow)

    def settle(self) -> None:
        """Hands the beliefs of W and b to the layer, as posterior."""
        self.layer.weight.settle(self.w.belief)
        self.layer.bias.settle(self.b.belief)


def _brought(squares: tuple[Tensor, Tensor], x: Gaussian, w: Gaussian, b: Gaussian) -> Tensor:
    """v_W * x^2 + W^2 * v_x + v_b, as one transposed convolution of twice the channels."""
    inputs, kernel = torch.cat([squares[0], x.variance], 1), torch.cat([w.variance, squares[1]], 1)
    return CONV_TRANSPOSE.affine(_PLAIN, inputs, kernel, b.variance)
