"""What MessagePassing checks of its settings: at construction, in a state that is loaded, and at every step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from torch_gbp.errors import InvalidInput
from torch_gbp.optim.stores import Store
from torch_gbp.optim.stores.base import State
from torch_gbp.weights.parameter import GaussianParameter

GAINS = "gains"  # there, too: which of its parameters are gains and shifts of BatchNorm
START = "start"  # in a plain parameter group of the library's own: what the network starts from, which its rate goes by
PLAIN = "plain"  # in a saved state: that of the optimizer of plain parameters
CURVATURE = "curvature"  # in a marginal's state: the precision that an example's message had in the last probe


def check_counts(accumulated: Any, report_every: Any) -> None:
    """Raises InvalidInput unless at least one batch is accumulated, and a report comes every so many steps, or never (0)."""
    if not (_is_count(accumulated, least=1) and _is_count(report_every, least=0)):
        raise InvalidInput(
            "accumulated must be an integer of at least 1, report_every one of at least 0",
            where="MessagePassing",
            got=f"accumulated={accumulated!r}, report_every={report_every!r}",
            cause="a count that was divided, or read from a file",
            fix="leave them out",
        )


def check_group(group: Mapping[str, Any], started: bool = False) -> None:
    """The settings of a parameter group, which may be written to at any time.

    Args:
        started: a scheduler may have let the rate come to 0.

    Raises:
        InvalidInput: num_data missing, or rates or passes out of range.
    """
    if not _is_count(group["num_data"], least=1):
        raise InvalidInput(
            "num_data, the number of training examples, is needed",
            where="MessagePassing",
            got=repr(group["num_data"]),
            cause="the data set's size was not passed",
            fix="MessagePassing(model.parameters(), num_data=len(dataset))",
        )
    rate = _number(group["lr"])
    if not (0 < rate <= 1 or (started and rate == 0)):
        raise InvalidInput(
            "lr must be in (0, 1]",
            where="MessagePassing",
            got=repr(group["lr"]),
            cause="a learning rate of a gradient method",
            fix="leave it out, or try 0.1 to 0.4",
        )
    epochs, parts = group["epochs"], [_number(group[name]) for name in ("warmup", "final")]
    if not (epochs is None or 0 < _number(epochs) < math.inf) or not all(0 <= part <= 1 for part in parts):
        raise InvalidInput(
            "epochs must be positive and finite, warmup and final in [0, 1]",
            where="MessagePassing",
            got=", ".join(f"{name}={group[name]!r}" for name in ("epochs", "warmup", "final")),
            cause="a run without an end, which epochs=None stands for",
            fix="leave them out",
        )


def check_saved(
    saved: Mapping[str, Any], groups: list[dict[str, Any]], owned: list[list[GaussianParameter]], store: Store, names: set[str]
) -> None:
    """Checks the state of an optimizer before any of it is loaded: `names` are the settings that its groups must have.

    Raises:
        InvalidInput: another optimizer's or another store's, of other parameters, or with values that cannot be.
    """
    theirs = saved.get("param_groups", [])
    if not theirs or "state" not in saved or any(not names <= group.keys() for group in theirs):
        got = f"settings {sorted(theirs[0])}" if theirs else f"entries {sorted(saved)}"
        raise _misfit("the state is not one of MessagePassing", got, "the state of another optimizer, e.g. AdamW")
    if saved.get("store", kind(store)) != kind(store):
        raise _misfit(f"the state is not one of {kind(store)}", f"that of {saved['store']}", "a run with another store")
    sizes = [[len(group["params"]) for group in each] for each in (theirs, groups)]
    if sizes[0] != sizes[1]:
        raise _misfit("the state has other parameters", f"groups of {sizes[0]}, here {sizes[1]}", "another network")
    for group, here, marginals in zip(theirs, groups, owned, strict=True):
        check_group(group, started=True)
        _check_progress(group)
        found = dict(zip(here["params"], map(saved["state"].get, group["params"]), strict=True))
        for position, marginal in enumerate(marginals):
            _check_entry(name_of(here, position), store, marginal, found.pop(marginal.mean) or {})
        if any(found.values()):
            raise _misfit("something is kept of precisions", f"{len(found)} entries", "the state of another optimizer")


def require_same_parts(saved: Mapping[str, Any], plain: Optimizer | None) -> None:
    """Raises InvalidInput unless a saved state has as many plain parameters as this one, and an optimizer of the same kind."""
    if (plain is not None) != (PLAIN in saved):
        has = {True: "an optimizer of plain parameters", False: "none"}
        raise _misfit("the state has other parts", f"{has[PLAIN in saved]}, here {has[plain is not None]}", "another network")
    if plain is None:
        return
    theirs, here = saved[PLAIN]["param_groups"], plain.param_groups
    sizes = [[len(group["params"]) for group in each] for each in (theirs, here)]
    if sizes[0] != sizes[1]:
        raise _misfit("the state has other plain parameters", f"groups of {sizes[0]}, here {sizes[1]}", "another network")
    for group, own in zip(theirs, here, strict=True):
        if group.keys() - own.keys() and own.keys() - group.keys() - {START, GAINS}:  # a later torch may know more settings
            got = f"settings {sorted(group.keys() - own.keys())}, here {sorted(own.keys() - group.keys())}"
            raise _misfit("the plain parameters had another optimizer", got, "another plain=...")


def name_of(group: Mapping[str, Any], position: int) -> str:
    """Name of a group's marginal for errors, if the optimizer was given named parameters (mean, precision, mean, ...)."""
    means = [name for name in group.get("param_names") or () if not name.endswith(".precision")]
    return f"layer '{means[position].removesuffix('.mean')}'" if means else f"marginal {position}"


def kind(store: Store) -> str:
    """The store's name in a saved state."""
    return type(store).__name__


def _check_progress(group: Mapping[str, Any]) -> None:
    """Raises InvalidInput unless a saved group counts steps and examples, and knows its fixed batches."""
    counted = all(_is_count(group[name], least=0) for name in ("steps", "examples_seen"))
    if not (counted and isinstance(group["fingerprints"], Mapping)):
        got = ", ".join(f"{name}={group[name]!r}" for name in ("steps", "examples_seen", "fingerprints"))
        raise _misfit("the state does not say what was seen", got, "a damaged file")


def _check_entry(where: str, store: Store, marginal: GaussianParameter, entry: State) -> None:
    """Raises InvalidInput unless the store can go on from what is kept of a marginal; nothing is, before its first step."""
    known = {*store.keeps, *store.may_keep, CURVATURE}
    if not entry.keys() <= known or (entry.keys() & set(store.keeps) and not store.whole(entry)):
        raise _misfit(f"the state of {where} is not one of {kind(store)}", f"{sorted(entry)}", "another store or optimizer")
    for name, value in entry.items():
        if problem := _problem(value, marginal) or (name == CURVATURE and _negative(value)):
            raise _misfit(f"'{name}' of {where} is not one of {kind(store)}", problem, "a damaged file, or another network")


def _problem(value: Any, marginal: GaussianParameter) -> str:
    """What is wrong with something kept: a number, a tensor like the mean, a pair (information, precision), a dict of such."""
    if isinstance(value, Mapping):
        return next(filter(None, (_problem(each, marginal) for each in value.values())), "")
    if isinstance(value, (list, tuple)):
        likes = marginal.mean, marginal.precision
        return f"{len(value)} tensors" if len(value) != 2 else "".join(map(_unlike, value, likes))
    if not isinstance(value, Tensor):
        return "" if math.isfinite(_number(value)) else repr(value)
    return _unlike(value, marginal.precision if value.shape == marginal.precision.shape else marginal.mean)


def _unlike(value: Any, like: Tensor) -> str:
    if not isinstance(value, Tensor) or value.shape != like.shape:
        return f"{tuple(getattr(value, 'shape', ()))}, not {tuple(like.shape)}"
    return "" if bool(value.isfinite().all()) else f"{int((~value.isfinite()).sum())} of {value.numel()} values NaN or Inf"


def _negative(precision: Tensor) -> str:
    """What is wrong with a precision that no step looks at again, as that of a probe is a square."""
    lowest = float(precision.amin())
    return f"lowest {lowest:.3g}" if lowest < 0 else ""


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and int(value) >= least


def _number(value: Any) -> float:
    """A number as a float, a tensor's too; NaN for anything else."""
    return float(value) if isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1) else math.nan


def _misfit(what: str, got: str, cause: str) -> InvalidInput:
    fix = "load the state of the same optimizer, store and network, or start without; nothing has changed"
    return InvalidInput(what, where="MessagePassing.load_state_dict", got=got, cause=cause, fix=fix)
