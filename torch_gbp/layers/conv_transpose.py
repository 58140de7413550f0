"""GBPConvTranspose2d."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from torch_gbp.autograd import passes
from torch_gbp.autograd.bridge import Rule, factor
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import name_of, require_like, require_pair
from torch_gbp.factors.bilinear import rules_of
from torch_gbp.factors.convolutions import CONV_TRANSPOSE, ConvTransposeOptions
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import STORED_PRECISIONS, WeightedLayer, factor_arguments
from torch_gbp.layers.conv import require_channels
from torch_gbp.layers.incoming import Belief, require_features, split
from torch_gbp.layers.pooling import Size, reach
from torch_gbp.weights.priors import Covariance, Prior, prior_arguments

_RULES = rules_of(CONV_TRANSPOSE)
_SEND = {kind: factor(rule, STORED_PRECISIONS) for kind, rule in _RULES.items()}


class GBPConvTranspose2d(WeightedLayer):
    """Two-dimensional transposed convolution whose kernel and biases are Gaussian marginals.

    The linear factor read backwards (factors/convolutions.py): each entry of the input adds its kernel to a window of the
    output. The weights' marginal has the axes (out_channels / groups, in_channels, h, w): torch's with the first two exchanged.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation, padding_mode, device,
            dtype: as in torch.nn.ConvTranspose2d.
        prior, covariance: as in `GBPConv2d`; the fan-in is the number of entries that reach one output.

    Shape: input (n, in_channels, h, w), a tensor (observed) or a Gaussian; output Gaussian (n, out_channels, h', w').

    Raises:
        InvalidInput: wrong channel count or axes, NaN or Inf, integer or empty input, prior variance not positive and finite.

    >>> import torch
    >>> GBPConvTranspose2d(4, 3, 2, stride=2)(torch.ones(1, 4, 8, 8)).shape
    torch.Size([1, 3, 16, 16])
    """

    twin, replaces = nn.ConvTranspose2d, ("conv_transpose2d",)

    @prior_arguments
    @factor_arguments
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        covariance: Covariance = "shared",
    ) -> None:
        super().__init__()
        where = "GBPConvTranspose2d"
        self.in_channels, self.out_channels, groups = require_channels(in_channels, out_channels, groups, where)
        in_channels, out_channels = self.in_channels, self.out_channels
        self.kernel_size = require_pair("kernel_size", kernel_size, where)
        borders = require_pair("padding", padding, where, 0), require_pair("output_padding", output_padding, where, 0)
        options = ConvTransposeOptions(
            require_pair("stride", stride, where), *borders, groups, require_pair("dilation", dilation, where)
        )
        _check_borders(options, padding_mode)
        self.options = options
        steps = zip(self.kernel_size, self.options.stride, strict=True)
        rows, columns = (-(-size // step) for size, step in steps)  # of the kernel, that reach one output
        fan_in = in_channels // groups * rows * columns
        shape = (out_channels // groups, in_channels, *self.kernel_size)
        self.make_marginals(shape, (fan_in, fan_in), prior, covariance, bias, device, dtype, outputs=out_channels)

    @classmethod
    def from_torch(cls, layer: nn.ConvTranspose2d, *, as_prior: bool = False, **options: Any) -> GBPConvTranspose2d:
        """The GBP twin of a torch layer, starting at its weights (as prior means too with `as_prior`)."""
        geometry = (layer.kernel_size, layer.stride, layer.padding, layer.output_padding, layer.groups)
        like = (layer.bias is not None, layer.dilation, layer.padding_mode, layer.weight.device, layer.weight.dtype)
        twin = cls(layer.in_channels, layer.out_channels, *geometry, *like, **options)  # type: ignore[arg-type]
        twin.copy_weights(layer, as_prior)
        return twin

    def to_torch(self) -> nn.Module:
        """The torch layer at the means."""
        return self.torch_layer(self.in_channels, self.out_channels, self.kernel_size, **self.options._asdict())

    def turned(self, weight: Tensor) -> Tensor:
        return weight.transpose(0, 1)

    def received(self, input: Belief) -> tuple[Tensor, Tensor | None]:
        mean, variance = split(input, self, (4,))
        require_features(mean.shape[1], self.in_channels, "channels", self)
        return mean, variance

    def plain(self, input: Tensor) -> Tensor:
        weight, bias = self.known_weights()
        return F.conv_transpose2d(input, self.turned(weight), bias, *self.options)

    def carried(self, input: Belief) -> Gaussian:
        mean, variance = self.received(input)
        require_like(mean, self.weight.mean, self)
        self._require_output(mean.shape)
        return Gaussian(*_SEND[self.shared_precision, passes.linearised()](self.options, mean, variance, *self.marginals()))

    def _require_output(self, size: tuple[int, ...]) -> None:
        options = self.options
        grown = zip(size[-2:], options.stride, reach(self.kernel_size, options.dilation), options.output_padding, strict=True)
        sides = [(side - 1) * step + window + more for side, step, window, more in grown]
        if any(side <= 2 * less for side, less in zip(sides, options.padding, strict=True)):
            raise InvalidInput(
                "padding takes away the whole output", where=name_of(self), got=f"image {tuple(size[-2:])}", fix="pad less"
            )

    def rule(self, linearised: bool = False) -> Rule:
        return _RULES[self.shared_precision, linearised]

    def extra_repr(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options._asdict().items())
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, {options}, bias={self.bias is not None}"


def _check_borders(options: ConvTransposeOptions, padding_mode: str) -> None:
    if padding_mode != "zeros":
        raise InvalidInput(
            "a transposed convolution has no other padding mode than zeros",
            where="GBPConvTranspose2d",
            got=f"padding_mode={padding_mode!r}",
            fix='use padding_mode="zeros"',
        )
    sides = zip(options.output_padding, options.stride, options.dilation, strict=True)
    if any(more >= max(step, apart) for more, step, apart in sides):
        raise InvalidInput(
            "output_padding must be smaller than stride or dilation",
            where="GBPConvTranspose2d",
            got=f"output_padding={options.output_padding}, stride={options.stride}, dilation={options.dilation}",
            fix="use output_padding=0",
        )
