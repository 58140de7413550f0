"""GBPMaxPool2d, GBPAvgPool2d, GBPAdaptiveAvgPool2d."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from torch_gbp.autograd.bridge import Rule, factor
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import name_of, require_count, require_kind, require_pair
from torch_gbp.factors import max_pool
from torch_gbp.factors.linear_map import AverageOptions, adaptive_average, average
from torch_gbp.factors.max_pool import PoolOptions
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import GaussianLayer, factor_arguments
from torch_gbp.layers.incoming import Belief

Size = int | tuple[int, int]
_FORMS = [factor(rule) for rule in (max_pool.SCORE, max_pool.EP)]  # made now, see autograd/bridge.py


def require_windows(layer: nn.Module, size: tuple[int, ...], kernel: tuple[int, int], padding: tuple[int, int] = (0, 0)) -> None:
    """Raises InvalidInput for an image (..., h, w) into which a window does not fit."""
    if any(side + 2 * border < reach for side, border, reach in zip(size[-2:], padding, kernel, strict=True)):
        raise InvalidInput(
            "a window does not fit into the image",
            where=name_of(layer),
            got=f"image {tuple(size[-2:])}, window {kernel}",
            cause="images that became too small by the layers before, or flat inputs",
            fix="use a smaller kernel_size or more padding",
        )


def reach(kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns that a dilated kernel spans."""
    return dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1


def _options(where: str, kernel_size: Size, stride: Size | None, padding: Size, dilation: Size, ceil_mode: bool) -> PoolOptions:
    """The settings of a pooling layer, checked as torch checks them when it runs."""
    kernel = require_pair("kernel_size", kernel_size, where)
    step = kernel if stride is None else require_pair("stride", stride, where)
    border = require_pair("padding", padding, where, least=0)
    if any(2 * own > side for own, side in zip(border, kernel, strict=True)):
        raise InvalidInput(
            "padding may be half of the kernel at most",
            where=where,
            got=f"padding={border}, kernel_size={kernel}",
            fix="pad less",
        )
    return PoolOptions(kernel, step, border, require_pair("dilation", dilation, where), bool(ceil_mode))


class _Pool(GaussianLayer):
    """A layer that looks at windows of an image."""

    noiseless = True
    options: PoolOptions

    def _windows(self, input: Belief) -> Gaussian:
        belief = self.accept(input, (4,))
        require_windows(self, belief.shape, reach(self.options.kernel_size, self.options.dilation), self.options.padding)
        return belief


class GBPMaxPool2d(_Pool):
    """Maximum of each window: the moments of the entry with the largest mean (factors/max_pool.py).

    That a maximum of several uncertain entries is larger than each, and less uncertain, is left out: of four N(0, 1) it has mean
    1.03 and variance 0.49, and the default says 0 and 1. It is exact where one entry stands clear of the others.

    Args:
        kernel_size, stride, padding, dilation, return_indices, ceil_mode: as in torch.nn.MaxPool2d; no indices are returned.
        rule: `factors.max_pool.SCORE` (default) or `factors.max_pool.EP`, weights by the probability of being the maximum.

    Shape: (n, c, h, w) -> Gaussian (n, c, h', w'). Put it before the activation: same function, fewer entries.

    >>> import torch
    >>> GBPMaxPool2d(2)(Gaussian(torch.rand(1, 1, 4, 4), torch.ones(1, 1, 4, 4))).shape
    torch.Size([1, 1, 2, 2])
    """

    twin, replaces = nn.MaxPool2d, ("max_pool2d", "boolean_dispatch")

    @factor_arguments
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        *,
        rule: Rule = max_pool.SCORE,
    ) -> None:
        super().__init__()
        if return_indices:
            raise InvalidInput("the indices of a maximum are not returned", where="GBPMaxPool2d", fix="use return_indices=False")
        self.options = _options("GBPMaxPool2d", kernel_size, stride, padding, dilation, ceil_mode)
        require_kind("rule", rule, Rule, "GBPMaxPool2d", fix="use factors.max_pool.SCORE")
        self.rule = rule
        factor(rule)

    @classmethod
    def from_torch(cls, layer: nn.MaxPool2d) -> GBPMaxPool2d:
        """The GBP twin of nn.MaxPool2d."""
        return cls(layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.return_indices, layer.ceil_mode)  # type: ignore[arg-type]

    def to_torch(self) -> nn.Module:
        """The torch layer of the same settings."""
        kernel, stride, padding, dilation, ceil_mode = self.options
        return nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode)

    def plain(self, input: Tensor) -> Tensor:
        return F.max_pool2d(max_pool.arranged(input), *self.options).contiguous()

    @property
    def noiseless(self) -> bool:  # type: ignore[override]
        """Whether it is the largest entry: `EP` compares known entries, too, with a noise of its own."""
        return self.rule is max_pool.SCORE

    def carried(self, input: Belief) -> Gaussian:
        return Gaussian(*factor(self.rule)(self.options, *self._windows(input)))

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.options._asdict().items())


class GBPAvgPool2d(_Pool):
    """Average of each window: mean averages, variance is the sum of v / d^2 (factors/linear_map.py).

    Its entries are taken as independent. Behind a convolution they share the kernel, and the average is then far less certain
    than the variance says (tests/layers/test_forward_variance.py).

    Args:
        kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override: as in torch.nn.AvgPool2d.

    Shape: (n, c, h, w) -> Gaussian (n, c, h', w').

    >>> import torch
    >>> GBPAvgPool2d(2)(Gaussian(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4))).variance[0, 0, 0, 0].item()
    0.25
    """

    twin, replaces = nn.AvgPool2d, ("avg_pool2d",)

    @factor_arguments
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.options = _options("GBPAvgPool2d", kernel_size, stride, padding, 1, ceil_mode)
        if divisor_override is not None:
            require_count("divisor_override", divisor_override, "GBPAvgPool2d", fix="use None for the window's size")
        self.count_include_pad, self.divisor_override = bool(count_include_pad), divisor_override

    @classmethod
    def from_torch(cls, layer: nn.AvgPool2d) -> GBPAvgPool2d:
        """The GBP twin of nn.AvgPool2d."""
        geometry = (layer.kernel_size, layer.stride, layer.padding)
        return cls(*geometry, layer.ceil_mode, layer.count_include_pad, layer.divisor_override)  # type: ignore[arg-type]

    def to_torch(self) -> nn.Module:
        """The torch layer of the same settings."""
        return nn.AvgPool2d(*self._settings())

    def plain(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(input, *self._settings())

    def carried(self, input: Belief) -> Gaussian:
        return Gaussian(*average(F.avg_pool2d, self._settings(), *self._windows(input)))

    def _settings(self) -> AverageOptions:
        kernel, stride, padding, _, ceil_mode = self.options
        return AverageOptions(kernel, stride, padding, ceil_mode, self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        kernel, stride, padding, _, ceil_mode = self.options
        return f"kernel_size={kernel}, stride={stride}, padding={padding}, ceil_mode={ceil_mode}"


class GBPAdaptiveAvgPool2d(GaussianLayer):
    """Average over windows that give the wanted output size (factors/linear_map.py).

    Args:
        output_size: as in torch.nn.AdaptiveAvgPool2d.

    Shape: (n, c, h, w) -> Gaussian (n, c, *output_size).

    >>> import torch
    >>> GBPAdaptiveAvgPool2d(1)(Gaussian(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4))).variance.item()
    0.0625
    """

    twin, replaces = nn.AdaptiveAvgPool2d, ("adaptive_avg_pool2d",)
    noiseless = True

    @factor_arguments
    def __init__(
        self,
        output_size: int | tuple[int | None, int | None] | None,
    ) -> None:
        super().__init__()
        for side in output_size if isinstance(output_size, (tuple, list)) else (output_size,):
            if side is not None:
                require_count("output_size", side, "GBPAdaptiveAvgPool2d", fix="use 1, or None to keep an axis")
        if isinstance(output_size, (tuple, list)) and len(output_size) != 2:
            require_pair("output_size", output_size, "GBPAdaptiveAvgPool2d")
        self.output_size = (None, None) if output_size is None else output_size

    @classmethod
    def from_torch(cls, layer: nn.AdaptiveAvgPool2d) -> GBPAdaptiveAvgPool2d:
        """The GBP twin of nn.AdaptiveAvgPool2d."""
        return cls(layer.output_size)  # type: ignore[arg-type]

    def to_torch(self) -> nn.Module:
        """The torch layer of the same settings."""
        return nn.AdaptiveAvgPool2d(self.output_size)

    def plain(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def carried(self, input: Belief) -> Gaussian:
        return Gaussian(*adaptive_average(F.adaptive_avg_pool2d, self.output_size, *self.accept(input, (4,))))

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
