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
        """The evidence of the known targets, (n,) or as the outputs are shaped, alone; None for all.

        An example with an output that is not known has no log evidence, as its targets may depend on each other (classes).
        """
        if known is None:
            return self
        examples = known if known.ndim == 1 else known.flatten(1).all(1)
        return Evidence(_where(examples, self.log), *self._messages(known))

    def _messages(self, known: Tensor) -> tuple[Tensor, Tensor]:
        entries = known.view(-1, *(1 for _ in self.score.shape[1:])) if known.ndim == 1 else known
        return _where(entries, self.score), _where(entries, self.precision)


class ApartEvidence(Evidence):
    """Evidence of targets that are independent given the outputs: `parts` is the log evidence of each, shaped as these."""

    parts: Tensor

    @classmethod
    def of(cls, parts: Tensor, score: Tensor, precision: Tensor) -> ApartEvidence:
        """The evidence whose log is the sum of these parts."""
        found = cls(per_example(parts), score, precision)
        found.parts = parts
        return found

    def masked(self, known: Tensor | None) -> Evidence:
        """The evidence of the known targets alone, those of partly known examples too."""
        if known is None or known.ndim == 1:
            return super().masked(known)
        return Evidence(per_example(_where(known, self.parts)), *self._messages(known))


def _where(mask: Tensor, values: Tensor) -> Tensor:
    return values.where(mask, values.new_zeros(()))


def per_example(values: Tensor) -> Tensor:
    """The sum over the targets of each example, (n,), of values (n, ...).

    >>> import torch
    >>> per_example(torch.ones(2, 3, 4)), per_example(torch.ones(2))
    (tensor([12., 12.]), tensor([1., 1.]))
    """
    return values.flatten(1).sum(1) if values.ndim > 1 else values
