"""Skeletons: modules without the numbers of their state, as bytes that load without running anybody's code.

A checkpoint has the numbers (`state_dict`); what is left of a network are its classes and their settings. They are written by
torch.save and read by `torch.load(weights_only=True)`, which makes objects of named classes alone: those of `trusted`.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from types import BuiltinFunctionType, FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from torch_gbp.errors import InvalidInput

_PACKAGES = ("torch.nn", "torch_gbp", "torchvision.models", "torchvision.ops", "lightning_modules")  # imported when named
_FUNCTIONS = ("torch.nn.functional", "torch._C._nn")  # activations, which torch's layers hold as they are


def skeleton(parts: dict[str, Any]) -> Tensor:
    """The modules among `parts` without the numbers of their state, and the other parts as they are; bytes, as a tensor.

    Raises:
        pickle.PicklingError, AttributeError, TypeError, RuntimeError: a part that cannot be pickled, such as a lambda.

    >>> parts = revived(skeleton({"model": nn.Sequential(nn.Linear(1000, 1000))}))
    >>> parts["model"]
    Sequential(
      (0): Linear(in_features=1000, out_features=1000, bias=True)
    )
    """
    modules = [part for part in parts.values() if isinstance(part, nn.Module)]
    state = {_place(value): value for module in modules for value in module.state_dict(keep_vars=True).values()}
    kept = {id(value) for module in modules for value in module.buffers()} - {id(value) for value in state.values()}

    class Hollow(pickle.Pickler):
        """Writes a tensor of a state, or a view of one, as a single 1, seen in that tensor's shape."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, nn.Module) and parametrize.is_parametrized(obj):
                return parametrized, (type(obj).__bases__[0], dict(obj.__dict__))  # its class is made for it alone
            if not isinstance(obj, Tensor) or id(obj) in kept or _place(obj) not in state:
                return NotImplemented
            return _hollow(obj).__reduce_ex__(2)

    file = io.BytesIO()
    torch.save(parts, file, pickle_module=SimpleNamespace(Pickler=Hollow, __name__="pickle"))
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def parametrized(kind: type[nn.Module], content: dict[str, Any]) -> nn.Module:
    """A module of this class with tensors that are functions of others, as low-rank adapters make them."""
    module = kind.__new__(kind)
    module.__dict__.update(content)
    parametrize._inject_new_class(module)
    for name in content["_modules"]["parametrizations"]:
        parametrize._inject_property(module, name)
    return module


def _place(value: Any) -> Any:
    """The same for a tensor and its views."""
    return value.untyped_storage().data_ptr() or id(value) if isinstance(value, Tensor) else id(value)


def _hollow(tensor: Tensor) -> Tensor:
    single = torch.ones((), dtype=tensor.dtype).expand(tensor.shape)
    return nn.Parameter(single, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else single


def revived(data: Tensor) -> dict[str, Any]:
    """The parts of a skeleton, with tensors of ones where a state is to be loaded.

    Raises:
        InvalidInput: classes that are not trusted.
    """
    file = io.BytesIO(data.numpy().tobytes())
    names = get_unsafe_globals_in_checkpoint(file)
    found = {name: trusted(name) for name in names}
    strange = sorted(name for name, thing in found.items() if thing is None)
    if strange:
        raise InvalidInput(
            f"the checkpoint's network needs {', '.join(strange)}",
            where="load_from_checkpoint",
            got="a name that is not imported, or is no torch module",
            cause="a network of your own, whose code a checkpoint does not hold",
            fix=f"import {strange[0].rpartition('.')[0]} before (`--import` on the command line), or pass model=<the network>",
        )
    file.seek(0)
    allowed: list[Any] = [(thing, name) for name, thing in found.items()]
    with safe_globals(allowed):
        parts = torch.load(file, weights_only=True)
    for part in parts.values():
        if isinstance(part, nn.Module):
            _fill_out(part)
    return parts


def trusted(name: str) -> Any | None:
    """The class or function of this name, if a checkpoint may make objects of it, else None.

    These are: classes and functions of torch_gbp; torch modules (subclasses of nn.Module) of torch, torchvision and
    lightning_modules, and others if somebody has imported them already; torch's activations; functools.partial of such.

    >>> trusted("torch.nn.modules.linear.Linear").__name__, trusted("os.system"), trusted("torch.hub.load")
    ('Linear', None, None)
    """
    place, _, short = name.rpartition(".")
    if any(place == package or place.startswith(package + ".") for package in _PACKAGES):
        try:
            importlib.import_module(place)
        except ImportError:
            return None
    thing = getattr(sys.modules.get(place), short, None)
    if name in ("functools.partial", f"{__name__}.{parametrized.__name__}") or (
        isinstance(thing, type) and issubclass(thing, nn.Module)
    ):
        return thing
    if place in _FUNCTIONS:
        plain = isinstance(thing, BuiltinFunctionType) or getattr(thing, "__module__", "") == place
        return thing if plain and isinstance(thing, (FunctionType, BuiltinFunctionType)) else None
    own = isinstance(thing, (type, FunctionType)) and thing.__module__.split(".")[0] == "torch_gbp"
    data = isinstance(thing, type) and thing.__module__.startswith("torchvision.models") and issubclass(thing, tuple)
    return thing if own or data else None


def _fill_out(module: nn.Module) -> None:
    """Gives every tensor numbers of its own, in place, so that whoever shares it still does."""
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.detach().clone(memory_format=torch.contiguous_format)
