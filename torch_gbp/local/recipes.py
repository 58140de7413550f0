"""Local losses put together: block-local learning, similarity matching with prediction, and heads alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from torch_gbp.errors.checks import PART, require, require_callable
from torch_gbp.local.feedback import Feedback, RidgeFeedback
from torch_gbp.local.heads import conv_head, fine_head
from torch_gbp.local.losses import FeedbackLoss, LocalLoss, PredictionLoss, SimilarityLoss, require_shape

Head = Callable[[Sequence[int], int], nn.Module]  # from the boundary's shape and the classes to a prediction head


def variational(
    shape: Sequence[int],
    classes: int,
    *,
    head: Head | None = conv_head,
    feedback: Callable[[int, int], Feedback] = RidgeFeedback,
    weight: float = 0.03,
    alpha_variance: float = 1.0,
    beta_variance: float = 1.0,
) -> LocalLoss:
    """Block-local learning: the feedback's divergence, and the prediction of a local head (None for none).

    Args:
        shape: of the boundary without the batch.
        classes: number of classes.
        head: makes the prediction head.
        feedback: makes the feedback network, from classes and channels.
        weight: of the divergence.
        alpha_variance, beta_variance: of the messages.
    """
    shape = require_shape(shape, "variational")
    require_callable("head", head or conv_head, "variational", fix="use conv_head, or None")
    require_callable("feedback", feedback, "variational", fix="use RidgeFeedback")
    divergence = FeedbackLoss(feedback(classes, shape[0]), alpha_variance, beta_variance)
    prediction = {} if not head else {"prediction": PredictionLoss(head(shape, classes))}
    return LocalLoss({"feedback": divergence, **prediction}, {"feedback": weight})


def heads_only(shape: Sequence[int], classes: int, *, head: Head = conv_head) -> LocalLoss:
    """The prediction of a local head, without feedback."""
    shape = require_shape(shape, "heads_only")
    require_callable("head", head, "heads_only", fix="use conv_head")
    return LocalLoss({"prediction": PredictionLoss(head(shape, classes))})


def similarity_matching(shape: Sequence[int], classes: int, *, head: Head = fine_head, weight: float = 0.99) -> LocalLoss:
    """Similarity matching with weight 0.99 and prediction with 0.01: the published mixture and head (Nokland & Eidnes 2019)."""
    shape = require_shape(shape, "similarity_matching")
    require_callable("head", head, "similarity_matching", fix="use fine_head")
    weight = require("weight", weight, PART, "similarity_matching", fix="use 0.99")
    terms = {"similarity": SimilarityLoss(shape), "prediction": PredictionLoss(head(shape, classes))}
    return LocalLoss(terms, {"similarity": weight, "prediction": 1 - weight})
