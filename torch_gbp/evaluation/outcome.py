"""Outcome: what one model said of one data set, and of others beside it; scores and reports are made of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, Literal

import torch
from torch import Tensor

from torch_gbp.errors.checks import require_kind, require_values
from torch_gbp.evaluation.checks import (
    WHERE,
    require_deviations,
    require_labels,
    require_names,
    require_one_kind,
    require_other_inputs,
    require_parts,
    require_probabilities,
    require_real_targets,
    require_rows_of_counts,
)
from torch_gbp.metrics.counts import Counts
from torch_gbp.metrics.mixture import Mixture

Kind = Literal["classification", "regression"]


@dataclass
class Predictions:
    """Predictive distributions of n inputs: class probabilities, or mean and standard deviation. Float64, on the CPU.

    Attributes:
        probabilities: (n, classes), of classes; None of real targets.
        log_probabilities: their logarithms, which are finite where a probability rounds to 0; None takes those of them.
        mean, std: (n, k), of real targets with the noise in it, in their units; (n,) is taken as (n, 1), (n, ...) as
            (n, k). None of classes.
        mixture: the whole distribution of real targets, a mixture of Gaussians, or that of counts; None if it is the Gaussian
            of `mean` and `std`.
        epistemic: what the weights' uncertainty adds: mutual information (n,) in nats, or variance (n, k); None if unknown.
        energy: (n,), -log sum exp of the logits, the larger the stranger; None without logits.
        ood_score: (n,), how far an input is from the training data, as by `torch_gbp.OODScore`; None if nobody has asked.
        inputs: (n, ...), as a report shows them; None if they were not kept.
        shape: of the real targets of an example before they were k in a row; None where they were.

    Raises:
        InvalidInput: no predictions; probabilities that are not finite, negative, or do not sum to 1 (to one part in 10^4);
            fewer than two classes; deviations that are not positive; parts of different lengths. With the row.

    >>> import torch
    >>> Predictions(probabilities=torch.tensor([[0.5, 0.5], [0.9, 0.1]])).kind
    'classification'
    """

    _: KW_ONLY
    probabilities: Tensor | None = None
    log_probabilities: Tensor | None = None
    mean: Tensor | None = None
    std: Tensor | None = None
    mixture: Mixture | Counts | None = None
    epistemic: Tensor | None = None
    energy: Tensor | None = None
    ood_score: Tensor | None = None
    inputs: Tensor | None = None
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        require_one_kind(self.probabilities, self.mean, self.std)
        for name in ("probabilities", "log_probabilities", "mean", "std", "epistemic", "energy", "ood_score"):
            setattr(self, name, _plain(getattr(self, name)))
        if self.probabilities is not None:
            require_probabilities(self.probabilities)
            if self.log_probabilities is None:
                self.log_probabilities = self.probabilities.log()
        elif self.mean is not None and self.std is not None:
            self._flatten(column(self.mean), column(self.std))
        require_parts(
            len(self),
            log_probabilities=self.log_probabilities,
            epistemic=self.epistemic,
            energy=self.energy,
            ood_score=self.ood_score,
            inputs=self.inputs,
        )

    def _flatten(self, mean: Tensor, std: Tensor) -> None:
        """Real targets of an example in a row, as all scores take them."""
        require_deviations(mean, std)
        if mean.ndim > 2:
            self.shape = tuple(mean.shape[1:])
        self.mean, self.std = mean.flatten(1), std.flatten(1)
        self.epistemic = None if self.epistemic is None else column(self.epistemic).flatten(1)
        if isinstance(self.mixture, Counts):
            require_rows_of_counts(mean)
        elif self.mixture is not None:
            parts = torch.broadcast_tensors(*(part.detach().cpu().double() for part in self.mixture))
            self.mixture = Mixture(*(part.reshape(*self.mean.shape, -1) for part in parts))

    @property
    def kind(self) -> Kind:
        """What is predicted."""
        return "regression" if self.probabilities is None else "classification"

    def __len__(self) -> int:
        known = self.mean if self.probabilities is None else self.probabilities
        assert known is not None
        return len(known)

    def whole(self) -> Mixture | Counts:
        """The distribution of real targets, or of counts."""
        assert self.mean is not None and self.std is not None
        return Mixture.gaussian(self.mean, self.std) if self.mixture is None else self.mixture

    def parts(self) -> dict[str, Any]:
        """All of its parts, by their names."""
        return {one.name: getattr(self, one.name) for one in fields(Predictions)}


@dataclass
class Outcome(Predictions):
    """Predictions of one model beside the targets, and its predictions on sets of other inputs.

    Attributes:
        name: of the model, as tables and pictures call it.
        targets: labels (n,), or real targets as the means are shaped, (n, ...), in their units; kept as (n, k).
        ood: predictions on out-of-distribution inputs, by the name of the set.
        near: names of those sets that are near to the training data; if there are any, the others are far.

    Raises:
        InvalidInput: targets that do not fit the predictions, with the row; a set of other inputs whose predictions are those
            of the data, of another kind, or with other classes; names in `near` of no set.

    >>> import torch
    >>> one = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    >>> len(Outcome("a", torch.tensor([0, 1]), probabilities=one))
    2
    """

    name: str
    targets: Tensor
    ood: dict[str, Predictions] = field(default_factory=dict)
    near: Collection[str] = frozenset()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.near = require_names(self.name, self.near, self.ood)
        require_kind("targets", self.targets, Tensor, WHERE, fix="pass a torch tensor")
        require_values(self.targets, WHERE)
        self.targets = self.targets.detach().cpu()
        if self.probabilities is not None:
            require_labels(self.probabilities, self.targets)
            self.targets = self.targets.long()
        elif self.mean is not None:
            self._take_real(self.mean, column(self.targets))
        own = self.mean if self.probabilities is None else self.probabilities
        others = {name: other.mean if other.probabilities is None else other.probabilities for name, other in self.ood.items()}
        require_other_inputs(own, others, {name: other.kind == self.kind for name, other in self.ood.items()})

    def _take_real(self, mean: Tensor, targets: Tensor) -> None:
        """Real targets as the means were shaped, or in a row as these are; counts of an integer dtype too."""
        if isinstance(self.mixture, Counts) and not (targets.dtype == torch.bool or targets.is_complex()):
            targets = targets.double()
        shaped = mean if self.shape is None or targets.ndim == 2 else mean.unflatten(1, self.shape)
        require_real_targets(shaped, targets)
        self.targets = targets.flatten(1)


def column(values: Tensor) -> Tensor:
    """(n,) as (n, 1)."""
    return values[:, None] if values.ndim == 1 else values


def _plain(values: Tensor | None) -> Tensor | None:
    """On the CPU in float64, without gradient."""
    return None if values is None else values.detach().cpu().double()
