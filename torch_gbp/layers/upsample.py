"""GBPUpsample."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import LARGEST, POSITIVE, name_of, require, require_pair
from torch_gbp.factors.linear_map import UpsampleOptions, copied, copies
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import GaussianLayer, factor_arguments
from torch_gbp.layers.incoming import Belief


class GBPUpsample(GaussianLayer):
    """Nearest-neighbour upsampling: every entry is copied to a window of the output (factors/linear_map.py).

    Args:
        size, scale_factor, mode, align_corners, recompute_scale_factor: as in torch.nn.Upsample, for images;
            "nearest" is the only mode.

    Shape: (n, c, h, w) -> Gaussian (n, c, h', w').

    Raises:
        InvalidInput: neither or both of size and scale_factor, or another mode than "nearest".

    >>> import torch
    >>> GBPUpsample(scale_factor=2)(Gaussian(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4))).shape
    torch.Size([1, 1, 8, 8])
    """

    twin, replaces = nn.Upsample, ("interpolate",)
    noiseless = True

    @factor_arguments
    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        if mode != "nearest" or align_corners is not None or recompute_scale_factor:
            raise InvalidInput(
                "only nearest-neighbour upsampling has a message rule",
                where="GBPUpsample",
                got=f"mode={mode!r}, align_corners={align_corners}, recompute_scale_factor={recompute_scale_factor}",
                fix='use mode="nearest" and a GBPConv2d after it, or GBPConvTranspose2d',
            )
        if (size is None) == (scale_factor is None):
            raise InvalidInput(
                "one of size and scale_factor is needed",
                where="GBPUpsample",
                got=f"size={size}, scale_factor={scale_factor}",
                fix="give one of them",
            )
        sizes = None if size is None else require_pair("size", size, "GBPUpsample")
        self.options = UpsampleOptions(sizes, None if scale_factor is None else _factors(scale_factor))

    @classmethod
    def from_torch(cls, layer: nn.Upsample) -> GBPUpsample:
        """The GBP twin of nn.Upsample."""
        return cls(layer.size, layer.scale_factor, layer.mode, layer.align_corners, layer.recompute_scale_factor)  # type: ignore[arg-type]

    def to_torch(self) -> nn.Module:
        """The torch layer of the same settings."""
        return nn.Upsample(self.options.size, self.options.scale)

    def plain(self, input: Tensor) -> Tensor:
        return copied(self.options, input)

    def carried(self, input: Belief) -> Gaussian:
        belief = self.accept(input, (4,))
        self._require_output(belief.shape)
        return Gaussian(*copies(self.options, *belief))

    def _require_output(self, size: tuple[int, ...]) -> None:
        if self.options.scale is None:
            return
        sides = [side * factor for side, factor in zip(size[-2:], self.options.scale, strict=True)]
        if not all(1 <= side <= LARGEST for side in sides):
            raise InvalidInput(
                "the output would have no pixels, or too many",
                where=name_of(self),
                got=f"image {tuple(size[-2:])}, scale_factor {self.options.scale}",
                fix="use a scale_factor such as 2",
            )

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.options._asdict().items() if value is not None)


def _factors(scale_factor: Any) -> tuple[float, float]:
    """The factor of both axes."""
    both = scale_factor if isinstance(scale_factor, (tuple, list)) and len(scale_factor) == 2 else (scale_factor, scale_factor)
    rows, columns = (require("scale_factor", factor, POSITIVE, "GBPUpsample", fix="use 2, or (2, 2)") for factor in both)
    return rows, columns
