"""Modules of torch as they are found: their modes, where they are, and the inputs that they may write to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Training and evaluation modes free to change inside; afterwards every module is in its own again, after an error too.

    >>> model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    >>> with modes_kept(model):
    ...     _ = model.train()
    >>> [module.training for module in model]
    [True, False]
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            if type(module).train is not nn.Module.train and module.training != mode:
                module.train(mode)  # of a class that does more, such as merging adapters
        for module, mode in modes:
            module.training = mode


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module is in the mode that it was in, after an error too.

    >>> model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    >>> with evaluating(model):
    ...     inside = [module.training for module in model]
    >>> inside, [module.training for module in model]
    ([False, False], [True, False])
    """
    with modes_kept(model):
        model.eval()
        yield


def device_of(model: nn.Module) -> torch.device:
    """Where a network is: its first parameter or buffer, else the CPU.

    >>> device_of(nn.Linear(2, 1)), device_of(nn.ReLU())
    (device(type='cpu'), device(type='cpu'))
    """
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


def uncompiled(model: nn.Module) -> nn.Module:
    """The network inside what `torch.compile` makes of it; any other is itself.

    >>> network = nn.Linear(2, 1)
    >>> uncompiled(network) is network
    True
    """
    return getattr(model, "_orig_mod", model)


def spare(x: Any) -> Any:
    """The inputs for a network that may write to them: a copy of a tensor, a belief as it is.

    >>> x = torch.tensor([-1.0])
    >>> nn.ReLU(inplace=True)(spare(x)), x
    (tensor([0.]), tensor([-1.]))
    """
    return x.clone() if isinstance(x, Tensor) else x
