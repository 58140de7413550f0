"""Hostile values for every parameter of every public callable, and hostile tensors for everything that takes data.

Cases are made from the signatures, so a new public name or parameter is tried as soon as it is there. Every case is a name and a
call; `outcome` says how it ended: sound, refused by a named error with a way out, or a fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from helpers import changed, marginals
from torch import Tensor, nn

import torch_gbp as gbp
from torch_gbp.errors import GBPError

SCALARS: dict[str, Any] = {
    "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-1": -1, "0": 0, "1.5": 1.5, "text": "a", "None": None, "list": [],
    "huge": 10**30, "1e300": 1e300, "complex": 1j, "True": True, "pair": (1, 2), "triple": (1, 2, 3), "dict": {},
    "object": object(),
}  # fmt: skip
TENSORS: dict[str, Callable[[Tensor], Any]] = {
    "NaN": lambda t: torch.full_like(t, math.nan, dtype=torch.float32),
    "inf": lambda t: torch.full_like(t, math.inf, dtype=torch.float32),
    "empty": lambda t: t[:0], "integers": lambda t: t.long(), "one axis less": lambda t: t[0], "one axis more": lambda t: t[None],
    "flat": lambda t: t.flatten(), "scalar": lambda t: torch.tensor(0.5), "complex": lambda t: t.to(torch.complex64),
    "bool": lambda t: t > 0, "fewer": lambda t: t[:1], "negative": lambda t: -t.abs() - 1, "large": lambda t: t.abs() + 100,
    "column": lambda t: t[:, None], "wide": lambda t: torch.cat([t, t], -1),
    "half": lambda t: t.half(), "double": lambda t: t.double(),
    "list": lambda t: t.tolist(), "None": lambda t: None, "text": lambda t: "a", "number": lambda t: 3,
    "dict": lambda t: {"x": t},
    "tuple": lambda t: (t, t), "meta": lambda t: t.to("meta"),
    "belief of negative variance": lambda t: gbp.Gaussian(t.float(), -torch.ones_like(t, dtype=torch.float32)),
    "belief of NaN": lambda t: gbp.Gaussian(t.float(), torch.full_like(t, math.nan, dtype=torch.float32)),
    "belief of two shapes": lambda t: gbp.Gaussian(t.float(), torch.ones(1)), "belief of text": lambda t: gbp.Gaussian("a", "b"),
}  # fmt: skip


class Case(NamedTuple):
    """A call to try; `model` is what it may not change if it fails."""

    name: str
    call: Callable[[], Any]
    model: nn.Module | None = None


def seeded(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def outcome(case: Case) -> str:
    """sound, refused, or the fault in words."""
    before = None if case.model is None else marginals(case.model)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            result = case.call()
    except GBPError as error:
        if "Way out" not in str(error):
            return f"no way out: {error}"
        return "refused" if before is None or not changed(before, _model(case)) else f"changed {changed(before, _model(case))}"
    except TypeError as error:
        arguments = any(part in str(error) for part in ("positional argument", "keyword argument"))
        return "refused" if arguments else f"cryptic TypeError: {error}"
    except Exception as error:
        return f"cryptic {type(error).__name__}: {error}"
    unsound = [part for part in _tensors(result) if not _sound(part)]
    return "sound" if not unsound else f"silent: {unsound[0].flatten()[:4].tolist()}"


def _model(case: Case) -> nn.Module:
    assert case.model is not None
    return case.model


def _tensors(result: Any) -> Iterator[Tensor]:
    """Every floating tensor of a result: of modules and distributions too; variances of beliefs are to be at least 0."""
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, gbp.Gaussian):
        yield result.mean
        yield result.variance.sqrt()  # NaN for a negative one
    elif isinstance(result, nn.Module):
        yield from (value for name, value in result.state_dict().items() if value.is_floating_point())
    elif isinstance(result, torch.distributions.Distribution):
        yield result.mean if not isinstance(result, torch.distributions.Categorical) else result.probs
    elif isinstance(result, (list, tuple)):
        for part in result:
            yield from _tensors(part)
    elif isinstance(result, float):
        yield torch.tensor(result)


def _sound(part: Tensor) -> bool:
    return part.device.type == "meta" or not part.is_floating_point() or bool(part.isfinite().all())
