"""OODScore: how far an input is from the training data, by what a network predicts of it and by its features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from torch_gbp.batches import pairs
from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods import Likelihood
from torch_gbp.likelihoods.targets import check_labels
from torch_gbp.modules import device_of, evaluating
from torch_gbp.predictive.examples import require_network
from torch_gbp.predictive.features import SharedGaussian, features_of
from torch_gbp.predictive.predict import SAMPLES, predict

BODY = 0.9  # share of the training examples below which a statistic's tail probability is counted; above it falls exponentially
WHERE = "OODScore"


class OODScore:
    """Out-of-distribution score of inputs: the larger, the further from the training data.

    score(x) = sum over three statistics t of -log P(t(X) >= t(x)), X a training example (Fisher's way of adding up evidence):

        entropy   H(p(y | x)) of the predictive: between the classes
        distance  min_k (z - m_k)' S^-1 (z - m_k), z the inputs of the second layer: off the data, however sure the prediction is
        relative  the same of the last layer's inputs, less (z - m)' S_0^-1 (z - m): nearer to all data than to any class

    with class means m_k, their shared covariance S, and mean m and covariance S_0 of all. P is the share of the training examples
    up to their 90 % quantile q, and beyond it exp(-(t - q) / (mean excess over q)) / 10, so that scores never saturate.

    Entropy alone grows less sure only between classes: inputs of ten times the scale are predicted surer than test data. Chosen
    by what it detected on MNIST and FashionMNIST (benchmarks/README.md).
    Source: Lee et al. 2018 (Mahalanobis distance); Ren et al. 2021 (relative); Fisher 1932.

    Args:
        model, likelihood: a trained classifier, as in `predict`; in evaluation mode meanwhile.
        examples: batches (input, target) of the training data, such as its loader.
        how, samples: as in `predict`.

    Raises:
        InvalidInput: no classes, no more examples than features, a network without linear and convolutional layers, and
            what `predict` raises.

    >>> import torch_gbp as gbp
    >>> x, y = torch.randn(200, 3), torch.arange(200) % 2
    >>> model = nn.Sequential(gbp.GBPLinear(3, 8), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(8, 2))
    >>> score = OODScore(model, gbp.Softmax(), [(x, y)])
    >>> bool(score(10 * x).mean() > score(x).mean())
    True
    """

    @torch.no_grad()
    def __init__(
        self, model: nn.Module, likelihood: Likelihood, examples: Iterable[Any], how: str | None = None, samples: int = SAMPLES
    ) -> None:
        require_network(model, likelihood, WHERE)
        self.model, self.likelihood, self.how, self.samples = model, likelihood, how, samples
        entropy, early, late, labels = (torch.cat(parts) for parts in zip(*self._of_batches(examples), strict=True))
        _require_enough(len(labels), max(early.shape[1], late.shape[1]))
        self._early, self._late = SharedGaussian(early, labels), SharedGaussian(late, labels)
        self._all = SharedGaussian(late, torch.zeros_like(labels))
        self._tails = {name: Tail(values) for name, values in self._statistics(entropy, early, late).items()}

    def __call__(self, x: Tensor | Gaussian) -> Tensor:
        """Scores (n,), float64, of inputs (n, ...)."""
        return torch.stack(list(self.parts(x).values())).sum(0)

    @torch.no_grad()
    def parts(self, x: Tensor | Gaussian) -> dict[str, Tensor]:
        """-log P of each statistic by its name, (n,); their sum is the score."""
        found = self._statistics(*self._seen(x)[:3])
        return {name: self._tails[name](values) for name, values in found.items()}

    def _of_batches(self, examples: Iterable[Any]) -> Iterable[tuple[Tensor, ...]]:
        for x, y, *_ in pairs(examples, device_of(self.model), WHERE):
            *seen, outputs = self._seen(x)
            check_labels(Gaussian(outputs, outputs), y, WHERE)
            _require_rows(seen, x)
            yield *seen, y

    def _seen(self, x: Any) -> tuple[Tensor, ...]:
        """Entropy of the predictive, features of the second and of the last layer, and outputs."""
        found = predict(self.model, self.likelihood, x, self.how, self.samples)
        if not isinstance(found.distribution, Categorical):
            raise InvalidInput(
                "only predictions of classes have an OOD score",
                where=WHERE,
                got=f"a {type(self.likelihood).__name__}",
                fix="use .epistemic of `predict`, the variance that the weights add",
            )
        with evaluating(self.model):
            early, late = features_of(self.model, x, WHERE)
        return found.distribution.entropy().double(), early.double(), late.double(), found.belief.mean

    def _statistics(self, entropy: Tensor, early: Tensor, late: Tensor) -> dict[str, Tensor]:
        relative = self._late.distance(late) - self._all.distance(late)
        return {"entropy": entropy, "distance": self._early.distance(early), "relative": relative}


class Tail:
    """-log P(T >= t) by values of T: counted up to their 90 % quantile, exponential beyond it.

    >>> tail = Tail(torch.arange(1.0, 101.0, dtype=torch.float64))
    >>> [round(float(tail(torch.tensor([t], dtype=torch.float64)).exp()), 2) for t in (0.0, 51.0)]
    [1.0, 2.0]
    """

    def __init__(self, values: Tensor) -> None:
        self.sorted = values.sort().values
        self.quantile = self.sorted[min(len(values) - 1, math.ceil(BODY * len(values)))]
        beyond = self.sorted[self.sorted > self.quantile] - self.quantile
        least = torch.finfo(values.dtype).eps * self.sorted.abs().amax().clamp_min(1)
        self.excess = (beyond.mean() if len(beyond) else least).clamp_min(least)

    def __call__(self, t: Tensor) -> Tensor:
        counted = -torch.log1p(-torch.searchsorted(self.sorted, t.clamp_max(self.quantile)) / len(self.sorted))
        return counted + (t - self.quantile).clamp_min(0) / self.excess


def _require_rows(seen: Sequence[Tensor], x: Any) -> None:
    """Raises InvalidInput unless entropies and features have one row for each input."""
    rows = {"inputs": x.size(0), "predictions": len(seen[0]), "features": len(seen[1]), "last features": len(seen[2])}
    if len(set(rows.values())) > 1:
        raise InvalidInput(
            "every input needs one prediction and one vector of features",
            where=WHERE,
            got=", ".join(f"{count} {name}" for name, count in rows.items()),
            cause="a network that makes several examples of an input, such as the tokens of a sequence",
            fix="use the entropy of `predict` alone",
        )


def _require_enough(examples: int, features: int) -> None:
    if examples <= features:
        raise InvalidInput(
            "more training examples than features are needed",
            where=WHERE,
            got=f"{examples} examples, {features} features",
            cause="a part of the training data, or a network that is wide for them",
            fix="pass all training examples, or use the entropy of `predict` alone",
        )
