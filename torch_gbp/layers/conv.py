"""GBPConv2d: nn.Conv2d with Gaussian kernels."""

from __future__ import annotations

from typing import Any

from torch import nn

from torch_gbp.errors import InvalidInput
from torch_gbp.factor import factor
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import PRIOR_SCALE, STORED_PRECISIONS, Belief, WeightedLayer, require_features, split
from torch_gbp.layers.pooling import Size, pair
from torch_gbp.priors import weight_prior
from torch_gbp.rules import conv
from torch_gbp.rules.conv import ConvOptions

_send = factor(conv.RULE, STORED_PRECISIONS)


class GBPConv2d(WeightedLayer):
    """Two-dimensional convolution whose kernel and biases are Gaussian marginals, shared by all positions.

    The linear factor at every position (rules/conv.py); padding adds observed zeros.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, device, dtype: as in
            torch.nn.Conv2d, padding as numbers (zeros are the only padding mode).
        prior_variance: variance of the zero-mean kernel prior; None takes the formula of priors.py.
        prior_scale: factor on the formula's variance.

    Shape: input (n, in_channels, h, w), a tensor (observed) or a Gaussian; output Gaussian (n, out_channels, h', w').

    Raises:
        InvalidInput: wrong channel count or axes, NaN or Inf, integer or empty input, prior variance <= 0.

    >>> import torch
    >>> GBPConv2d(1, 6, 5, padding=2)(torch.ones(2, 1, 28, 28)).shape
    torch.Size([2, 6, 28, 28])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        prior_variance: float | None = None,
        prior_scale: float = PRIOR_SCALE,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise InvalidInput(
                "in_channels and out_channels must be divisible by groups",
                where="GBPConv2d",
                got=f"{in_channels}, {out_channels}, groups {groups}",
                fix="change one of them",
            )
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, pair(kernel_size)
        self.options = ConvOptions(pair(stride), pair(padding), pair(dilation), groups)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        fan_in = shape[1] * shape[2] * shape[3]
        # Every output channel has many positions, so the fan-out is taken to be at least the fan-in.
        self.make_marginals(shape, weight_prior(fan_in, fan_in, prior_scale, prior_variance), bias, device, dtype)

    @classmethod
    def from_torch(cls, layer: nn.Conv2d, *, as_prior: bool = False, **prior: float) -> GBPConv2d:
        """The GBP twin of a torch layer, starting at its weights (as prior means too with `as_prior`)."""
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise InvalidInput(
                "only padding with zeros, given as numbers, has a message rule",
                where="from_torch",
                got=f"padding={layer.padding!r}, padding_mode={layer.padding_mode!r}",
                fix="pad with F.pad before the layer",
            )
        geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
        twin = cls(
            layer.in_channels,
            layer.out_channels,
            *geometry,
            layer.bias is not None,  # type: ignore[arg-type]
            layer.weight.device,
            layer.weight.dtype,
            **prior,
        )  # type: ignore[arg-type]
        twin.adopt(layer, as_prior)
        return twin

    def forward(self, input: Belief) -> Gaussian:
        mean, variance = split(input, self, (4,))
        require_features(mean.shape[1], self.in_channels, "channels", self)
        return Gaussian(*_send(self.options, mean, variance, *self.marginals()))

    def extra_repr(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options._asdict().items())
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, {options}, bias={self.bias is not None}"
