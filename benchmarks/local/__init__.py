"""Block-local learning beside backpropagation, feedback alignment, similarity matching and heads alone."""

from benchmarks.local.ablation import run as run_ablation
from benchmarks.local.comparison import run
from benchmarks.local.methods import METHODS

__all__ = ["METHODS", "run", "run_ablation"]
