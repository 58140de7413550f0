"""What message passing asks of a Lightning run: marginals to train, whole messages, and the number of examples in a pass."""

from __future__ import annotations

import lightning
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from torch_gbp import FixedBatches, marginals
from torch_gbp.batches import count_examples
from torch_gbp.errors import InvalidInput
from torch_gbp.optim.stores import Store


def count_seen(trainer: lightning.Trainer) -> int:
    """Number of examples in a training pass, over all processes: those of the loader, less what `limit_train_batches` cuts.

    Raises:
        InvalidInput: a loader over a stream, whose size nobody knows.
    """
    loader = trainer.train_dataloader
    if isinstance(getattr(loader, "dataset", None), IterableDataset):
        raise InvalidInput("a stream of examples cannot be counted", where="GBPModule", fix="pass num_data=<number of examples>")
    total = count_examples(loader)
    if not isinstance(loader, DataLoader) or trainer.num_training_batches >= len(loader):
        return total
    data, cut = loader.dataset, int(trainer.num_training_batches)
    batch_size = len(data.members[0]) if isinstance(data, FixedBatches) else loader.batch_size
    # Without a batch size (a batch sampler, or items that are batches) the batches are taken to be equal.
    return round(total * cut / len(loader)) if batch_size is None else min(total, cut * batch_size * trainer.world_size)


def require_marginals(model: nn.Module, where: str) -> None:
    """Raises InvalidInput for a torch network as it is."""
    if isinstance(model, nn.Module) and not marginals(model):
        raise InvalidInput(
            "the network has no marginals to train",
            where=where,
            got=f"{type(model).__name__} of {sum(1 for _ in model.parameters())} plain parameters",
            cause="a torch network as it is",
            fix="convert it by torch_gbp.from_torch(network), or train it by AdamWClassifier",
        )


def require_whole_messages(trainer: lightning.Trainer, store: Store | None) -> None:
    """A message is a pair (g, G) of one batch: it may be scaled, not clipped, and a stored one not taken in parts."""
    if trainer.gradient_clip_val:
        raise InvalidInput(
            "clipping would change score and precision of a message by different factors",
            where="GBPModule",
            got=f"gradient_clip_val={trainer.gradient_clip_val}",
            fix="leave gradient_clip_val out; lower lr if the beliefs overshoot",
        )
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        raise InvalidInput(
            "a loss that is scaled up for half precision makes messages of another size",
            where="GBPModule",
            got=f'precision="{trainer.precision}"',
            fix='use precision="bf16-mixed"',
        )
    parts = trainer.accumulate_grad_batches * trainer.world_size
    if store is not None and store.fixed_batches and parts > 1:
        raise InvalidInput(
            "BatchSites keeps one site per batch, so every step must see exactly one batch",
            where="GBPModule",
            got=f"accumulate_grad_batches x processes = {parts}",
            fix="use larger fixed batches in one process, or AveragedSites",
        )
