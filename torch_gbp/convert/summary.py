"""What became of a network's parameters, as a compiler reports it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from torch import nn

from torch_gbp.convert.choice import Place, places
from torch_gbp.convert.maps import without_map
from torch_gbp.convert.statistics import frozen
from torch_gbp.errors.checks import require_kind
from torch_gbp.weights.attached import ParameterMarginal, marginals
from torch_gbp.weights.parameter import GaussianParameter


class Row(NamedTuple):
    """A plain or frozen parameter: qualified name, class of its module, shape, and its other names, if it is tied."""

    name: str
    module: str
    shape: tuple[int, ...]
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        tied = f"  (also {', '.join(self.others)})" if self.others else ""
        return f"{self.name}  {self.module}  {_shape(self.shape)}{tied}"


class GaussianRow(NamedTuple):
    """A parameter with a marginal: as `Row`, and how many weights share a precision, the prior's variance (the mean, if it
    varies), whether the prior is centred on given weights, the variance of the start, and whether the marginal is frozen."""

    name: str
    module: str
    shape: tuple[int, ...]
    others: tuple[str, ...]
    shared_by: int
    prior_variance: float
    centred: bool
    start_variance: float
    frozen: bool

    @property
    def precisions(self) -> int:
        """How many different precisions there are."""
        return math.prod(self.shape) // self.shared_by

    def __str__(self) -> str:
        centre = "the given weights" if self.centred else "0"
        start = f", starts at variance {self.start_variance:.3g}" if self.start_variance < self.prior_variance else ""
        shared = f"{self.precisions:,} precisions" + (f", one for {self.shared_by:,} weights" if self.shared_by > 1 else "")
        prior = f"prior variance {self.prior_variance:.3g} about {centre}{start}"
        return f"{Row(*self[:4])}  {shared}; {prior}{'; frozen' if self.frozen else ''}"


class Summary(NamedTuple):
    """Which parameters are Gaussian, plain and trained, or plain and frozen, and which layers exclude moments.

    `without_moments` are layers of torch, by path, without a moment map: the network then predicts by samples, linearised or at
    its means, and not by moments. Calls of torch functions inside a `forward` are not seen. `statistics` are normalisation
    layers whose running statistics follow the data in training mode.
    """

    gaussian: tuple[GaussianRow, ...]
    plain: tuple[Row, ...]
    frozen: tuple[Row, ...]
    without_moments: dict[str, str]
    statistics: tuple[str, ...]

    @property
    def weights(self) -> int:
        """Number of Gaussian weights."""
        return sum(math.prod(row.shape) for row in self.gaussian)

    @property
    def precisions(self) -> int:
        """Number of precisions that are learnt for them."""
        return sum(row.precisions for row in self.gaussian)

    def __str__(self) -> str:
        counts = f"{len(self.gaussian)} tensors, {self.weights:,} weights, {self.precisions:,} precisions"
        kinds = [f"{path or 'the network'}  {kind}" for path, kind in self.without_moments.items()]
        parts = (
            (f"Gaussian: {counts}", self.gaussian),
            (f"plain, trained: {_counts(self.plain)}", self.plain),
            (f"plain, frozen: {_counts(self.frozen)}", self.frozen),
            (f"no moment map, so no prediction by moments: {len(kinds)} layers" if kinds else "moment maps: every layer", kinds),
            (f"running statistics: {len(self.statistics)} layers", self.statistics),
        )
        return "\n".join(line for title, rows in parts for line in (title, *(f"  {row}" for row in rows)))


def summary(model: nn.Module) -> Summary:
    """Report of what in a network is Gaussian, plain or frozen, and of the layers that exclude moments; print it.

    Every parameter is named once; the mean and precision of a GBP layer's weights are one row.

    >>> import torch_gbp as gbp
    >>> print(summary(gbp.from_torch(nn.Sequential(nn.Linear(3, 2, bias=False), nn.Softmax(1)), fresh=True)))
    Gaussian: 1 tensors, 6 weights, 3 precisions
      0.weight  Linear  2 x 3  3 precisions, one for 2 weights; prior variance 0.0448 about 0
    plain, trained: 0 tensors, 0 numbers
    plain, frozen: 0 tensors, 0 numbers
    no moment map, so no prediction by moments: 1 layers
      1  Softmax
    running statistics: 0 layers
    """
    require_kind("model", model, nn.Module, "summary", fix="pass a network")
    owned = {id(half): name for name, own in marginals(model).items() for half in own.halves.values()}
    held = places(model)
    others = {id(group[0].parameter): tuple(place.path for place in group[1:]) for group in held}
    plain = [_row(group) for group in held if id(group[0].parameter) not in owned and group[0].parameter.requires_grad]
    still = [_row(group) for group in held if id(group[0].parameter) not in owned and not group[0].parameter.requires_grad]
    missing = {path: type(module).__name__ for path, module in without_map(model).items()}
    return Summary(tuple(_gaussian(model, others)), tuple(plain), tuple(still), missing, tuple(_statistics(model)))


def _gaussian(model: nn.Module, others: dict[int, tuple[str, ...]]) -> Iterator[GaussianRow]:
    modules = dict(model.named_modules())
    for name, own in marginals(model).items():
        module = modules[name.rpartition(".")[0]]
        start = own.floor.add(own.surplus).reciprocal().mean() if not own.mean.is_meta else own.prior.width
        prior = own.prior.width if own.mean.is_meta else float(own.floor.reciprocal().mean())
        yield GaussianRow(
            name,
            type(module).__name__,
            tuple(own.mean.shape),
            others.get(id(own.mean), ()),
            _shared_by(own),
            prior,
            own.prior_mean is not None,
            float(start),
            not own.mean.requires_grad,
        )


def _shared_by(own: GaussianParameter) -> int:
    if isinstance(own, ParameterMarginal):
        return math.prod(own.mean.shape[axis] for axis in own.sharing.axes) // own.sharing.blocks
    return own.mean.numel() // own.precision.numel()


def _row(group: list[Place]) -> Row:
    place = group[0]
    shape, tied = tuple(place.parameter.shape), tuple(other.path for other in group[1:])
    return Row(place.path, type(place.module).__name__, shape, tied)


def _statistics(model: nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        if getattr(module, "running_mean", None) is not None and not frozen(module):
            yield f"{name}  {type(module).__name__}" if name else type(module).__name__


def _counts(rows: Iterable[Row]) -> str:
    shapes = [row.shape for row in rows]
    return f"{len(shapes)} tensors, {sum(map(math.prod, shapes)):,} numbers"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
