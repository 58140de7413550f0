"""Average and maximum pooling over one, two or three axes.

    average: as factors/linear_map.py; entries as independent, which is recorded (dependence.py)
    maximum: the moments of the entry with the largest mean, as factors/max_pool.py

That a maximum of several uncertain entries is larger than each, and less uncertain, is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from torch_gbp.factors.linear_map import AverageOptions, adaptive_average, average
from torch_gbp.factors.torch_functions import dependence
from torch_gbp.functions import moments, named
from torch_gbp.gaussian import Gaussian


@moments(*named("avg_pool1d"), linear=True)
def avg_pool1d(
    input: Gaussian, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True
) -> Gaussian:
    """Averages along one axis: those of an image with one row."""
    size, step, border = (_first(value) for value in (kernel_size, stride or kernel_size, padding))
    image = input.unsqueeze(-2)
    geometry = (1, size), (1, step), (0, border), ceil_mode, count_include_pad
    return _average(F.avg_pool2d, image, *geometry, name="avg_pool1d").squeeze(-2)


def _first(value: Any) -> int:
    return value[0] if isinstance(value, (tuple, list)) else value


@moments(F.avg_pool2d, linear=True)
def avg_pool2d(input: Gaussian, *settings: Any, **named_settings: Any) -> Gaussian:
    """Averages of windows of an image, with torch's settings."""
    return _average(F.avg_pool2d, input, *settings, **named_settings)


@moments(F.avg_pool3d, linear=True)
def avg_pool3d(input: Gaussian, *settings: Any, **named_settings: Any) -> Gaussian:
    """Averages of windows of a volume, with torch's settings."""
    return _average(F.avg_pool3d, input, *settings, **named_settings)


def _average(
    function: Callable[..., Tensor], input: Gaussian, *settings: Any, name: str | None = None, **named_settings: Any
) -> Gaussian:
    dependence.note(name or function.__name__)
    return Gaussian(*average(function, AverageOptions(*settings, **named_settings), *input))


def _adaptive_average(function: Callable[..., Tensor]) -> Callable[..., Gaussian]:
    """The map of an adaptive average over as many axes as torch's function has."""

    def pool(input: Gaussian, output_size: Any) -> Gaussian:
        dependence.note(function.__name__)
        return Gaussian(*adaptive_average(function, output_size, *input))

    return pool


def _maximum(function: Callable[..., Any], axes: int) -> Callable[..., Gaussian]:
    """The map of a maximum over windows: torch's function finds the entry with the largest mean, whose variance goes with it."""

    def pool(input: Gaussian, *settings: Any, return_indices: bool = False, **named_settings: Any) -> Gaussian:
        largest, place = function(input.mean, *settings, **named_settings, return_indices=True)
        variance = input.variance.flatten(-axes).gather(-1, place.flatten(-axes)).view_as(place)
        return Gaussian(largest, variance)

    return pool


for _axes in (1, 2, 3):
    moments(*named(f"adaptive_avg_pool{_axes}d"), linear=True)(_adaptive_average(getattr(F, f"adaptive_avg_pool{_axes}d")))
    for _name in (f"max_pool{_axes}d", f"adaptive_max_pool{_axes}d"):
        moments(*named(_name), linear=True)(_maximum(getattr(F, _name), _axes))
