"""Preparation of data, by its other path: it stands before data and checkpoints, which both carry it."""

from lightning_modules.preparation import Preparation

__all__ = ["Preparation"]
