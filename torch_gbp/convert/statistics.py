"""Running statistics of normalisation layers: renewed at the means that a run ended with, and held where they are frozen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from torch_gbp.batches import inputs_of
from torch_gbp.errors.checks import require_count, require_kind
from torch_gbp.modules import device_of, modes_kept, spare
from torch_gbp.weights.attached import ParameterMarginal, marginals
from torch_gbp.weights.mean_input import MeanInputs, running

BATCHES = 100


@torch.no_grad()
def renew_statistics(model: nn.Module, loader: Iterable[Any], batches: int | None = BATCHES) -> int:
    """Running statistics of BatchNorm and InstanceNorm anew: plain averages over training batches, at the network's weights.

    A run ends with the means at the average of its last steps; the statistics were those of the steps' own weights. Modes of all
    modules are as before afterwards. Frozen layers keep theirs: all parameters of their own are, or `last_layer` or `adapters`
    has frozen the network. (What `torch.optim.swa_utils.update_bn` does, but for modes, frozen layers and the number of batches.)

    Statistics are of weights. Networks drawn from the marginals have others, and `predict` knows by the mean inputs of linear and
    convolution layers, which are averaged here too, what running means they have (`torch_gbp.weights.mean_input`).

    Args:
        loader: batches of inputs, or lists and tuples of which the first is the inputs; not read without such layers.
        batches: how many to read; None for all.

    Returns:
        Number of layers whose statistics are new.

    Raises:
        InvalidInput: a loader without batches, or one that gives something else; the statistics are then as before.

    >>> network = nn.BatchNorm1d(1)
    >>> renew_statistics(network, [torch.tensor([[1.0], [3.0]])]), network.running_mean
    (1, tensor([2.]))
    """
    require_kind("model", model, nn.Module, "renew_statistics", fix="pass a network")
    if batches is not None:
        batches = require_count("batches", batches, "renew_statistics", fix=f"use {BATCHES}, or None for all")
    every = [module for module in model.modules() if running(module)]
    renewed = [module for module in every if not frozen(module)]
    if not renewed:
        return 0
    inputs_of_layers = MeanInputs()
    with modes_kept(model), _statistics_kept(renewed):
        model.train()
        for module in every:
            module.training = module in renewed
        for module in renewed:
            module.reset_running_stats()
        for read, inputs in enumerate(islice(inputs_of(loader, device_of(model), "renew_statistics"), batches)):
            for module in renewed:
                module.momentum = 1 / (read + 1)  # a plain average; InstanceNorm takes None for 0
            with inputs_of_layers.batch(model, renewed):
                model(spare(inputs))
    _tell(model, inputs_of_layers.averages())
    return len(renewed)


def averages(model: nn.Module) -> Iterator[Tensor]:
    """What `renew_statistics` makes anew: averages over examples, of which several processes have a part each."""
    for module in model.modules():
        if running(module):
            yield from (own for own in (module.running_mean, module.running_var) if own is not None)
        elif isinstance(module, ParameterMarginal) and module.mean_input is not None:
            yield module.mean_input


def _tell(model: nn.Module, found: dict[nn.Module, Tensor]) -> None:
    """Gives the marginals of layers before a normalisation their mean inputs, and takes those of all others."""
    for own in marginals(model).values():
        if isinstance(own, ParameterMarginal):
            average = found.get(own._module)
            own.mean_input = None if average is None else average if own.name == "weight" else average.new_ones(1)


@contextmanager
def _statistics_kept(layers: list[_NormBase]) -> Iterator[None]:
    """Afterwards the layers have their momentum again; after an error their statistics too."""
    before = [(layer, layer.momentum, _copies(layer)) for layer in layers]
    try:
        yield
    except BaseException:
        for layer, _, copies in before:
            for name, value in copies.items():
                layer.get_buffer(name).copy_(value)
        raise
    finally:
        for layer, momentum, _ in before:
            layer.momentum = momentum


def frozen(module: nn.Module) -> bool:
    """Whether all of a module's own parameters are frozen, and its statistics with them; without any, whether these are held."""
    own = [parameter for parameter in module._parameters.values() if parameter is not None]
    return not any(parameter.requires_grad for parameter in own) if own else _held(module)


def hold_statistics(network: nn.Module) -> None:
    """Keeps the running statistics of normalisation layers, in training mode too, while the layers are `frozen`."""
    for module in network.modules():
        if isinstance(module, _NormBase) and not _held(module):
            module.register_forward_pre_hook(_stay)


def release_statistics(module: nn.Module) -> None:
    """Takes back `hold_statistics` from one layer."""
    for key in [key for key, hook in module._forward_pre_hooks.items() if hook is _stay]:
        del module._forward_pre_hooks[key]


def _stay(module: nn.Module, _: Any) -> None:
    """A frozen normalisation layer is in evaluation mode, whatever the network is in."""
    if frozen(module):
        module.eval()


def _held(module: nn.Module) -> bool:
    return _stay in module._forward_pre_hooks.values()


def _copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module._buffers.items() if buffer is not None}
