"""How far posterior predictives are from long NUTS runs with the same prior and noise, on networks small enough for both."""

from benchmarks.posterior.compare import POSTERIORS, run
from benchmarks.posterior.reference import run as run_reference

__all__ = ["POSTERIORS", "run", "run_reference"]
