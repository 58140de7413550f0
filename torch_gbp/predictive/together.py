"""Passes of many networks or examples together, by torch's transforms where these can follow a network, else one by one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

from torch_gbp.predictive.known import slow_rules

_LOG = logging.getLogger(__name__)
P = ParamSpec("P")
Found = TypeVar("Found")


class Together(Generic[P, Found]):
    """A function through `torch.func`, and from the first call that this cannot follow on, the same one by one.

    Torch's transforms raise a RuntimeError where they cannot follow (numbers taken out of tensors, branches on values, custom
    functions, no memory). Any other error is the network's own and is raised at once; if one by one fails as well, the error of
    the transforms is the cause of its error.

    Args:
        together, apart: the function, by the transforms and without.
        vectorise: whether to try the first at all.

    >>> import torch
    >>> run = Together(torch.func.vmap(lambda row: row * float(row.sum())), lambda rows: rows * rows.sum(1, keepdim=True), True)
    >>> run(torch.ones(1, 2)), run.vectorise
    (tensor([[2., 2.]]), False)
    """

    def __init__(self, together: Callable[P, Found], apart: Callable[P, Found], vectorise: bool) -> None:
        self.together, self.apart, self.vectorise = together, apart, vectorise
        self._refused: RuntimeError | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Found:
        if self.vectorise:
            try:
                with slow_rules():
                    return self.together(*args, **kwargs)
            except RuntimeError as error:
                _LOG.debug("one by one, as torch.func cannot follow the network: %s", error)
                self._refused = error.with_traceback(None)  # its frames would keep what did not fit into memory
                self.vectorise = False
        return self._one_by_one(*args, **kwargs)

    def _one_by_one(self, *args: P.args, **kwargs: P.kwargs) -> Found:
        try:
            return self.apart(*args, **kwargs)
        except Exception as error:
            error.__cause__ = error.__cause__ or self._refused
            raise
