"""The next task of continual learning: a trained network whose posterior is its prior."""

from __future__ import annotations

from typing import Literal

from torch import nn

from lightning_modules.checkpoints.reading import load_module, read_checkpoint
from lightning_modules.gbp_module import GBPModule
from torch_gbp import configure_optimizers
from torch_gbp.continual import advance
from torch_gbp.errors import InvalidInput


def advanced(path: str, drift: float = 0.0, strength: float = 1.0, plain: Literal["freeze", "learn"] | None = None) -> nn.Module:
    """The network of a checkpoint, its posterior made the prior of the next task by `torch_gbp.continual.advance`.

    The optimizer's state in the checkpoint tells how much of the data was heard, so the checkpoint of a whole pass is right.
    On the command line: `torch-gbp fit --config continual --model.model.path CKPT`.

    Args:
        path: checkpoint of a `GBPClassifier` or `GBPRegressor`, with its optimizer.
        drift, strength, plain: as in `advance`.

    Raises:
        InvalidInput: as `load_module` and `advance`; a module that was not trained by message passing, or without its optimizer.
    """
    module, states = load_module(path), read_checkpoint(path).get("optimizer_states")
    if not isinstance(module, GBPModule) or not states:
        raise InvalidInput(
            "a posterior is needed",
            where=path,
            got=f"a {type(module).__name__}{'' if states else ' without its optimizer'}",
            cause="a network without marginals, one that `convert` has made, or a checkpoint of the weights alone",
            fix="give a checkpoint of `torch-gbp fit`, or go on with lightning_modules.network_of",
        )
    network = module.model.train()
    optimizer = configure_optimizers(network, states[0]["param_groups"][0]["num_data"], store=module.store, plain=module.plain)
    optimizer.load_state_dict(states[0])
    return advance(network, optimizer, drift=drift, strength=strength, plain=plain)
