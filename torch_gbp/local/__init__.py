"""Block-local learning: a network in blocks, each trained on a loss of its own, with labels fed back by linear layers.

Source: A variational framework for local learning with probabilistic latent representations (Fokam, Nazeer, Mayr,
Subramoney & Kappel), called "block-local learning" in the docstrings.
"""

from torch_gbp.local.block_local import BlockLocal, BlockStep
from torch_gbp.local.feedback import Feedback, GradientFeedback, RidgeFeedback
from torch_gbp.local.heads import conv_head, fine_head, linear_head
from torch_gbp.local.kept import KeptBytes
from torch_gbp.local.losses import FeedbackLoss, LocalLoss, PredictionLoss, SimilarityLoss
from torch_gbp.local.pipeline import Stage, StageReport, share
from torch_gbp.local.recipes import heads_only, similarity_matching, variational
from torch_gbp.local.split import split_at, split_equally

__all__ = [
    "BlockLocal",
    "BlockStep",
    "Feedback",
    "FeedbackLoss",
    "GradientFeedback",
    "KeptBytes",
    "LocalLoss",
    "PredictionLoss",
    "RidgeFeedback",
    "SimilarityLoss",
    "Stage",
    "StageReport",
    "conv_head",
    "fine_head",
    "heads_only",
    "linear_head",
    "share",
    "similarity_matching",
    "split_at",
    "split_equally",
    "variational",
]
