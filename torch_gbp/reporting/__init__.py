"""Reports: what one or several models know, and how well they know it, as one HTML file that needs nothing else."""

from torch_gbp.errors.extras import require_extra

require_extra("report", {"numpy": "numpy", "matplotlib": "matplotlib"}, "torch_gbp.reporting")

from torch_gbp.reporting.report import report

__all__ = ["report"]
