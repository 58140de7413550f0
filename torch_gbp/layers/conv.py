"""GBPConv2d: nn.Conv2d with Gaussian kernels."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from torch_gbp.autograd import passes
from torch_gbp.autograd.bridge import Rule, factor
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_count, require_like, require_pair
from torch_gbp.factors.bilinear import rules_of
from torch_gbp.factors.convolutions import CONV, ConvOptions
from torch_gbp.factors.per_edge import PerEdge
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import STORED_PRECISIONS, WeightedLayer, factor_arguments
from torch_gbp.layers.incoming import Belief, require_features, split
from torch_gbp.layers.pooling import Size, reach, require_windows
from torch_gbp.weights.priors import Covariance, Prior, prior_arguments

_RULES, _EXACT = rules_of(CONV), PerEdge(CONV).rule()
_SEND = {kind: factor(rule, STORED_PRECISIONS) for kind, rule in _RULES.items()}


class GBPConv2d(WeightedLayer):
    """Two-dimensional convolution whose kernel and biases are Gaussian marginals, shared by all positions.

    The linear factor at every position (factors/bilinear.py); padding adds observed zeros.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            as in torch.nn.Conv2d; zeros are the only padding mode, "same" needs odd kernels and stride 1.
        prior: of weights and biases, and where they start; None takes `Prior()`.
        covariance: "shared", one precision for all weights of an input channel, for speed; "diagonal", one for every weight.
            "full" is "diagonal" between batches, "shared_full" is "shared"; in iterated inference, where they are linearised, all
            weights of a filter have one Gaussian (inference/filters.py).

    Shape: input (n, in_channels, h, w), a tensor (observed) or a Gaussian; output Gaussian (n, out_channels, h', w').

    Raises:
        InvalidInput: wrong channel count or axes, NaN or Inf, integer or empty input, prior variance not positive and finite,
            a full covariance for several groups.

    >>> import torch
    >>> GBPConv2d(1, 6, 5, padding=2)(torch.ones(2, 1, 28, 28)).shape
    torch.Size([2, 6, 28, 28])
    """

    twin, replaces = nn.Conv2d, ("conv2d",)
    has_full, exact = True, _EXACT

    @prior_arguments
    @factor_arguments
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        covariance: Covariance = "shared",
    ) -> None:
        super().__init__()
        in_channels, out_channels, groups = require_channels(in_channels, out_channels, groups, "GBPConv2d")
        if covariance in ("full", "shared_full") and groups > 1:
            raise InvalidInput(
                "a full covariance of filters takes all input channels",
                where="GBPConv2d",
                got=f"groups {groups}",
                fix="use groups=1",
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = require_pair("kernel_size", kernel_size, "GBPConv2d")
        if padding_mode != "zeros":
            raise InvalidInput(
                "only padding with zeros has a message rule",
                where="GBPConv2d",
                got=f"padding_mode={padding_mode!r}",
                fix="pad with F.pad before the layer",
            )
        steps, apart = require_pair("stride", stride, "GBPConv2d"), require_pair("dilation", dilation, "GBPConv2d")
        self.options = ConvOptions(steps, _borders(padding, self.kernel_size, steps, apart), apart, groups)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        fan_in = shape[1] * shape[2] * shape[3]
        # Every output channel has many positions, so the fan-out is taken to be at least the fan-in.
        self.make_marginals(shape, (fan_in, fan_in), prior, covariance, bias, device, dtype)

    @classmethod
    def from_torch(cls, layer: nn.Conv2d, *, as_prior: bool = False, **options: Any) -> GBPConv2d:
        """The GBP twin of a torch layer, starting at its weights (as prior means too with `as_prior`)."""
        geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
        like = (layer.bias is not None, layer.padding_mode, layer.weight.device, layer.weight.dtype)
        twin = cls(layer.in_channels, layer.out_channels, *geometry, *like, **options)  # type: ignore[arg-type]
        twin.copy_weights(layer, as_prior)
        return twin

    def to_torch(self) -> nn.Module:
        """The torch layer at the means."""
        return self.torch_layer(self.in_channels, self.out_channels, self.kernel_size, **self.options._asdict())

    def received(self, input: Belief) -> tuple[Tensor, Tensor | None]:
        mean, variance = split(input, self, (4,))
        require_features(mean.shape[1], self.in_channels, "channels", self)
        return mean, variance

    def plain(self, input: Tensor) -> Tensor:
        options = self.options
        geometry = options.stride, options.padding, options.dilation, options.groups
        return F.conv2d(input, *self.known_weights(), *geometry)

    def carried(self, input: Belief) -> Gaussian:
        mean, variance = self.received(input)
        require_like(mean, self.weight.mean, self)
        require_windows(self, mean.shape, reach(self.kernel_size, self.options.dilation), self.options.padding)
        return Gaussian(*_SEND[self.shared_precision, passes.linearised()](self.options, mean, variance, *self.marginals()))

    def rule(self, linearised: bool = False) -> Rule:
        return _RULES[self.shared_precision, linearised]

    def extra_repr(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options._asdict().items())
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, {options}, bias={self.bias is not None}"


def _borders(padding: Size | str, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """Zeros on each side; torch's "valid" is none, "same" keeps the image's size."""
    if not isinstance(padding, str):
        return require_pair("padding", padding, "GBPConv2d", least=0)
    if padding == "same" and stride == (1, 1) and kernel[0] % 2 and kernel[1] % 2:
        return dilation[0] * (kernel[0] // 2), dilation[1] * (kernel[1] // 2)
    if padding == "valid":
        return 0, 0
    raise InvalidInput(
        "padding must be numbers, 'valid', or 'same' with odd kernels and stride 1",
        where="GBPConv2d",
        got=f"padding={padding!r}, kernel_size={kernel}, stride={stride}",
        fix="give the numbers",
    )


def require_channels(in_channels: int, out_channels: int, groups: int, where: str) -> tuple[int, int, int]:
    """The channels of a convolution, and its groups.

    Raises:
        InvalidInput: no integers, fewer than one, or channels that groups do not divide.
    """
    fix = "use the channels of the layer before, and groups=1"
    named = (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups))
    inputs, outputs, parts = (require_count(name, value, where, fix=fix) for name, value in named)
    if inputs % parts or outputs % parts:
        raise InvalidInput(
            "in_channels and out_channels must be divisible by groups",
            where=where,
            got=f"{inputs}, {outputs}, groups {parts}",
            fix="change one of them",
        )
    return inputs, outputs, parts
