"""Batches of a loader: with their targets or inputs alone, checked one by one as they come, and counted."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from torch_gbp.errors import InvalidInput, Miscounted, explain
from torch_gbp.errors.checks import require_moments, require_values, shown
from torch_gbp.gaussian import Gaussian

_TARGETS = ("a batch must be (input, target)", "give it a collate_fn that returns pairs")
_INPUTS = (
    "a batch must be inputs, or a list that begins with them",
    "pass a generator of inputs, e.g. (batch['x'] for batch in loader)",
)


def pairs(loader: Any, device: torch.device | None, where: str) -> Iterator[list[Any]]:
    """Batches [input, target, ...] of a loader on the network's device; None leaves them where they are.

    Arrays become tensors, beliefs stay what they are.

    Raises:
        InvalidInput: no loader; batches that are no pairs of inputs and targets, or no batch at all.

    >>> [[x, y]] = pairs([(torch.zeros(2, 3), torch.tensor([0, 1]))], None, "a doctest")
    >>> x.shape, y
    (torch.Size([2, 3]), tensor([0, 1]))
    """
    for batch in targeted(loader, where):
        x, y = map(_as_tensor, batch[:2])
        if not isinstance(y, Tensor) or not y.ndim:
            raise _unfit(batch, where, "targets that are no tensor with a row for each example", *_TARGETS)
        _require_input(x, batch, where, *_TARGETS)
        require_values(y, where)
        yield [_placed(part, device) for part in (x, y, *batch[2:])]


def inputs_of(loader: Any, device: torch.device | None, where: str) -> Iterator[Any]:
    """Inputs alone on the network's device: of one tensor, array or belief, or of every batch, with targets or without.

    Raises:
        InvalidInput: no loader; batches that are neither tensors nor begin with one, or no batch at all.

    >>> [x.shape for x in inputs_of([torch.zeros(2, 3), (torch.zeros(1, 3), "target")], None, "a doctest")]
    [torch.Size([2, 3]), torch.Size([1, 3])]
    """
    for batch in [loader] if is_array(loader) or isinstance(loader, Gaussian) else batches(loader, where):
        x = _as_tensor(first_of(batch))
        _require_input(x, batch, where, *_INPUTS)
        yield _placed(x, device)


def targeted(loader: Any, where: str) -> Iterator[Any]:
    """Batches (input, target, ...) as a loader gives them, whatever the two are.

    Raises:
        InvalidInput: no loader; batches without targets, or no batch at all.
    """
    for batch in batches(loader, where):
        if not isinstance(batch, (list, tuple)) or isinstance(batch, Gaussian) or len(batch) < 2:
            raise _unfit(batch, where, "a loader of inputs without targets, or of dictionaries", *_TARGETS)
        yield batch


def batches(loader: Any, where: str) -> Iterator[Any]:
    """Batches as a loader, a list or a generator gives them, whatever they are.

    Raises:
        InvalidInput: no loader, or no batch at all.

    >>> list(batches((size for size in (3, 2)), "a doctest"))
    [3, 2]
    """
    empty = True
    for batch in _checked(loader, where):
        empty = False
        yield batch
    if empty:
        raise InvalidInput(
            "no examples: the loader gave no batch",
            where=where,
            cause="an empty or spent loader, or drop_last with fewer examples than a batch",
            fix="pass a loader with at least one batch",
        )


def first_of(batch: Any) -> Any:
    """The inputs of a batch with targets or without.

    >>> first_of(["inputs", "targets"]), first_of("inputs")
    ('inputs', 'inputs')
    """
    return batch[0] if isinstance(batch, (list, tuple)) and len(batch) and not isinstance(batch, Gaussian) else batch


def count_examples(loader: Any) -> int:
    """Number of training examples that a pass of a loader gives, over all processes.

    A sampler says how many it draws (`SubsetRandomSampler`, `WeightedRandomSampler`), one for several processes (`num_replicas`)
    of how many it draws a share. Where no sampler makes batches of them (a list, or batch_size=None, whose items are batches
    already) the targets are counted by a walk over the batches. What a network or a collate_fn makes of an item is not seen.

    Raises:
        InvalidInput: no examples, or a data set that does not know how many it has.

    >>> count_examples([(torch.zeros(2, 3), torch.zeros(2)), (torch.zeros(1, 3), torch.zeros(1))])
    3
    """
    data = getattr(loader, "dataset", None)
    if data is None:
        return _walked(loader)
    if _whole_batches(data):
        return data.num_data
    if not isinstance(data, Sized) or not len(data):
        raise InvalidInput(
            "the number of training examples is needed, and at least one",
            where="the training loader",
            got=f"{type(data).__name__}{' of length 0' if isinstance(data, Sized) else ' without length'}",
            cause="an empty data set, or a stream",
            fix="pass a map-style data set, or num_data=<number of examples in a pass>",
        )
    batch_sampler = getattr(loader, "batch_sampler", None)
    if batch_sampler is None:
        return _walked(loader) * getattr(getattr(loader, "sampler", None), "num_replicas", 1)
    sampler = getattr(batch_sampler, "sampler", None)
    return len(sampler) if isinstance(sampler, Sized) and not hasattr(sampler, "num_replicas") else len(data)


class PassWatch:
    """Warns `Miscounted`, once, where a pass gives more examples than `num_data`, by more than a batch.

    Args:
        where: whose passes they are, for the warning.
    """

    def __init__(self, where: str) -> None:
        self._where, self._begun, self._told = where, 0, False

    def begin(self, group: Mapping[str, Any]) -> None:
        """A pass begins; `group` is one of the optimizer's."""
        self._begun = group["examples_seen"]

    def look(self, group: Mapping[str, Any], batch: int) -> None:
        """After a step, whose batch had so many examples."""
        seen, planned = group["examples_seen"] - self._begun, group["num_data"]
        if self._told or seen <= planned + batch:
            return
        self._told = True
        what = "a pass gives more examples than num_data, so warm-up, cosine and averages end before the run does"
        got = f"{seen} so far in a pass, num_data={planned}"
        cause = "items of the data set that become several examples each (a network or collate_fn that flattens them)"
        text = explain(what, where=self._where, got=got, cause=cause, fix="pass num_data=<number of targets in a pass>")
        warnings.warn(text, Miscounted, stacklevel=3)


@contextmanager
def unmoved(generator: torch.Generator | None) -> Iterator[None]:
    """torch's random numbers, and those of a loader's generator if it has one, go on afterwards from where they were."""
    state = None if generator is None else generator.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        if generator is not None and state is not None:
            generator.set_state(state)


def gives_single_examples(data: Any) -> bool:
    """Whether it is a data set of single examples, which a `DataLoader` makes batches of.

    A data set whose items are whole batches says so by `whole_batches`, and how many examples are in all of them by `num_data`.
    """
    return isinstance(data, Dataset) and not _whole_batches(data)


def is_array(values: Any) -> bool:
    """Whether these are a tensor, an array of numpy or what is like one.

    >>> is_array(torch.zeros(2)), is_array([0.0, 0.0])
    (True, False)
    """
    return isinstance(values, Tensor) or (hasattr(values, "__array__") and hasattr(values, "shape"))


def _whole_batches(data: Any) -> bool:
    return bool(getattr(data, "whole_batches", False))


def _walked(loader: Any) -> int:
    with unmoved(getattr(loader, "generator", None)):
        return sum(len(y) for _, y, *_ in pairs(loader, None, "the training loader"))


def _as_tensor(part: Any) -> Any:
    """An array of numbers as a tensor; whatever else it is, the checks name."""
    try:
        return torch.as_tensor(part) if is_array(part) else part
    except (TypeError, ValueError, RuntimeError):
        return part


def _placed(part: Any, device: torch.device | None) -> Any:
    return part.to(device) if device is not None and isinstance(part, (Tensor, Gaussian)) else part


def _require_input(x: Any, batch: Any, where: str, what: str, fix: str) -> None:
    """Raises InvalidInput unless the inputs are a tensor or a belief with a row for each example."""
    if isinstance(x, Gaussian):
        require_moments(*x, where)
    if not isinstance(x, (Tensor, Gaussian)) or not x.ndim:
        raise _unfit(batch, where, "inputs that are no tensor with a row for each example, such as dictionaries", what, fix)
    require_values(x.mean if isinstance(x, Gaussian) else x, where)


def _checked(loader: Any, where: str) -> Iterable[Any]:
    """The loader; raises InvalidInput for what gives no batches."""
    if gives_single_examples(loader) and isinstance(loader, Sized):
        raise _no_loader(type(loader).__name__, where, "a data set, which gives single examples")
    if isinstance(loader, tuple) and len(loader) == 2 and all(isinstance(part, Tensor) for part in loader):
        raise _no_loader("a tuple of 2 tensors", where, "inputs and targets as they are")
    single = isinstance(loader, (str, bytes, Mapping, Gaussian)) or is_array(loader)
    if single or not (isinstance(loader, Iterable) or hasattr(loader, "__getitem__")):
        raise InvalidInput(
            "a loader of batches is needed", where=where, got=shown(loader), fix="pass a DataLoader, or a list of (input, target)"
        )
    return loader


def _no_loader(got: str, where: str, cause: str) -> InvalidInput:
    fix = "wrap it: DataLoader(data, 16, shuffle=True), data = TensorDataset(x, y) of two tensors"
    return InvalidInput("a loader of batches is needed", where=where, got=got, cause=cause, fix=fix)


def _unfit(batch: Any, where: str, cause: str, what: str, fix: str) -> InvalidInput:
    got = f"dict with {sorted(map(str, batch))}" if isinstance(batch, Mapping) else f"{type(batch).__name__} {_kinds(batch)}"
    return InvalidInput(what, where=where, got=got, cause=cause, fix=fix)


def _kinds(batch: Any) -> str:
    return f"of {[type(part).__name__ for part in batch]}" if isinstance(batch, (list, tuple)) else ""
