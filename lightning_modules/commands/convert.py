"""`torch-gbp convert NETWORK --out CKPT`: a torch network, pretrained or not, as a checkpoint with marginals."""

from __future__ import annotations

import argparse
import json
import pickle
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.error import URLError

import lightning
import torch
import torchvision
from torch import nn

from lightning_modules.checkpoints.record import KEY
from lightning_modules.classifier import GBPClassifier
from lightning_modules.commands.names import KNOWN, unknown
from lightning_modules.regressor import GBPRegressor
from torch_gbp import adapters, from_torch, last_layer, summary
from torch_gbp.errors import InvalidInput

KINDS = {"classifier": GBPClassifier, "regressor": GBPRegressor}


def main(args: list[str]) -> Path:
    """Converts a network, prints its summary, and writes the checkpoint of a module that `predict`, `fit` and Python load.

    Raises:
        InvalidInput: unknown networks or weights, a file of weights that are not the network's, options that contradict another.
    """
    parser = argparse.ArgumentParser(prog="torch-gbp convert", description=__doc__)
    parser.add_argument("network", help="name of a torchvision model, or path of a class")
    parser.add_argument(
        "--init", type=json.loads, default={}, metavar="JSON", help="arguments of the network: '{\"num_classes\": 5}'"
    )
    parser.add_argument("--weights", help="of a torchvision model (DEFAULT downloads them), or a file with a state dict")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--last_layer", action="store_true", help="marginals on the last linear layer alone, the rest frozen")
    which.add_argument("--adapters", type=int, metavar="RANK", help="Gaussian low-rank adapters beside frozen weights")
    which.add_argument("--moments", action="store_true", help="GBP layers that carry moments")
    parser.add_argument("--as_prior", action="store_true", help="centre the prior on the given weights")
    parser.add_argument("--fresh", action="store_true", help="start at the prior, not at the given weights")
    parser.add_argument("--kind", choices=KINDS, default="classifier", help="what it predicts (default: %(default)s)")
    parser.add_argument("--out", default="converted.ckpt", help="(default: %(default)s)")
    options = parser.parse_args(args)
    network = converted(made(options.network, options.init, options.weights), options)
    print(summary(network))
    save(KINDS[options.kind](network), Path(options.out))
    print(f"converted network: {options.out}")
    return Path(options.out)


def converted(network: nn.Module, options: Any) -> nn.Module:
    """The network with marginals, as the options ask."""
    if options.last_layer:
        return last_layer(network)
    if options.adapters:
        return adapters(network, rank=options.adapters)
    return from_torch(network, moments=options.moments, fresh=options.fresh, as_prior=options.as_prior)


def save(module: GBPClassifier | GBPRegressor, path: Path) -> None:
    """Writes a checkpoint as the trainer would before the first step."""
    record = module.record()
    if record.parts is None:
        raise InvalidInput(
            "the network cannot be saved", where="convert", got=record.reason, fix="convert and train it in Python"
        )
    content = {"state_dict": module.state_dict(), KEY: record.saved(), "pytorch-lightning_version": lightning.__version__}
    torch.save(content, path)


def made(name: str, arguments: dict[str, Any], weights: str | None) -> nn.Module:
    """A plain torch network, by torchvision's name or a class path, with weights by their name or from a file.

    Raises:
        InvalidInput: unknown names, arguments that it does not take, weights that cannot be had or are another network's.
    """
    from_file, constructor = weights is not None and Path(weights).is_file(), _constructor(name)
    try:
        network = constructor(**arguments, **({"weights": weights} if weights and not from_file else {}))
    except (TypeError, ValueError, KeyError, URLError, RuntimeError) as error:
        raise InvalidInput(
            "the network cannot be made",
            where=name,
            got=str(error).splitlines()[0],
            cause="arguments or weights that it does not have, or no connection to fetch weights",
            fix="check --init and --weights (DEFAULT, or a file with a state dict)",
        ) from error
    if from_file:
        _load(network, Path(str(weights)))
    return network


def _constructor(name: str) -> Any:
    """What makes a network of this name."""
    if name in KNOWN["model.model"]:
        name = KNOWN["model.model"][name]
    place, dot, short = name.rpartition(".")
    if not dot:
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise unknown("convert", name, known, "use a torchvision model, or the path of a class")
        return torchvision.models.get_model_builder(name)
    try:
        module = import_module(place)
    except ImportError as error:
        fix = "run it in the folder of the module"
        raise InvalidInput("the module cannot be imported", where=name, got=str(error), fix=fix) from error
    if not hasattr(module, short):
        raise unknown("convert", name, [f"{place}.{one}" for one in dir(module) if one[0].isupper()], "use a class there")
    return getattr(module, short)


def _load(network: nn.Module, path: Path) -> None:
    """Weights of a file: a state dict, or one under `state_dict` or `model`, with or without a prefix `model.`."""
    try:
        found = torch.load(path, "cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InvalidInput(
            "no file of weights", where=str(path), got=str(error).splitlines()[0], fix="give a state dict"
        ) from error
    for key in ("state_dict", "model"):
        found = found[key] if isinstance(found, dict) and isinstance(found.get(key), dict) else found
    own = network.state_dict()
    if not set(own) & set(found):
        found = {name.removeprefix("model."): value for name, value in found.items()}
    wrong = {"missing": sorted(own.keys() - found.keys()), "unexpected": sorted(found.keys() - own.keys())}
    wrong["other shapes"] = sorted(name for name in own.keys() & found.keys() if own[name].shape != found[name].shape)
    if any(wrong.values()):
        raise InvalidInput(
            "the weights are not those of this network",
            where=str(path),
            got=", ".join(f"{what} {names[:4]}" for what, names in wrong.items() if names),
            cause="another architecture, or another number of classes",
            fix="give --init what the network was built with",
        )
    network.load_state_dict(found)
