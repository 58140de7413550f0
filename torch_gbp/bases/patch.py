"""PatchBasis: image patches in the basis of their principal directions, for a first convolution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from torch_gbp.bases.basis import Basis, principal, require_rows
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_count, require_kind, require_like, require_pair
from torch_gbp.layers.incoming import Belief, require_features
from torch_gbp.layers.pooling import Size, require_windows

EXPLAINED, POWER = 1.0, -0.25
IMAGES = 2000  # to fit; they have more patches than it takes


class PatchBasis(Basis):
    """Fixed map of every patch x_p (d,) of an image to its principal directions, f_p = (x_p - mean) B, B = U L^power / scale.

    C = U L U' is the covariance of the patches of training images, and the scale makes the mean square of f 1. A convolution
    with kernel 1 behind it is a convolution with filters W = W' B' on the images. Neighbouring pixels are alike, so marginals of
    single pixels' weights forget what is known of their sums, and their messages overshoot; along directions in which patches
    are uncorrelated, independent marginals lose little. With power 0 the prior is the same as on pixels; less than 0 lets the
    weights vary more where patches vary little.

    Args:
        in_channels: channels of the images.
        out_channels: number of directions kept, at most in_channels x kernel rows x kernel columns.
        kernel_size: rows and columns of a patch.
        stride: step between patches.

    Shape: input (n, in_channels, h, w), a tensor or a Gaussian; output the same kind, (n, out_channels, h', w').

    Raises:
        InvalidInput: other channels; images to fit that are not finite, all alike, or smaller than a patch.

    >>> import torch
    >>> images = torch.rand(4, 3, 8, 8)
    >>> PatchBasis.fit(images, 5)(images).shape
    torch.Size([4, 75, 4, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1) -> None:
        where, fix = "PatchBasis", "use PatchBasis.fit(images, 5)"
        rows, columns = require_pair("kernel_size", kernel_size, where)
        step = require_pair("stride", stride, where)
        in_channels = require_count("in_channels", in_channels, where, fix=fix)
        super().__init__(in_channels * rows * columns, require_count("out_channels", out_channels, where, fix=fix))
        self.in_channels, self.kernel_size, self.stride = in_channels, (rows, columns), step

    @classmethod
    def fit(
        cls, images: Tensor, kernel_size: Size, stride: Size = 1, explained: float = EXPLAINED, power: float = POWER
    ) -> PatchBasis:
        """The basis of the patches of training images (n, c, h, w), of the first 2,000 where there are more."""
        kernel = require_pair("kernel_size", kernel_size, "PatchBasis.fit")
        stride = require_pair("stride", stride, "PatchBasis.fit")
        require_kind("images", images, Tensor, "PatchBasis.fit", fix="pass the training images (n, c, h, w)")
        if images.ndim != 4 or any(side < reach for side, reach in zip(images.shape[2:], kernel, strict=True)):
            raise InvalidInput(
                "images must be (n, c, h, w), no smaller than a patch",
                where="PatchBasis.fit",
                got=f"{tuple(images.shape)}, patches {kernel}",
                cause="flattened images, or a missing channel axis",
                fix="use x[:, None] for grey images",
            )
        some = images[:IMAGES].detach()
        require_rows(some.flatten(1), "PatchBasis.fit")
        patches = F.unfold(some, kernel, stride=stride)
        found = principal(patches.transpose(1, 2).flatten(0, 1), explained, power, "PatchBasis.fit")
        made = cls(images.shape[1], found.directions.shape[1], kernel, stride).to(images.device, images.dtype)
        made.take(found)
        return made

    def forward(self, input: Belief) -> Belief:
        return self.send(input, (4,))

    def map(self, mean: Tensor, variance: Tensor | None) -> tuple[Tensor, Tensor | None]:
        require_features(mean.shape[1], self.in_channels, "channels", self)
        require_like(mean, self.basis, self)
        require_windows(self, mean.shape, self.kernel_size)
        filters = self.basis.t().unflatten(1, (self.in_channels, *self.kernel_size))
        features = F.conv2d(mean, filters, -self.mean @ self.basis, self.stride)
        return features, None if variance is None else F.conv2d(variance, filters.square(), None, self.stride)

    def extra_repr(self) -> str:
        channels = f"in_channels={self.in_channels}, out_channels={self.basis.shape[1]}"
        return f"{channels}, kernel_size={self.kernel_size}, stride={self.stride}"
