"""full_precision: moments and messages under torch.autocast, which would compute matrix products in half precision.

A variance is a difference of large numbers and a precision a sum of many small ones: neither survives 8 bits. So the factors, the
maps of moments and the likelihoods work in the precision of the marginals, whatever plain layers around them do.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

HALVES = (torch.bfloat16, torch.float16)


def under_autocast(device: torch.device) -> bool:
    """Whether operations on a device are under autocast now.

    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     under_autocast(torch.device("cpu"))
    True
    """
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which nothing on the device is cast to half precision.

    >>> with torch.autocast("cpu", torch.bfloat16), full_precision(torch.device("cpu")):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.float32
    """
    return torch.autocast(device.type, enabled=False) if under_autocast(device) else nullcontext()


def promoted(x: Any) -> Any:
    """The output of a plain layer under autocast in single precision; everything else as it is.

    >>> promoted(torch.ones(2, dtype=torch.bfloat16)).dtype  # a network that is in half precision altogether
    torch.bfloat16
    """
    return x.float() if isinstance(x, Tensor) and x.dtype in HALVES and under_autocast(x.device) else x
