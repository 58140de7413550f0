"""Robustness: a grid of networks, data and settings that nobody tuned, beside a linear model and AdamW as it comes."""

from benchmarks.robust.run import METHODS, run

__all__ = ["METHODS", "run"]
