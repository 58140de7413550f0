"""Local losses: what a block is trained on at its boundary, term by term.

A term is a module `term(activations, labels) -> scalar`, the mean over the batch; labels are rows of class
probabilities (n, classes), one-hot for plain labels. `LocalLoss` adds terms up.

Why prediction + divergence bounds the loss of the whole network, with one boundary z, alpha(z) = p(z | x) and any rho:

    -log p(y | x) <= -E_alpha[log p(y | z)] <= -E_alpha[log p(y | z)] + D_KL(rho || alpha)

(Jensen, then D_KL >= 0), so the mean over the boundaries bounds it too. That is equation (5): its entropy term H(p | alpha),
the expectation under the forward message, is a constant between Gaussians of known variance, and the cross-entropy
of the prediction where the next variable is the label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import FINITE, VARIANCE, require, require_callable, require_count, require_kind, shown
from torch_gbp.local.feedback import Feedback
from torch_gbp.local.messages import channels, divergence, message, posterior


class FeedbackLoss(nn.Module):
    """D_KL(rho || alpha): how far the label moves the belief of the boundary's channels, summed over channels.

    alpha = N(a, alpha_variance) around the normalised channels a, beta = N(b, beta_variance) around the feedback b,
    rho proportional to alpha beta. At equal variances v the gradient in a is (a - b) / (4 v): activations are drawn
    TOWARDS their feedback. (The similarity term of the released code has the other sign and pushes them away; equations
    (2) to (6) leave no doubt.) b takes no gradient from this loss, and learns from a only while training.

    Args:
        feedback: from labels to b.
        alpha_variance, beta_variance: the known variances, positive.
        activity: from activations to channels, `messages.channels`.

    Raises:
        InvalidInput: a variance that is not positive and finite.

    Source: block-local learning, equations (2) and (5).

    >>> import torch
    >>> from torch_gbp.local.feedback import GradientFeedback
    >>> loss = FeedbackLoss(GradientFeedback(2, 3)).eval()  # feedback 0: only the change of variance is left
    >>> round(loss(torch.zeros(1, 3), torch.eye(2)[:1]).item(), 4)
    0.2897
    """

    def __init__(
        self,
        feedback: Feedback,
        alpha_variance: float = 1.0,
        beta_variance: float = 1.0,
        activity: Callable[[Tensor], Tensor] = channels,
    ) -> None:
        super().__init__()
        require_kind("feedback", feedback, Feedback, "FeedbackLoss", fix="use RidgeFeedback(classes, channels)")
        self.alpha_variance = require("alpha_variance", alpha_variance, VARIANCE, "FeedbackLoss", fix="use 1.0")
        self.beta_variance = require("beta_variance", beta_variance, VARIANCE, "FeedbackLoss", fix="use 1.0")
        require_callable("activity", activity, "FeedbackLoss", fix="use the default")
        self.feedback, self.activity = feedback, activity

    def forward(self, activations: Tensor, labels: Tensor) -> Tensor:
        a = self.activity(activations)
        fit = self.feedback.fit(labels, a.detach()) if self.training else 0.0
        alpha = message(a, self.alpha_variance)
        beta = message(self.feedback(labels).detach(), self.beta_variance)
        return divergence(posterior(alpha, beta), alpha).mean() + fit

    def extra_repr(self) -> str:
        return f"alpha_variance={self.alpha_variance:g}, beta_variance={self.beta_variance:g}"


class PredictionLoss(nn.Module):
    """-E_alpha[log p(y | z)] with a local head for p(y | z), taken at the mean of alpha: the head's cross-entropy.

    Args:
        head: from activations to logits (n, classes).

    Source: block-local learning, second term of equation (5), and the prediction loss of Nokland & Eidnes 2019.

    >>> import torch
    >>> PredictionLoss(nn.Identity())(torch.zeros(1, 4), torch.eye(4)[:1]).item() == torch.tensor(4.0).log().item()
    True
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        require_kind("head", head, nn.Module, "PredictionLoss", fix="use linear_head(shape, classes)")
        self.head = head

    def forward(self, activations: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.head(activations), labels)


class SimilarityLoss(nn.Module):
    """Similarity matching: mean squared difference of the cosine similarities of activations and of labels, all pairs.

    Images go through a 3 x 3 convolution of as many channels, trained with the block, and each channel is told by its
    standard deviation over space; rows are centred over channels before the cosine.

    Args:
        shape: of the boundary without the batch.

    Source: Nokland & Eidnes 2019, Training neural networks with local error signals, "sim" loss.

    >>> import torch
    >>> SimilarityLoss((2,))(torch.eye(2), torch.eye(2)).item()
    0.0
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        shape = require_shape(shape, "SimilarityLoss")
        self.reader = nn.Conv2d(shape[0], shape[0], 3, padding=1, bias=False) if len(shape) == 3 else nn.Identity()

    def forward(self, activations: Tensor, labels: Tensor) -> Tensor:
        read = self.reader(activations)
        rows = read.flatten(2).std(2) if read.ndim > 2 and read[0, 0].numel() > 1 else read.flatten(1)
        return F.mse_loss(_cosines(rows), _cosines(labels))


class LocalLoss(nn.Module):
    """Weighted sum of terms; `forward` gives each weighted term by its name, their sum is what the block minimises.

    Args:
        terms: by name.
        weights: by name; 1 where none is given.

    >>> import torch
    >>> loss = LocalLoss({"prediction": PredictionLoss(nn.Identity())}, {"prediction": 0.5})
    >>> {name: round(term.item(), 4) for name, term in loss(torch.zeros(1, 2), torch.eye(2)[:1]).items()}
    {'prediction': 0.3466}
    """

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        _require_terms(terms, weights)
        self.terms = nn.ModuleDict(terms)
        given = ((name, (weights or {}).get(name, 1.0)) for name in terms)
        self.weights = {
            name: require(f"the weight of {name}", weight, FINITE, "LocalLoss", fix="use 1.0") for name, weight in given
        }

    def forward(self, activations: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {name: self.weights[name] * term(activations, labels) for name, term in self.terms.items()}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={weight:g}" for name, weight in self.weights.items())


def require_shape(shape: Any, where: str) -> tuple[int, ...]:
    """The shape of a boundary without the batch: (channels,) or (channels, height, width).

    Raises:
        InvalidInput: no such shape.
    """
    fix = "use tuple(activations.shape[1:])"
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not len(shape):
        raise InvalidInput("shape must be (channels,) or (channels, height, width)", where=where, got=shown(shape), fix=fix)
    return tuple(require_count("shape", side, where, fix=fix) for side in shape)


def _require_terms(terms: Any, weights: Any) -> None:
    """Raises InvalidInput unless terms are modules by name, and weights numbers by the same names."""
    fix = 'pass {"prediction": PredictionLoss(head)} and weights such as {"prediction": 0.5}'
    if not isinstance(terms, Mapping) or not terms or not all(isinstance(term, nn.Module) for term in terms.values()):
        raise InvalidInput("terms must be modules by name, at least one", where="LocalLoss", got=shown(terms), fix=fix)
    if weights is not None and not (isinstance(weights, Mapping) and set(weights) <= set(terms)):
        raise InvalidInput("weights must be given by the names of terms", where="LocalLoss", got=shown(weights), fix=fix)


def _cosines(rows: Tensor) -> Tensor:
    """Cosine similarity of all pairs of rows (n, c), centred over c; (n, n)."""
    unit = F.normalize(rows - rows.mean(1, keepdim=True), dim=1)
    return unit @ unit.T
