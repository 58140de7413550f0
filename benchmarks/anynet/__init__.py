"""Any torch network by message passing, beside AdamW, SGD and IVON with searched settings."""

from benchmarks.anynet.entrants import METHODS
from benchmarks.anynet.trials import run, run_search

__all__ = ["METHODS", "run", "run_search"]
