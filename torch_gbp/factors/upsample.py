"""The factor z = a, once for every pixel of a window: nearest-neighbour upsampling.

    m_z = m_a, v_z = v_a        g_a = sum g, G_a = sum G        (over the pixels that copy the entry)

Both moments are copied, which is how (g, G) come back as sums: torch's own interpolation and its gradient are the rule.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from torch_gbp.autograd.bridge import Moments


class UpsampleOptions(NamedTuple):
    """The wanted size or the factor of each axis, as in torch.nn.Upsample; one of the two is None."""

    size: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None


def upsample(options: UpsampleOptions, mean: Tensor, variance: Tensor) -> Moments:
    """Moments of the copies, (n, c, h', w') each."""
    size, scale = (None if part is None else list(part) for part in options)
    return F.interpolate(mean, size, scale), F.interpolate(variance, size, scale)  # type: ignore[arg-type]
