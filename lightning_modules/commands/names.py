"""Names on the command line: configurations that are shipped, and classes by their short names or their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import callbacks

import lightning_modules
from lightning_modules import networks
from lightning_modules.data import TensorDataModule
from lightning_modules.prediction_files import PredictionFile
from lightning_modules.progress import PassLines
from torch_gbp import likelihoods
from torch_gbp.errors import InvalidInput
from torch_gbp.optim import stores

CONFIGS = Path(lightning_modules.__file__).parent / "configs"
_MODULES = {name: getattr(lightning_modules, name) for name in lightning_modules.__all__}


def _data(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, TensorDataModule)


def _models(thing: Any) -> bool:
    base = lightning_modules.PortableModule
    return isinstance(thing, type) and issubclass(thing, base) and thing is not base


KNOWN: dict[str, dict[str, str]] = {  # short name: path, by the key whose value it is
    "model": {
        name: f"lightning_modules.{name}" for name, thing in _MODULES.items() if _models(thing) and name != "PortableModule"
    },
    "data": {name: f"lightning_modules.{name}" for name, thing in _MODULES.items() if _data(thing)},
    "model.model": {
        name: f"lightning_modules.networks.{name}" for name in networks.__all__ if isinstance(getattr(networks, name), type)
    }
    | {
        "from_torch": "torch_gbp.from_torch",
        "network_of": "lightning_modules.network_of",
        "advanced": "lightning_modules.advanced",
    },
    "model.likelihood": {name: f"torch_gbp.{name}" for name in likelihoods.__all__},
    "model.store": {name: f"torch_gbp.{name}" for name in ("AveragedSites", "BatchSites", "Filtering") if hasattr(stores, name)},
    "trainer.callbacks": {
        **{name: f"lightning.pytorch.callbacks.{name}" for name in callbacks.__all__},
        "Calibrate": "lightning_modules.Calibrate",
        "LearnPriors": "lightning_modules.LearnPriors",
        "PassLines": f"{PassLines.__module__}.PassLines",
        "PredictionFile": f"{PredictionFile.__module__}.PredictionFile",
    },
}
KNOWN["model.model.network"] = KNOWN["model.model"]


def resolved(args: Sequence[str]) -> list[str]:
    """Arguments with shipped configurations as files and classes as paths.

    Raises:
        InvalidInput: a configuration or a class of no known name, with the names that there are.

    >>> resolved(["fit", "--model", "GBPClassifier", "--model.model=MLP"])
    ['fit', '--model=lightning_modules.GBPClassifier', '--model.model=lightning_modules.networks.MLP']
    """
    found = []
    for option, value in _pairs(args):
        if option == "config":
            value = str(config_file(str(value)))
        elif value is not None and _key(option) in KNOWN:
            value = class_path(_key(option), value)
        found += [value] if not option else [f"--{option}" if value is None else f"--{option}={value}"]
    return found


def _pairs(args: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Options without their dashes, and values; an option without value has None, what belongs to none has the option ''."""
    rest = list(args)
    while rest:
        first = rest.pop(0)
        if not first.startswith("-"):
            yield "", first
            continue
        name, equals, value = first.partition("=")
        option = "config" if name == "-c" else name.lstrip("-")
        if not equals and rest and not rest[0].startswith("--"):
            equals, value = "=", rest.pop(0)
        yield option, value if equals else None


def _key(option: str) -> str:
    return option.removesuffix("+").replace(".init_args", "").removesuffix(".class_path")


def config_file(name: str) -> Path:
    """A configuration by its path, or by its name if it is one of those shipped; its classes are checked.

    Raises:
        InvalidInput: no such file and no such name; a class in it that is not there.
    """
    path = Path(name)
    shipped = sorted(file.stem for file in CONFIGS.glob("*.yaml"))
    if not path.is_file():
        if name not in shipped:
            raise unknown("configuration", name, shipped, "give the path of a file, or one of those that are shipped")
        path = CONFIGS / f"{name}.yaml"
    for key, found in _classes("", yaml.safe_load(path.read_text())):
        class_path(key, found)
    return path


def _classes(key: str, node: Any) -> Iterator[tuple[str, str]]:
    """Classes of a configuration, with the keys that they would have as options."""
    if not isinstance(node, Mapping):
        return
    if isinstance(node.get("class_path"), str) and key in KNOWN:
        yield key, node["class_path"]
    for name, inside in (node.get("init_args", {}) if "class_path" in node else node).items():
        yield from _classes(f"{key}.{name}".lstrip("."), inside)


def class_path(key: str, value: str) -> str:
    """The path of a class, by its short name or its path; what is no name (null, a number, JSON, a file) stays.

    Raises:
        InvalidInput: no class of this name.
    """
    if value in KNOWN[key]:
        return KNOWN[key][value]
    if value.replace("_", "").isidentifier() and value not in ("null", "true", "false"):
        raise unknown(f"--{key}", value, [*KNOWN[key]], "use one of them, or the path of a class of your own")
    place, dot, name = value.rpartition(".")
    if dot and all(part.isidentifier() for part in value.split(".")) and not Path(value).exists():
        _require_there(key, place, name)
    return value


def _require_there(key: str, place: str, name: str) -> None:
    """Raises InvalidInput unless a module of this path has the name."""
    if place == "examples.networks":
        place, known = "examples.networks", [f"lightning_modules.networks.{one}" for one in networks.__all__]
        if name in networks.__all__:
            return
        raise unknown(f"--{key}", f"{place}.{name}", known, "use one of them")
    try:
        module = import_module(place)
    except ImportError as error:
        raise InvalidInput(
            "the module of a class cannot be imported",
            where=f"--{key} {place}.{name}",
            got=str(error),
            cause="another folder: modules of your own are found from the one in which you are",
            fix=f"run it there, or use one of {', '.join(KNOWN[key])}",
        ) from error
    if not hasattr(module, name):
        names = [one for one in getattr(module, "__all__", dir(module)) if not one.startswith("_")]
        raise unknown(f"--{key}", f"{place}.{name}", [f"{place}.{one}" for one in names], "use one of them")


def unknown(what: str, name: str, known: Sequence[str], fix: str) -> InvalidInput:
    """The error for a name that is not there; close ones first.

    >>> print(unknown("--data", "MNSIT", ["CSV", "MNIST"], "use one of them"))
    no such name. Got: --data MNSIT; did you mean MNIST?. Way out: use one of them: MNIST, CSV.
    """
    close = get_close_matches(name, known, 3, 0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    rest = [*close, *(one for one in known if one not in close)]
    return InvalidInput("no such name", got=f"{what} {name}{hint}", fix=f"{fix}: {', '.join(rest)}")
