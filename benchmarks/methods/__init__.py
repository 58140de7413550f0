"""The methods compared: one file for each family, one row for each method."""

from collections.abc import Mapping
from typing import Any

from benchmarks.methods import bayes, gbp, gradient, last_layer, sampled
from benchmarks.methods.base import Entrant, MissingPackage, grid, rival

METHODS: dict[str, Entrant] = {  # a new method adds its class and its row
    "gbp": gbp.SOFTMAX,
    "gbp_means": gbp.MEANS,
    "gbp_dropout": gbp.DROPOUT,
    "gbp_basis": gbp.BASIS,
    "gbp_onehot": gbp.ONE_HOT,
    "gbp_argmax": gbp.ARGMAX,
    "adamw": gradient.ADAMW,
    "adamw_tail": gradient.ADAMW_TAIL,
    "sgd": gradient.SGD_PLAIN,
    "sgd_momentum": gradient.SGD_MOMENTUM,
    "ivon": bayes.BY_IVON,
    "vi": bayes.MEAN_FIELD,
    "dropout": sampled.MC_DROPOUT,
    "dropout_tail": sampled.DROPOUT_TAIL,
    "swag": sampled.BY_SWAG,
    "vbll": last_layer.VARIATIONAL_LAST,
    "laplace": last_layer.LAST_LAYER,
    "laplace_held_out": last_layer.LAST_LAYER_HELD_OUT,
    "ensemble": bayes.ENSEMBLE,
}
OURS = ("gbp", "gbp_means")  # by either sweep, as they come
UNTEMPERED = (*OURS, "gbp_dropout")  # nobody fits a temperature for them, and their tempered scores are those at 1
_FEW_ADAMW = grid(lr=(5e-4, 1e-3, 2e-3, 4e-3), weight_decay=(0.1, 1.0))
_FEW_SGD = grid(lr=(0.01, 0.02, 0.05, 0.1), weight_decay=(1e-3, 1e-2))
_FEW_DROPOUT = grid(lr=(1e-3, 2e-3), weight_decay=(0.1, 1.0), rate=(0.1, 0.3))
OF_FEW: dict[str, Entrant] = METHODS | {  # few examples want more weight decay; the number of settings is the same
    "adamw": METHODS["adamw"]._replace(grid=_FEW_ADAMW),
    "adamw_tail": METHODS["adamw_tail"]._replace(grid=[{**own, **gradient.TAIL} for own in _FEW_ADAMW]),
    "sgd_momentum": METHODS["sgd_momentum"]._replace(grid=[{**own, **gradient.TAIL} for own in _FEW_SGD]),
    "swag": METHODS["swag"]._replace(grid=_FEW_SGD),
    "dropout": METHODS["dropout"]._replace(grid=_FEW_DROPOUT),
    "dropout_tail": METHODS["dropout_tail"]._replace(grid=[{**own, **gradient.TAIL} for own in _FEW_DROPOUT]),
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
