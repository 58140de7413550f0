"""The packages that lightning_modules needs beside torch_gbp, named together where one is missing."""

import sys
from pathlib import Path

from torch_gbp.errors.extras import require_extra

NEEDED = {  # module: distribution
    "lightning": "lightning",
    "torchvision": "torchvision",
    "torchmetrics": "torchmetrics",
    "sklearn": "scikit-learn",
    "jsonargparse": "jsonargparse",
}


PROGRAMS = ("torch-gbp", "-m")  # this package as a command: the console script, and `python -m lightning_modules`


def require_packages() -> None:
    """Raises ModuleNotFoundError, which names what is missing and how to install it, unless every package is there.

    A command ends with that text alone (SystemExit).
    """
    try:
        require_extra("lightning", NEEDED, "lightning_modules")
    except ModuleNotFoundError as error:
        if Path(sys.argv[0]).stem in PROGRAMS:
            raise SystemExit(str(error)) from error
        raise
