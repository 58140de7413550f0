"""Gaussian: the belief of a tensor of variables. Message: a factor's message to them, in information form.

A Gaussian travels through a network in place of a tensor. Reshaping it reshapes mean and variance
alike; the gradients that come back through the reshape are the message, reshaped. Other functions of torch
act by their moment maps (functions.py, factors/), or raise `MissingRule` instead of treating the pair as two tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torch_gbp.errors import MissingRule, require_positive
from torch_gbp.functions import apply, method, require_known


def _operator(name: str) -> Callable[..., Any]:
    """An operator that is the tensor's method of this name: by its moment map, or refused."""
    return lambda belief, *others: method(Gaussian, name)(belief, *others)


class Gaussian(NamedTuple):
    """Belief N(mean, variance) of independent variables, elementwise.

    Shapes: mean and variance have the same shape. Units: mean as the variable, variance its square.
    `mean, variance = belief` unpacks (so `len(belief)` is 2; examples are counted by `belief.size(0)`); `belief[...]` slices
    both; `belief + other` is the sum factor; `belief * 2.0` and `belief / 2.0` scale; torch's reshapes apply to both, as
    functions and as methods. A function, method or operator of torch without moment map raises `MissingRule`. The mean over an
    axis is `torch.mean(belief, dim)`: `belief.mean` is the tensor, which cannot be called.

    >>> belief = Gaussian(torch.zeros(2, 3), torch.ones(2, 3))
    >>> belief.flatten().shape, belief[:, :2].shape, (belief + belief[:1]).variance[0, 0].item()
    (torch.Size([6]), torch.Size([2, 2]), 2.0)
    """

    mean: Tensor
    variance: Tensor

    @property
    def shape(self) -> torch.Size:
        return self.mean.shape

    @property
    def ndim(self) -> int:
        return self.mean.ndim

    @property
    def dtype(self) -> torch.dtype:
        return self.mean.dtype

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @property
    def is_nested(self) -> bool:
        """Never a nested tensor; torch's attention asks."""
        return False

    @property
    def standard_deviation(self) -> Tensor:
        return self.variance.sqrt()

    def size(self, dim: int | None = None) -> torch.Size | int:
        return self.mean.shape if dim is None else self.mean.shape[dim]

    def dim(self) -> int:
        return self.mean.ndim

    def numel(self) -> int:
        return self.mean.numel()

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Gaussian:
        return Gaussian(self.mean.flatten(start_dim, end_dim), self.variance.flatten(start_dim, end_dim))

    def unflatten(self, dim: int, sizes: Any) -> Gaussian:
        return Gaussian(self.mean.unflatten(dim, sizes), self.variance.unflatten(dim, sizes))

    def view(self, *shape: Any) -> Gaussian:
        return Gaussian(self.mean.view(*shape), self.variance.view(*shape))

    def reshape(self, *shape: Any) -> Gaussian:
        return Gaussian(self.mean.reshape(*shape), self.variance.reshape(*shape))

    def permute(self, *dims: Any) -> Gaussian:
        return Gaussian(self.mean.permute(*dims), self.variance.permute(*dims))

    def transpose(self, dim0: int, dim1: int) -> Gaussian:
        return Gaussian(self.mean.transpose(dim0, dim1), self.variance.transpose(dim0, dim1))

    def squeeze(self, *dim: Any) -> Gaussian:
        return Gaussian(self.mean.squeeze(*dim), self.variance.squeeze(*dim))

    def unsqueeze(self, dim: int) -> Gaussian:
        return Gaussian(self.mean.unsqueeze(dim), self.variance.unsqueeze(dim))

    def contiguous(self) -> Gaussian:
        return Gaussian(self.mean.contiguous(), self.variance.contiguous())

    def detach(self) -> Gaussian:
        return Gaussian(self.mean.detach(), self.variance.detach())

    def cpu(self) -> Gaussian:
        return Gaussian(self.mean.cpu(), self.variance.cpu())

    def to(self, *args: Any, **kwargs: Any) -> Gaussian:
        return Gaussian(self.mean.to(*args, **kwargs), self.variance.to(*args, **kwargs))

    def __getitem__(self, index: Any) -> Gaussian:  # type: ignore[override]
        """Slices both moments; a belief is unpacked by name or by `mean, variance = belief`."""
        return Gaussian(self.mean[index], self.variance[index])

    def __add__(self, other: Any) -> Gaussian:  # type: ignore[override]
        """Sum factor of independent variables: means add, variances add; a number or tensor shifts the mean."""
        if other is self:
            return self * 2.0  # fully dependent: the variance is 4 v, not 2 v
        if isinstance(other, Gaussian):
            return apply(Gaussian, torch.add, (self, other), {})
        require_known(other, "this sum", "add a Gaussian, or a known number or tensor")
        mean = self.mean + other
        return Gaussian(mean, self.variance.expand_as(mean))

    __radd__ = __add__

    def __mul__(self, factor: Any) -> Gaussian:  # type: ignore[override]
        """Scaling by a known number or tensor: mean c m, variance c^2 v; or the product with an independent Gaussian."""
        if isinstance(factor, Gaussian):
            return apply(Gaussian, torch.mul, (self, factor), {})
        require_known(factor, "this product", "multiply by a Gaussian, or a known number or tensor")
        return Gaussian(self.mean * factor, self.variance * (factor * factor))

    __rmul__ = __mul__  # type: ignore[assignment]

    def __truediv__(self, divisor: Any) -> Gaussian:
        """Scaling by the reciprocal of a known number or tensor: mean m / c, variance v / c^2."""
        require_known(divisor, "the quotient of two Gaussian variables", "divide by a known number or tensor")
        return Gaussian(self.mean / divisor, self.variance / (divisor * divisor))

    def __rtruediv__(self, other: Any) -> Gaussian:
        raise MissingRule("the reciprocal of a Gaussian has no message rule", fix="divide the Gaussian by a known tensor")

    def __neg__(self) -> Gaussian:
        return Gaussian(-self.mean, self.variance)

    def __sub__(self, other: Any) -> Gaussian:
        return self * 0.0 if other is self else self + (-other)

    def __rsub__(self, other: Any) -> Gaussian:
        return -self + other

    __pow__, __abs__, __mod__, __floordiv__ = map(_operator, ("pow", "abs", "fmod", "floor_divide"))
    __gt__, __ge__, __lt__, __le__ = map(_operator, ("gt", "ge", "lt", "le"))  # type: ignore[assignment]
    __matmul__, __rmatmul__ = map(_operator, ("matmul", "__rmatmul__"))

    def message(self) -> Message:
        """The same belief in information form: precision 1 / v and information m / v."""
        return Message(self.mean / self.variance, self.variance.reciprocal())

    def posterior(self, score: Tensor, precision: Tensor) -> Gaussian:
        """Belief after the evidence whose derivatives at this belief are (g, G): mean m + v g, variance v - v^2 G.

        Exact where the evidence is Gaussian in this variable, so on every linear-Gaussian tree.
        Source: moment matching by the derivatives of log Z (Minka 2001, assumed-density filtering), G = -d2 log Z / dm2.

        Raises:
            ImproperMarginal: v G >= 1, which no single Gaussian factor can say.
        """
        variance = self.variance - self.variance.square() * precision
        require_positive(variance, "variance after the evidence", "messages of several examples were summed")
        return Gaussian(self.mean + self.variance * score, variance)

    def evidence_message(self, score: Tensor, precision: Tensor) -> Message:
        """The message of evidence whose derivatives at this belief are (g, G): centred at m, it is (g, G) / (1 - v G).

        belief x message is `posterior(g, G)`. Source: as `posterior`, divided by the belief.

        Raises:
            ImproperMarginal: v G >= 1, which no single Gaussian factor can say.
        """
        rest = 1 - self.variance * precision
        if (rest <= 0).any():  # NaN passes: the optimizer finds it, and names the layer
            require_positive(rest, "1 - v G", "a likelihood power above 1, or the sum of the derivatives of several factors")
        return Message.centred(score / rest, precision / rest, self.mean)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function's moment map, or MissingRule (functions.py)."""
        return apply(cls, function, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        """Methods of a tensor that are not above, by their moment maps or refused."""
        if name.startswith("_") or not callable(getattr(Tensor, name, None)):
            raise AttributeError(f"a Gaussian has no attribute {name!r}")
        return partial(method(type(self), name), self)


class Message(NamedTuple):
    """Message in information form: exp(information x - precision x^2 / 2), up to a constant.

    Shapes: both alike. Units: precision = 1 / variance, information = precision x mean. A message may be
    improper (precision <= 0); only a belief may not. `*` is the product, `/` the quotient, zeros say nothing.

    >>> joint = Message(torch.tensor(2.0), torch.tensor(1.0)) * Message(torch.tensor(0.0), torch.tensor(3.0))
    >>> joint.belief()
    Gaussian(mean=tensor(0.5000), variance=tensor(0.2500))
    """

    information: Tensor
    precision: Tensor

    def __mul__(self, other: Message) -> Message:  # type: ignore[override]
        """Product: information and precision add."""
        return Message(self.information + other.information, self.precision + other.precision)

    def __truediv__(self, other: Message) -> Message:
        """Quotient: information and precision subtract; the cavity is marginal / site."""
        return Message(self.information - other.information, self.precision - other.precision)

    def __add__(self, other: Any) -> Message:  # type: ignore[override]
        raise MissingRule("messages multiply, they do not add", fix="use `*` for the product of messages")

    def tempered(self, power: float) -> Message:
        """The message to a power: information (or score) and precision times `power`."""
        return self if power == 1 else Message(self.information * power, self.precision * power)

    def damp(self, old: Message, rate: float) -> Message:
        """Damped message: (1 - rate) old + rate new, in information form."""
        return Message(torch.lerp(old.information, self.information, rate), torch.lerp(old.precision, self.precision, rate))

    def belief(self) -> Gaussian:
        """The normalised Gaussian: mean information / precision, variance 1 / precision.

        Raises:
            ImproperMarginal: a precision that is not positive.
        """
        require_positive(self.precision, "precision", "a quotient took out more than was in the product")
        return Gaussian(self.information / self.precision, self.precision.reciprocal())

    @classmethod
    def centred(cls, score: Tensor, precision: Tensor, mean: Tensor) -> Message:
        """From the centred form (g, G) at the mean m: information g + G m, precision G."""
        return cls(score + precision * mean, precision)
