"""Maps: recorded functions of beliefs as factors, and what kind of factor each of them is.

A function of torch is known by its moment map alone. Whether it is linear with known coefficients, and whether an entry of its
inputs is in one entry of the output or in many, is found by trying it: sums of generic numbers agree by chance alone.
Messages back are the map's own: for a linear one z = C a + d, (C' g, (C o C)' G); for another one the derivatives of the expected
loss E[g (z - m) - G (z - m)^2 / 2] by the means, with Gauss-Newton curvature, the diagonal of J' G J, J = dm / da.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments
from torch_gbp.gaussian import Gaussian

Run = Callable[..., Gaussian]


class LinearMap:
    """z = C a + d with known C and d, for one input a or several."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def moments(self, inputs: Sequence[Moments]) -> tuple[Moments, Any]:
        return tuple(self.run(*(Gaussian(*part) for part in inputs))), [mean for mean, _ in inputs]  # type: ignore[return-value]

    def messages(self, saved: Any, score: Tensor, precision: Tensor) -> Sequence[Moments]:
        return pulled(self.run, saved, score, precision)


class CurvedMap:
    """Any other function; `apart` where every entry of an input is in one entry of the output at most."""

    def __init__(self, run: Run, apart: bool) -> None:
        self.run, self.apart = run, apart

    def moments(self, inputs: Sequence[Moments]) -> tuple[Moments, Any]:
        return tuple(self.run(*(Gaussian(*part) for part in inputs))), inputs  # type: ignore[return-value]

    @torch.enable_grad()
    def messages(self, saved: Any, score: Tensor, precision: Tensor) -> Sequence[Moments]:
        leaves = [mean.detach().requires_grad_() for mean, _ in saved]
        output = self.run(*(Gaussian(leaf, v.detach().requires_grad_()) for leaf, (_, v) in zip(leaves, saved, strict=True)))
        parts = [(output.mean, score), (output.variance, -0.5 * precision)]
        wanted = [(part, weight.expand_as(part)) for part, weight in parts if part.requires_grad]
        outputs, weights = zip(*wanted, strict=True)
        scores = torch.autograd.grad(outputs, leaves, weights, retain_graph=True, materialize_grads=True)
        return list(zip(scores, self._curvature(output.mean, leaves, precision), strict=True))

    def _curvature(self, output: Tensor, leaves: list[Tensor], precision: Tensor) -> list[Tensor]:
        """The diagonal of J' G J for every input."""

        def back(cotangent: Tensor) -> tuple[Tensor, ...]:
            return torch.autograd.grad(output, leaves, cotangent.expand_as(output), retain_graph=True, materialize_grads=True)

        if self.apart:
            return [a * b for a, b in zip(back(precision), back(torch.ones_like(output)), strict=True)]
        found = [torch.zeros_like(leaf) for leaf in leaves]
        root = precision.expand_as(output).clamp_min(0).sqrt().flatten(1)
        for place in range(root.shape[1]):  # examples are in factors of their own, so one place of all of them is asked at once
            alone = torch.zeros_like(root)
            alone[:, place] = root[:, place]
            for total, part in zip(found, back(alone.view_as(output)), strict=True):
                total += part.square()
        return found


class PlainMap(CurvedMap):
    """The function to first order at the means, apart: mean f(m), variance the sum of (df / da)^2 v over the entries a."""

    def __init__(self, run: Run, plain: Callable[..., Tensor]) -> None:
        super().__init__(self._expanded, apart=True)
        self.plain = plain

    @torch.enable_grad()
    def _expanded(self, *beliefs: Gaussian) -> Gaussian:
        means = [belief.mean if belief.mean.requires_grad else belief.mean.detach().requires_grad_() for belief in beliefs]
        value = self.plain(*means)
        dummy = torch.zeros_like(value, requires_grad=True)
        rows = torch.autograd.grad(value, means, dummy, create_graph=True, materialize_grads=True)
        slopes = torch.autograd.grad(value, means, torch.ones_like(value), retain_graph=True, materialize_grads=True)
        # An entry is in one output at most, so its slope there is its column's sum, and J (slope v) sums slope^2 v.
        total = sum((row * slope * b.variance.detach()).sum() for row, slope, b in zip(rows, slopes, beliefs, strict=True))
        (variance,) = torch.autograd.grad(total, dummy, retain_graph=True)  # type: ignore[arg-type]
        return Gaussian(value, variance.detach())


@torch.enable_grad()
def pulled(run: Run, like: Sequence[Tensor], score: Tensor, precision: Tensor) -> list[Moments]:
    """(C' a, (C o C)' b) for each input of a linear map."""
    leaves = [torch.zeros_like(mean, requires_grad=True) for mean in like for _ in range(2)]
    output = run(*(Gaussian(*pair) for pair in zip(leaves[::2], leaves[1::2], strict=True)))
    wanted = [(part, message.expand_as(part)) for part, message in zip(output, (score, precision), strict=True)]
    parts, messages = zip(*((part, message) for part, message in wanted if part.requires_grad), strict=True)
    found = torch.autograd.grad(parts, leaves, messages, materialize_grads=True)
    return list(zip(found[::2], found[1::2], strict=True))


def generic(like: Tensor, seed: int) -> Tensor:
    """Numbers of no pattern, of the shape and type of `like`; no random number is drawn."""
    places = torch.arange(1, like.numel() + 1, dtype=torch.float64, device=like.device)
    return torch.sin(places * (1.7 + 0.31 * seed) + places.square() * 0.37 + seed).to(like.dtype).view(like.shape)


def close(first: Tensor, second: Tensor) -> bool:
    """Equal but for rounding."""
    scale = max(float(first.abs().max()), float(second.abs().max()), 1e-30) if first.numel() else 1.0
    return bool(((first - second).abs() <= 10 * torch.finfo(first.dtype).eps ** 0.5 * scale).all())


def is_linear(run: Run, like: Sequence[Gaussian]) -> bool:
    """Whether the mean is additive in the means and does not look at variances, and the variance at them alone."""
    at = [generic(belief.mean, place) for place, belief in enumerate(like)]

    def output(times: float, spread: float) -> Gaussian:
        return run(*(Gaussian(times * part, torch.full_like(part, spread)) for part in at))

    zero, one, two, both = output(0, 1), output(1, 1), output(-2, 1), output(-1, 2)
    return (
        close(one.mean + two.mean - zero.mean, both.mean)
        and close(one.variance, zero.variance.expand_as(one.variance))
        and close(2 * one.variance, both.variance)
    )


def apart(run: Run, like: Sequence[Gaussian]) -> bool:
    """Whether every entry of every input is in one entry of the output at most: (J' 1)(J' r^2) = (J' r)^2 for generic r."""
    with torch.enable_grad():
        leaves = [generic(belief.mean, place + 1).requires_grad_() for place, belief in enumerate(like)]
        output = run(*(Gaussian(leaf, torch.ones_like(leaf).requires_grad_()) for leaf in leaves)).mean
        r = generic(output.detach(), 7) + 2
        powers = (torch.ones_like(r), r, r.square())
        found = [torch.autograd.grad(output, leaves, p, retain_graph=True, materialize_grads=True) for p in powers]
    return all(close(ones * squares, once.square()) for ones, once, squares in zip(*found, strict=True))


def selects(run: Run, like: Sequence[Gaussian]) -> bool:
    """Whether a linear map has one entry of its inputs at most in every entry of its output: (C 1)(C r^2) = (C r)^2."""

    def image(power: int) -> Tensor:
        return run(*(Gaussian((generic(b.mean, k) + 2) ** power, torch.ones_like(b.mean)) for k, b in enumerate(like))).mean

    shift = offset(run, [belief.mean for belief in like])
    ones, once, squares = (image(power) - shift for power in range(3))
    return close(ones * squares, once.square())


def offset(run: Run, like: Sequence[Tensor]) -> Tensor:
    """d of a linear map z = C a + d."""
    return run(*(Gaussian(torch.zeros_like(mean), torch.ones_like(mean)) for mean in like)).mean


def copies(run: Run, like: Gaussian) -> bool:
    """Whether a linear map that selects is made of copies: every entry of its output is one of the input."""
    output = run(Gaussian(torch.ones_like(like.mean), torch.ones_like(like.mean)))
    return close(output.mean, torch.ones_like(output.mean)) and close(offset(run, [like.mean]), torch.zeros_like(output.mean))


def in_order(run: Run, like: Gaussian) -> bool:
    """Whether a linear map only reshapes."""
    entries = generic(like.mean, 3)
    output = run(Gaussian(entries, torch.ones_like(entries))).mean
    return output.numel() == entries.numel() and torch.equal(output.flatten(), entries.flatten())


def is_view(run: Run, like: Gaussian) -> bool:
    """Whether a map hands on the memory of its input whole and in order, so only reshapes; for less than by generic numbers."""
    shape, options = like.mean.shape, {"dtype": like.mean.dtype, "device": like.mean.device}
    given = Gaussian(torch.zeros(shape, **options), torch.ones(shape, **options))
    pairs = zip(given, run(given), strict=True)
    return all(new.data_ptr() == old.data_ptr() and new.numel() == old.numel() and new.is_contiguous() for old, new in pairs)
