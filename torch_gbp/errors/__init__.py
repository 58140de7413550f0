"""Named errors, the checks of arguments that raise them, and the errors of arguments that have another spelling now."""

from torch_gbp.errors.named import (
    DependentTerms,
    Diverged,
    FarFromStandard,
    ForeignUpdate,
    GBPError,
    ImproperMarginal,
    InvalidInput,
    MissingRule,
    NotLearning,
    OutOfMemory,
    Repartitioned,
    explain,
    missing_rule,
    require_positive,
)

__all__ = [
    "DependentTerms",
    "Diverged",
    "FarFromStandard",
    "ForeignUpdate",
    "GBPError",
    "ImproperMarginal",
    "InvalidInput",
    "MissingRule",
    "NotLearning",
    "OutOfMemory",
    "Repartitioned",
    "explain",
    "missing_rule",
    "require_positive",
]
