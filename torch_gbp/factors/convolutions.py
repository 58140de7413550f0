"""The convolution and its transpose as bilinear maps (`factors/maps.py`).

The equations are those of `factors/bilinear.py` with matrix products read as convolutions; a message to the kernel is the product
over examples and positions. Letters: n batch, c channel, o output channel, h w space.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments
from torch_gbp.errors import MissingRule
from torch_gbp.factors.maps import Back, Map, Parts


class ConvOptions(NamedTuple):
    """Geometry of a two-dimensional convolution, as in torch.nn.Conv2d."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


class ConvTransposeOptions(NamedTuple):
    """Geometry of a two-dimensional transposed convolution, as in torch.nn.ConvTranspose2d."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    output_padding: tuple[int, int] = (0, 0)
    groups: int = 1
    dilation: tuple[int, int] = (1, 1)


class Convolution(Map):
    """z = W * a + b: (n, c, h, w), (o, c / groups, kh, kw), (o,) -> (n, o, h', w'); padding adds observed zeros."""

    def affine(self, options: Any, inputs: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(inputs, weights, bias, *options)

    def transpose(
        self, options: Any, message: Tensor, inputs: Tensor, weights: Tensor, to_inputs: bool = True, to_weights: bool = True
    ) -> tuple[Tensor, Tensor]:
        stride, padding, dilation, groups = options
        geometry = stride, padding, dilation, False, (0, 0), groups
        wanted = to_inputs, to_weights, False
        return torch.ops.aten.convolution_backward(message, inputs, weights, None, *geometry, wanted)[:2]

    def to_bias(self, message: Tensor) -> Tensor:
        return message.sum((0, 2, 3))

    def sum(self, options: Any, first: Moments, second: Moments | None, bias: Tensor | None) -> Tensor:
        return self.dense(options, first, second, bias)[0]

    def dense(self, options: Any, first: Moments, second: Moments | None, bias: Tensor | None) -> tuple[Tensor, Parts]:
        """One convolution of twice the channels costs less than two, the more so the fewer the channels."""
        if second is None:
            return self.affine(options, *first, bias), first
        inputs = _stack(first[0], second[0], options.groups)
        weights = _stack(first[1], second[1], self.groups_of_weights(options))
        return self.affine(options, inputs, weights, bias), (inputs, weights, inputs)

    def dense_transpose(self, options: Any, message: Tensor, kept: Parts) -> Back:
        inputs, weights, *stacked = kept
        to_inputs, to_weights = self.transpose(options, message, inputs, weights, to_inputs=bool(stacked))
        if not stacked:
            return Back(to_weights)
        noise, rest = _unstack(to_inputs, options.groups)
        to_variance, own = _unstack(to_weights, self.groups_of_weights(options))
        return Back(to_variance, noise, rest + noise, own)

    def shared(
        self, options: Any, inputs: Tensor, row: Tensor, second: Moments | None, like: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Parts]:
        """The field, S summed over channels with r, spread over windows of ones: no convolution over channels is left of it."""
        field = (self._rows_of(options, row) @ _by_group(inputs, options.groups).flatten(3)).flatten(1, 2)
        field, window = field.unflatten(2, inputs.shape[2:]), self.window(options, like)
        noise = self.affine(options, field, window, None)[:, :, None]  # (n, groups, 1, h', w')
        if second is not None:
            output = self.affine(options, *second, bias)
            _by_group(output, options.groups).add_(noise)
        else:
            offset = (noise.new_zeros(1) if bias is None else bias).expand(self.outputs(options, like))
            output = (noise + _by_group(offset.view(1, -1, 1, 1), options.groups)).flatten(1, 2)
        return output, (inputs, row, field, window, *(second or ()))

    def shared_transpose(self, options: Any, message: Tensor, kept: Parts) -> Back:
        inputs, row, field, window, *second = kept
        total = self._over_windows(options, message, field, window)
        to_row = self._of_row(options, total, inputs, row)
        if not second:
            return Back(to_row)
        to_inputs, own = self.transpose(options, message, second[0], second[1])
        noise = (total[:, :, None] * self._rows_of(options, row).view(options.groups, -1, 1, 1)).flatten(1, 2)
        return Back(to_row, noise, to_inputs.add_(noise), own)

    def to_row(self, options: Any, message: Tensor, kept: Parts) -> Tensor:
        inputs, row, field, window = kept[:4]
        return self._of_row(options, self._over_windows(options, message, field, window), inputs, row)

    def _over_windows(self, options: Any, message: Tensor, field: Tensor, window: Tensor) -> Tensor:
        """A message summed over outputs, then over windows, (n, groups, h, w)."""
        return self.spread_back(options, _by_group(message, options.groups).sum(2), field, window)

    def _of_row(self, options: Any, total: Tensor, inputs: Tensor, row: Tensor) -> Tensor:
        """Sums of S with that over examples and positions, shaped as r."""
        alike = (0, 1) if self.groups_of_weights(options) == 1 else 0  # a convolution's groups share r
        return (_by_group(inputs, options.groups).flatten(3) @ total.flatten(2)[..., None]).sum(alike).view_as(row)

    def rows(self, options: Any, inputs: Tensor, weights: Tensor) -> Tensor:
        """im2col."""
        return F.unfold(inputs, weights.shape[2:], options.dilation, options.padding, options.stride)

    def fold(self, options: Any, rows: Tensor, inputs: Tensor, weights: Tensor) -> Tensor:
        return F.fold(rows, inputs.shape[2:], weights.shape[2:], options.dilation, options.padding, options.stride)

    def groups(self, options: Any) -> int:
        return options.groups

    def groups_of_weights(self, options: Any) -> int:
        """Groups along the inputs' axis of the weights."""
        return 1

    def outputs(self, options: Any, weights: Tensor) -> int:
        """Channels of z."""
        return len(weights)

    def window(self, options: Any, weights: Tensor) -> Tensor:
        """A window of ones for every group."""
        return weights.new_ones(options.groups, 1, *weights.shape[2:])

    def spread_back(self, options: Any, message: Tensor, field: Tensor, window: Tensor) -> Tensor:
        """The window sum's transpose, (n, groups, h, w); without strides it is a window sum itself, 20 times faster."""
        (high, wide), (top, left), (down, right) = window.shape[2:], options.padding, options.dilation
        rest = down * (high - 1) - top, right * (wide - 1) - left
        if options.stride == (1, 1) and min(rest) >= 0:
            return F.conv2d(message, window, None, 1, rest, options.dilation, options.groups)
        return self.transpose(options, message, field, window, to_weights=False)[0]

    def _rows_of(self, options: Any, row: Tensor) -> Tensor:
        """r as one row for each group, (groups, 1, c / groups)."""
        return row.reshape(self.groups_of_weights(options), 1, -1).expand(options.groups, -1, -1)


class TransposedConvolution(Convolution):
    """z = W^T * a + b: every entry of the input adds its kernel, weighted, to a window of the output.

    Weights are (o / groups, c, kh, kw), the axes of `GaussianParameter`, so torch's with the first two exchanged.
    """

    def affine(self, options: Any, inputs: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        padding = _padding_of_convolution(options, weights)
        if padding is None:
            return F.conv_transpose2d(inputs, weights.transpose(0, 1), bias, *options)
        return F.conv2d(inputs, weights.flip(2, 3), bias, 1, padding, options.dilation)

    def transpose(
        self, options: Any, message: Tensor, inputs: Tensor, weights: Tensor, to_inputs: bool = True, to_weights: bool = True
    ) -> tuple[Tensor, Tensor]:
        stride, padding, output_padding, groups, dilation = options
        geometry = stride, padding, dilation, True, output_padding, groups
        wanted = to_inputs, to_weights, False
        back = torch.ops.aten.convolution_backward(message, inputs, weights.transpose(0, 1), None, *geometry, wanted)
        return back[0], back[1].transpose(0, 1) if to_weights else back[1]

    def groups_of_weights(self, options: Any) -> int:
        return options.groups

    def outputs(self, options: Any, weights: Tensor) -> int:
        return len(weights) * options.groups

    def window(self, options: Any, weights: Tensor) -> Tensor:
        return weights.new_ones(1, options.groups, *weights.shape[2:])

    def spread_back(self, options: Any, message: Tensor, field: Tensor, window: Tensor) -> Tensor:
        return self.transpose(options, message, field, window, to_weights=False)[0]

    def require_rows(self) -> None:
        raise MissingRule(
            "a transposed convolution has no exact scalar messages",
            where="GBPConvTranspose2d, ExampleByExample",
            fix="use AllAtOnce(), or linear layers",
        )

    def rows(self, options: Any, inputs: Tensor, weights: Tensor) -> Tensor:
        return self.require_rows()  # type: ignore[return-value]


def _padding_of_convolution(options: ConvTransposeOptions, weights: Tensor) -> tuple[int, int] | None:
    """The padding of the convolution with the turned kernel that is the same map, 1.1 to 16 times faster; None for none."""
    (high, wide), (top, left), (down, right) = weights.shape[2:], options.padding, options.dilation
    padding = down * (high - 1) - top, right * (wide - 1) - left
    plain = options.stride == (1, 1) and options.output_padding == (0, 0) and options.groups == 1
    return padding if plain and min(padding) >= 0 else None


def _by_group(maps: Tensor, groups: int) -> Tensor:
    """(n, c, h, w) as (n, groups, c / groups, h, w)."""
    return maps.unflatten(1, (groups, -1))


def _stack(first: Tensor, second: Tensor, groups: int) -> Tensor:
    """Two tensors stacked by channel within each group."""
    return torch.cat([_by_group(part, groups) for part in (first, second)], 2).flatten(1, 2)


def _unstack(stacked: Tensor, groups: int) -> Moments:
    """The two halves of every group's channels."""
    halves = stacked.unflatten(1, (groups, 2, -1))
    return halves[:, :, 0].flatten(1, 2), halves[:, :, 1].flatten(1, 2)


CONV, CONV_TRANSPOSE = Convolution(), TransposedConvolution()
