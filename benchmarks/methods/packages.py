"""Rivals' packages are imported when the rival runs, so that everybody else runs without them."""

from __future__ import annotations

import importlib
import warnings
from typing import Any


class MissingPackage(ImportError):
    """A rival's package is not there, or does not import."""


def rival(package: str) -> Any:
    """The imported package.

    Raises:
        MissingPackage: not installed, or it does not import here.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their use of deprecated torch functions is their affair
            return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackage(f"{error}; the rivals' packages come with: pip install 'torch-gbp[benchmarks]'") from error
