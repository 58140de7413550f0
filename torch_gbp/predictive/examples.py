"""Batches of a loader, checked, and a network's outputs on them in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution
from torch.utils.data import Dataset

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_kind, require_moments, require_values, shown
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods import Likelihood
from torch_gbp.optim.fixed_batches import FixedBatches


def pairs(loader: Any, device: torch.device | None, where: str) -> Iterator[list[Any]]:
    """Batches [input, target, ...] of a loader on the network's device; None leaves them where they are.

    Raises:
        InvalidInput: no loader; batches that are no pairs of inputs and targets, or no batch at all.
    """
    batch = None
    for batch in _batches(loader, where):
        if not isinstance(batch, (list, tuple)) or isinstance(batch, Gaussian) or len(batch) < 2:
            raise _no_pair(batch, where, "a loader of inputs without targets, or of dictionaries")
        if not isinstance(batch[1], Tensor) or not batch[1].ndim:
            raise _no_pair(batch, where, "targets that are no tensor with a row for each example")
        _require_input(batch[0], batch, where)
        require_values(batch[1], where)
        movable = (Tensor, Gaussian) if device is not None else ()
        yield [part.to(device) if isinstance(part, movable) else part for part in batch]
    require_batch(batch, where)


def inputs_of(loader: Any, device: torch.device, where: str) -> Iterator[Any]:
    """Inputs alone on the network's device: of one tensor or belief, or of every batch of a loader, with targets or without.

    Raises:
        InvalidInput: no loader; batches that are neither tensors nor begin with one, or no batch at all.
    """
    batch = None
    for batch in [loader] if isinstance(loader, (Tensor, Gaussian)) else _batches(loader, where):
        x = batch[0] if isinstance(batch, (list, tuple)) and len(batch) and not isinstance(batch, Gaussian) else batch
        yield _require_input(x, batch, where).to(device)
    require_batch(batch, where)


def count_examples(loader: Any) -> int:
    """Number of training examples that a pass of a loader gives, over all processes; a list of batches is counted batch by batch.

    A sampler says how many it draws (`SubsetRandomSampler`, `WeightedRandomSampler`), one for several processes (`num_replicas`)
    of how many it draws a share.

    Raises:
        InvalidInput: no examples, or a data set that does not know how many it has.
    """
    data = getattr(loader, "dataset", None)
    if isinstance(data, FixedBatches):
        return data.num_data
    if data is None:
        return sum(len(y) for _, y, *_ in pairs(loader, None, "the training loader"))
    if not isinstance(data, Sized) or not len(data):
        raise InvalidInput(
            "the number of training examples is needed, and at least one",
            where="the training loader",
            got=f"{type(data).__name__}{' of length 0' if isinstance(data, Sized) else ' without length'}",
            cause="an empty data set, or a stream",
            fix="pass a map-style data set, or write the loop with MessagePassing(..., num_data=...)",
        )
    sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    return len(sampler) if isinstance(sampler, Sized) and not hasattr(sampler, "num_replicas") else len(data)


def output_of(model: nn.Module, x: Any, where: str) -> Gaussian:
    """The network's belief of its outputs.

    Raises:
        InvalidInput: an output that is no Gaussian.
    """
    output = model(x)
    if not isinstance(output, Gaussian):
        raise InvalidInput(
            "the output of the network must be a Gaussian",
            where=where,
            got=type(output).__name__,
            cause="a network without GBP layers, or one converted for means sweeps",
            fix="build it of GBP layers, or convert it by from_torch(network, moments=True)",
        )
    return output


def log_probability(predictive: Distribution, target: Tensor) -> Tensor:
    """log p(y) of every example, (n,): summed over its targets, averaged over its classes where they have probabilities."""
    if isinstance(predictive, Categorical) and target.is_floating_point():
        return (target * predictive.logits).sum(-1)
    log = predictive.log_prob(target)
    return log.flatten(1).sum(1) if log.ndim > 1 else log


def require_network(model: Any, likelihood: Any, where: str) -> None:
    """Raises InvalidInput unless these are a module and a likelihood."""
    require_kind("model", model, nn.Module, where, fix="pass a network of GBP layers")
    require_kind("likelihood", likelihood, Likelihood, where, fix="pass an instance, such as torch_gbp.Softmax()")


def require_batch(batch: Any, where: str) -> None:
    """Raises InvalidInput if a loader gave no batch."""
    if batch is None:
        raise InvalidInput(
            "no examples: the loader gave no batch",
            where=where,
            cause="an empty or spent loader, or drop_last with fewer examples than a batch",
            fix="pass a loader with at least one batch",
        )


def _require_input(x: Any, batch: Any, where: str) -> Any:
    """The inputs; raises InvalidInput unless they are a tensor or a belief with a row for each example."""
    if isinstance(x, Gaussian):
        require_moments(*x, where)
    if not isinstance(x, (Tensor, Gaussian)) or not x.ndim:
        raise _no_pair(batch, where, "inputs that are no tensor with a row for each example, such as dictionaries")
    require_values(x.mean if isinstance(x, Gaussian) else x, where)
    return x


def _batches(loader: Any, where: str) -> Iterable[Any]:
    if _gives_single_examples(loader):
        raise _no_loader(type(loader).__name__, where, "a data set, which gives single examples")
    if isinstance(loader, tuple) and all(isinstance(part, Tensor) for part in loader):
        raise _no_loader(f"a tuple of {len(loader)} tensors", where, "inputs and targets as they are")
    single = isinstance(loader, (str, bytes, Mapping, Tensor, Gaussian))
    if single or not (isinstance(loader, Iterable) or hasattr(loader, "__getitem__")):
        raise InvalidInput(
            "a loader of batches is needed", where=where, got=shown(loader), fix="pass a DataLoader, or a list of (input, target)"
        )
    return loader


def _gives_single_examples(loader: Any) -> bool:
    return isinstance(loader, Dataset) and isinstance(loader, Sized) and not isinstance(loader, FixedBatches)


def _no_loader(got: str, where: str, cause: str) -> InvalidInput:
    fix = "wrap it: DataLoader(data, 16, shuffle=True), data = TensorDataset(x, y) of two tensors"
    return InvalidInput("a loader of batches is needed", where=where, got=got, cause=cause, fix=fix)


def _no_pair(batch: Any, where: str, cause: str) -> InvalidInput:
    got = f"dict with {sorted(map(str, batch))}" if isinstance(batch, Mapping) else f"{type(batch).__name__} {_kinds(batch)}"
    return InvalidInput(
        "a batch must be (input, target)", where=where, got=got, cause=cause, fix="give it a collate_fn that returns pairs"
    )


def _kinds(batch: Any) -> str:
    return f"of {[type(part).__name__ for part in batch]}" if isinstance(batch, (list, tuple)) else ""
