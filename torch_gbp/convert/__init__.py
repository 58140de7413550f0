"""From torch networks to networks with marginals, and back."""

from torch_gbp.convert.back import sample, to_torch
from torch_gbp.convert.choice import is_weight
from torch_gbp.convert.conversion import from_torch
from torch_gbp.convert.modes import adapters, last_layer
from torch_gbp.convert.statistics import renew_statistics
from torch_gbp.convert.summary import Summary, summary
from torch_gbp.convert.twins import TWINS

__all__ = [
    "TWINS",
    "Summary",
    "adapters",
    "from_torch",
    "is_weight",
    "last_layer",
    "renew_statistics",
    "sample",
    "summary",
    "to_torch",
]
