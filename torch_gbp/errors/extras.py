"""The packages of an extra, named together where one is missing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from torch_gbp.errors import explain


def require_extra(extra: str, packages: Mapping[str, str], where: str) -> None:
    """Raises ModuleNotFoundError, which names what is missing and how to install it, unless every package is there.

    Args:
        extra: its name in `pip install 'torch-gbp[extra]'`.
        packages: names of distributions by the modules that are imported.
        where: who needs them.

    >>> require_extra("evaluate", {"torch": "torch"}, "torch_gbp.evaluation")
    """
    missing = [name for module, name in packages.items() if find_spec(module) is None]
    if missing:
        raise ModuleNotFoundError(
            explain(
                f"packages of the extra `{extra}` are not installed",
                where=where,
                got=f"no {', '.join(missing)}",
                cause="torch_gbp alone needs torch and tqdm only",
                fix=f"pip install 'torch-gbp[{extra}]'",
            )
        )
