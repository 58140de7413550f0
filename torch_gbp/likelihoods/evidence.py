"""Evidence: what a likelihood says of a batch, its log and the message to the outputs."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Evidence(NamedTuple):
    """Log evidence per example (n,), and the centred message (g, G) to the outputs, as the outputs are shaped."""

    log: Tensor
    score: Tensor
    precision: Tensor

    def masked(self, known: Tensor | None) -> Evidence:
        """The evidence of the known targets, (n,) or as the outputs are shaped, alone; None for all."""
        if known is None:
            return self
        examples = known if known.ndim == 1 else known.flatten(1).all(1)
        entries = known.view(-1, *(1 for _ in self.score.shape[1:])) if known.ndim == 1 else known
        masks = examples, entries, entries
        return Evidence(*(part.where(mask, part.new_zeros(())) for part, mask in zip(self, masks, strict=True)))


def per_example(values: Tensor) -> Tensor:
    """The sum over the targets of each example, (n,), of values (n, ...).

    >>> import torch
    >>> per_example(torch.ones(2, 3, 4)), per_example(torch.ones(2))
    (tensor([12., 12.]), tensor([1., 1.]))
    """
    return values.flatten(1).sum(1) if values.ndim > 1 else values
