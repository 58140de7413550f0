"""Block-local learning beside backpropagation, feedback alignment, similarity matching and heads alone."""

from benchmarks.local.ablation import run as run_ablation
from benchmarks.local.comparison import run
from benchmarks.local.methods import METHODS
from benchmarks.local.pipeline import run as run_pipeline
from benchmarks.local.search import run as run_search

__all__ = ["METHODS", "run", "run_ablation", "run_pipeline", "run_search"]
