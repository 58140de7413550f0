"""configure_optimizers: one optimizer for a network some of whose parameters have marginals and some not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_kind
from torch_gbp.optim.message_passing import MessagePassing
from torch_gbp.optim.plain_parameters import RATE
from torch_gbp.optim.settings import GAINS, START
from torch_gbp.weights.attached import marginals, plain_parameters

Plain = Callable[[list[nn.Parameter]], Optimizer]


def configure_optimizers(model: nn.Module, num_data: int, *, plain: Plain | None = None, **settings: Any) -> MessagePassing:
    """The optimizer of a network: message passing for its marginals, a torch optimizer beside it for its plain parameters.

    Both step together, under one schedule; `zero_grad`, `state_dict` and `load_state_dict` are of both. Parameters that want no
    gradient stay as they are. The last step puts the means at the average of the steps before: a loop of your own on a
    network with BatchNorm then calls `torch_gbp.renew_statistics(model, loader)`, as `Trainer` does.

    Args:
        model: network with marginals (`gbp.from_torch`, or GBP layers), on its device.
        num_data: number of training examples.
        plain: makes the optimizer of the plain parameters from a list of them; None is AdamW of rate 3e-3 without weight decay
            (but of gains and shifts of BatchNorm, see `plain_parameters`), of a higher rate in short runs of networks that
            start anew (`schedule.longer`), of a lower one in those of networks converted `as_prior` (`schedule.shorter`).
            Its rates are the peak of a warm-up and a cosine to 0, over the passes of `epochs`.
        settings: of `MessagePassing`: epochs, lr, store, ...

    Raises:
        InvalidInput: a network without marginals that want messages; settings as in `MessagePassing`.

    >>> import torch_gbp as gbp
    >>> model = gbp.from_torch(nn.Sequential(nn.Linear(2, 8), nn.LayerNorm(8), nn.Linear(8, 2)), fresh=True)
    >>> optimizer = configure_optimizers(model, num_data=4)
    >>> gbp.Softmax()(model(torch.randn(4, 2)), torch.tensor([0, 1, 0, 1])).backward()
    >>> _ = optimizer.step()
    """
    require_kind("model", model, nn.Module, "configure_optimizers", fix="pass a network")
    named = [
        (f"{name}.{half}" if own.moments else name, parameter)
        for name, own in marginals(model).items()
        for half, parameter in own.halves.items()
    ]
    if not named:
        raise InvalidInput(
            "the network has no marginals",
            where="configure_optimizers",
            got=f"{sum(1 for _ in model.parameters())} plain parameters",
            cause="a torch network as it is",
            fix="model = torch_gbp.from_torch(model)",
        )
    others = [parameter for _, parameter in plain_parameters(model)]  # frozen ones too, which may thaw
    start = max(own.start for own in marginals(model).values())
    gains = {id(own) for module in model.modules() if isinstance(module, _NormBase) for own in module.parameters(recurse=False)}
    make = partial(_adamw, start=start, gains=gains) if plain is None else plain
    return MessagePassing(named, num_data, plain=make(others) if others else None, **settings)


def _adamw(parameters: list[nn.Parameter], start: int, gains: set[int]) -> Optimizer:
    places = [i for i, parameter in enumerate(parameters) if id(parameter) in gains]
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)  # one call for all of them
    return torch.optim.AdamW([{"params": parameters, START: int(start), GAINS: places}], RATE, weight_decay=0.0, fused=fused)
