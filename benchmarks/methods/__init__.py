"""The methods compared: one file for each family, one row for each method."""

from collections.abc import Mapping
from typing import Any

from benchmarks.methods import bayes, gbp, gradient
from benchmarks.methods.base import Entrant, MissingPackage, rival

METHODS: dict[str, Entrant] = {  # a new method adds its class and its row
    "gbp": gbp.SOFTMAX,
    "gbp_basis": gbp.BASIS,
    "gbp_onehot": gbp.ONE_HOT,
    "gbp_argmax": gbp.ARGMAX,
    "adamw": gradient.ADAMW,
    "adamw_tail": gradient.ADAMW_TAIL,
    "sgd": gradient.SGD_PLAIN,
    "sgd_momentum": gradient.SGD_MOMENTUM,
    "ivon": bayes.BY_IVON,
    "vi": bayes.MEAN_FIELD,
    "laplace": bayes.LAST_LAYER,
    "ensemble": bayes.ENSEMBLE,
}


def installed(names: list[str], methods: Mapping[str, Any] = METHODS) -> list[str]:
    """Those whose packages import; a line is printed for each of the others."""
    return [name for name in names if _imports(name, methods[name].package)]


def _imports(name: str, package: str | None) -> bool:
    try:
        return package is None or bool(rival(package))
    except MissingPackage as error:
        print(f"{name} is left out: {error}", flush=True)
        return False
