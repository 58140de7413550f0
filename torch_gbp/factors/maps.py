"""Bilinear maps M(a, W) of inputs and weights: what a map computes, and the matrix product.

`factors/bilinear.py` says moments and messages of z = M(a, W) + b by M and its two transposes alone; a map computes them, and the
sums that it can fuse. Letters: n batch, i in, o out; S the inputs' second moments.

`dense` products have a variance for every weight, v_z = M(S, v_W) + M(v_a, m_W^2) + v_b. `shared` ones have one for every input,
v_W[o, i] = r[i], so the first term is the same for all outputs (of a group): a row r times S, summed over the window.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments

Parts = tuple[Tensor, ...]


class Back(NamedTuple):
    """A message G sent back through M(S, v_W) + M(v_a, m_W^2); without v_a all but `to_variance` are None.

    `noise` is G at v_W and `to_inputs` G at v_W + m_W^2, as the inputs; `to_variance` G at S and `own` G at v_a, as the weights.
    """

    to_variance: Tensor
    noise: Tensor | None = None
    to_inputs: Tensor | None = None
    own: Tensor | None = None


class Map:
    """A bilinear map M of inputs (n, ...) and weights (o, i, ...); `options` are its geometry, None for a matrix product."""

    def seen(self, options: Any, inputs: Tensor) -> Tensor:
        """The representation of the input means in all products."""
        return inputs

    def square(self, options: Any, inputs: Tensor) -> Tensor:
        """The squares of what is seen."""
        return inputs * inputs

    def affine(self, options: Any, inputs: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        """M(a, W) + b."""
        raise NotImplementedError

    def transpose(
        self, options: Any, message: Tensor, inputs: Tensor, weights: Tensor, to_inputs: bool = True, to_weights: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The transpose at the weights, to the inputs, and at the inputs, to the weights; None where not wanted."""
        raise NotImplementedError

    def to_bias(self, message: Tensor) -> Tensor:
        """The sum of a message over examples and positions, (o,)."""
        raise NotImplementedError

    def sum(self, options: Any, first: Moments, second: Moments | None, bias: Tensor | None) -> Tensor:
        """M(S, v_W) + M(v_a, m_W^2) + v_b from the pairs of inputs and weights."""
        output = self.affine(options, *first, bias)
        return output if second is None else output.add_(self.affine(options, *second, None))

    def dense(self, options: Any, first: Moments, second: Moments | None, bias: Tensor | None) -> tuple[Tensor, Parts]:
        """`sum`, and what `dense_transpose` needs."""
        return self.sum(options, first, second, bias), (*first, *(second or ()))

    def dense_transpose(self, options: Any, message: Tensor, kept: Parts) -> Back:
        """The transposes of both terms at a message G."""
        raise NotImplementedError

    def shared(
        self, options: Any, inputs: Tensor, row: Tensor, second: Moments | None, like: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Parts]:
        """`dense` for weights of the shape of `like` that share the variances r (1, i, ...), and what the transposes need."""
        raise NotImplementedError

    def shared_transpose(self, options: Any, message: Tensor, kept: Parts) -> Back:
        """`dense_transpose` of `shared`."""
        raise NotImplementedError

    def to_row(self, options: Any, message: Tensor, kept: Parts) -> Tensor:
        """What `shared_transpose` sends to r, alone."""
        raise NotImplementedError

    def groups(self, options: Any) -> int:
        """Parts of inputs and outputs that have nothing to do with each other."""
        return 1

    def require_rows(self) -> None:
        """Raises MissingRule unless the map can list the inputs of its outputs, see `rows`."""

    def rows(self, options: Any, inputs: Tensor, weights: Tensor) -> Tensor:
        """The inputs of every output, (n, groups d, positions), in the order of an output's weights."""
        raise NotImplementedError

    def fold(self, options: Any, rows: Tensor, inputs: Tensor, weights: Tensor) -> Tensor:
        """The transpose of `rows`: sums over the outputs that an input goes to, shaped as the inputs."""
        raise NotImplementedError


class Matmul(Map):
    """z = W a + b: (n, i), (o, i), (o,) -> (n, o)."""

    def affine(self, options: Any, inputs: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        return inputs @ weights.t() if bias is None else torch.addmm(bias, inputs, weights.t())

    def transpose(
        self, options: Any, message: Tensor, inputs: Tensor, weights: Tensor, to_inputs: bool = True, to_weights: bool = True
    ) -> tuple[Tensor, Tensor]:
        to = message @ weights if to_inputs else None, message.t() @ inputs if to_weights else None
        return to  # type: ignore[return-value]  # noqa: RET504

    def to_bias(self, message: Tensor) -> Tensor:
        return message.sum(0)

    def sum(self, options: Any, first: Moments, second: Moments | None, bias: Tensor | None) -> Tensor:
        output = self.affine(options, *first, bias)
        return output if second is None else output.addmm_(second[0], second[1].t())

    def dense_transpose(self, options: Any, message: Tensor, kept: Parts) -> Back:
        inputs, weights, *second = kept
        to_variance = message.t() @ inputs
        return self._back(message, to_variance, message @ weights, *second) if second else Back(to_variance)

    def shared(
        self, options: Any, inputs: Tensor, row: Tensor, second: Moments | None, like: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Parts]:
        noise = inputs @ row.t()  # (n, 1)
        output = noise.expand(-1, len(like)).clone() if bias is None else noise + bias
        if second is not None:
            output.addmm_(second[0], second[1].t())
        return output, (inputs, row, *(second or ()))

    def shared_transpose(self, options: Any, message: Tensor, kept: Parts) -> Back:
        inputs, row, *second = kept
        total = message.sum(1, keepdim=True)
        to_variance = total.t() @ inputs
        return self._back(message, to_variance, total * row, *second) if second else Back(to_variance)

    def to_row(self, options: Any, message: Tensor, kept: Parts) -> Tensor:
        return message.sum(1, keepdim=True).t() @ kept[0]

    def _back(self, message: Tensor, to_variance: Tensor, noise: Tensor, spread: Tensor, squared: Tensor) -> Back:
        return Back(to_variance, noise, torch.addmm(noise, message, squared), message.t() @ spread)

    def rows(self, options: Any, inputs: Tensor, weights: Tensor) -> Tensor:
        return inputs[:, :, None]

    def fold(self, options: Any, rows: Tensor, inputs: Tensor, weights: Tensor) -> Tensor:
        return rows[:, :, 0]


MATMUL = Matmul()
