"""Continual learning: the posterior of what was seen becomes the prior of what comes; heads grow by classes."""

from torch_gbp.continual.advance import advance
from torch_gbp.continual.heads import widen_head

__all__ = ["advance", "widen_head"]
