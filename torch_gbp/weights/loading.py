"""The check of a whole saved network before `load_state_dict` writes any of it.

torch hands every module its own part of a state dict, writes it, and raises for what did not fit when all is written. So
the first module here that is met checks the parts of all: the running call of `nn.Module.load_state_dict`, a frame below, has
the network, the state, `strict` and `assign`, of which torch passes no module all. Whatever wraps the network (DDP,
torch.compile, a LightningModule) is the network then. An undo after the fact would need a place that is reached when all
failed, which torch does not have.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput

_LOAD = nn.Module.load_state_dict.__code__
_SHOWN = 4  # names in an error


class Saved(NamedTuple):
    """What is to be loaded: the state dict, whether every entry must be there, and whether its tensors replace the module's."""

    state: Mapping[str, Any]
    strict: bool
    assign: bool


class CheckedModule(nn.Module):
    """A module that says what is wrong with its part of a saved state before anything of the network is written.

    Where `_load_from_state_dict` is called without `nn.Module.load_state_dict`, or a module inside renames entries of its own
    (`register_load_state_dict_pre_hook`), nobody knows the whole beforehand: every module then checks its own part.
    """

    variable: tuple[str, ...] = ()
    """Entries that may be missing or of another shape in a state that fits."""

    def check_saved(self, saved: Saved, prefix: str) -> None:
        """Raises InvalidInput unless this module can take its entries, whose names start with `prefix`."""
        raise NotImplementedError

    def make_room(self, state: Mapping[str, Any], prefix: str) -> None:
        """Gives the `variable` entries the shapes that they have in a state that was checked."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], strict: bool, *lists: list[str]
    ) -> None:
        call = _running_call(errors=lists[-1])
        if call is None:
            self.check_saved(Saved(state_dict, strict, local_metadata.get("assign_to_params_buffers", False)), prefix)
        elif _renames(call["self"]):
            self.check_saved(Saved(state_dict, call["strict"], call["assign"]), prefix)
        elif next(module for module in call["self"].modules() if isinstance(module, CheckedModule)) is self:
            check_network(call["self"], Saved(call["state_dict"], call["strict"], call["assign"]))
        self.make_room(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, *lists)


def check_network(network: nn.Module, saved: Saved) -> None:
    """Raises InvalidInput unless all of the network can take the state, by the rules of its modules and torch's own."""
    variable = set[str]()
    for name, module in network.named_modules(remove_duplicate=False):
        if isinstance(module, CheckedModule):
            prefix = f"{name}." if name else ""
            module.check_saved(saved, prefix)
            variable |= {prefix + entry for entry in module.variable}
    own = _entries(network, network.state_dict(keep_vars=True), variable)
    found = _entries(network, saved.state, variable)
    wrong = {"other shapes": [name for name in own.keys() & found.keys() if own[name] != found[name]]}
    if saved.strict:
        wrong |= {"missing": [*own.keys() - found.keys()], "unexpected": [*found.keys() - own.keys()]}
    if any(wrong.values()):
        raise InvalidInput(
            "the state is not that of this network; nothing has changed",
            where="load_state_dict",
            got=", ".join(f"{what} {sorted(names)[:_SHOWN]}" for what, names in wrong.items() if names),
            cause="a network built otherwise, or a torch network's state",
            fix="build it as it was when saved; from_torch takes a torch network's weights",
        )


def require_saved(name: str, value: Any, like: Tensor, assign: bool = False, broadcast: bool = False) -> Tensor:
    """A saved entry as the network would hold it, in the place of `like` or broadcast to it.

    Raises:
        InvalidInput: not a floating-point tensor, of another shape, or not finite.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.is_meta:
        kind = f"{value.dtype} on {value.device}" if isinstance(value, Tensor) else type(value).__name__
        raise _misfit(name, "must be a floating-point tensor", kind, "a file of something else", "load a network's state_dict()")
    if not (value.shape == like.shape or (broadcast and _broadcasts(value.shape, like.shape))):
        got = f"{tuple(value.shape)}, the network has {tuple(like.shape)}"
        cause = "layers of another width, or another covariance"
        raise _misfit(name, "has another shape", got, cause, "build the network as it was when saved")
    value = value.detach() if assign else value.detach().to(like.dtype)
    require_all(name, value.isfinite(), "finite", value)
    return value


def require_all(name: str, good: Tensor, what: str, value: Tensor) -> None:
    """Raises InvalidInput unless all numbers of a saved entry are `good`, which is called `what`."""
    if not bool(good.all()):
        got = f"{int((~good).sum())} of {value.numel()} are not, worst {value[~good].amin().item():.4g}"
        raise _misfit(name, f"must be {what}", got, "a damaged file, or a diverged run", "load an earlier checkpoint")


def _misfit(name: str, what: str, got: str, cause: str, fix: str) -> InvalidInput:
    return InvalidInput(f"'{name}' {what}", where="load_state_dict", got=got, cause=cause, fix=f"{fix}; nothing has changed")


def _running_call(errors: list[str]) -> dict[str, Any] | None:
    """The local variables of the `nn.Module.load_state_dict` that collects its errors in this very list."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is _LOAD and frame.f_locals.get("error_msgs") is errors:
            return dict(frame.f_locals)
        frame = frame.f_back
    return None


def _renames(network: nn.Module) -> bool:
    """Whether a module inside changes the entries as they are handed down; the network itself does so before all of this."""
    return any(module._load_state_dict_pre_hooks for module in network.modules() if module is not network)


def _entries(network: nn.Module, state: Mapping[str, Any], variable: set[str]) -> dict[str, torch.Size | None]:
    """Names and shapes in a state, of what every module has to have as it is; those that load in a way of their own left out."""
    usual = nn.Module._load_from_state_dict
    free = tuple(
        f"{name}." if name else ""
        for name, module in network.named_modules(remove_duplicate=False)
        if not isinstance(module, CheckedModule) and type(module)._load_from_state_dict is not usual
    )
    return {
        name: getattr(value, "shape", None) for name, value in state.items() if name not in variable and not name.startswith(free)
    }


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False))
