"""Outcome: what one model said of one data set, and of others beside it; scores and reports are made of it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from torch import Tensor

from torch_gbp.metrics.mixture import Mixture

Kind = Literal["classification", "regression"]


@dataclass
class Predictions:
    """Predictive distributions of n inputs: class probabilities, or mean and standard deviation. Float64, on the CPU.

    Attributes:
        probabilities: (n, classes), of classes; None of real targets.
        mean, std: (n, k), of real targets with the noise in it, in their units; None of classes.
        mixture: of Gaussians, the whole distribution of real targets; None if that is the Gaussian of `mean` and `std`.
        epistemic: what the weights' uncertainty adds: mutual information (n,) in nats, or variance (n, k); None if unknown.
        energy: (n,), -log sum exp of the logits, the larger the stranger; None without logits.
        inputs: (m, ...), of the first m examples, as a report shows them; None if they were not kept.
    """

    _: KW_ONLY
    probabilities: Tensor | None = None
    mean: Tensor | None = None
    std: Tensor | None = None
    mixture: Mixture | None = None
    epistemic: Tensor | None = None
    energy: Tensor | None = None
    inputs: Tensor | None = None

    @property
    def kind(self) -> Kind:
        """What is predicted."""
        return "regression" if self.probabilities is None else "classification"

    def __len__(self) -> int:
        known = self.mean if self.probabilities is None else self.probabilities
        return 0 if known is None else len(known)


@dataclass
class Outcome(Predictions):
    """Predictions of one model beside the targets, and its predictions on sets of other inputs.

    Attributes:
        name: of the model, as tables and pictures call it.
        targets: labels (n,), or real targets (n, k) in their units.
        ood: predictions on out-of-distribution inputs, by the name of the set.
        near: names of those sets that are near to the training data; the others are far.
    """

    name: str
    targets: Tensor
    ood: dict[str, Predictions] = field(default_factory=dict)
    near: frozenset[str] = frozenset()
