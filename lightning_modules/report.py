"""`torch-gbp report CKPT [CKPT ...] --out report.html`: what trained models know, as one HTML file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import lightning
import torch
from torch import Tensor

from lightning_modules.checkpoints import load_module, read_record
from lightning_modules.commands.names import KNOWN, resolved
from lightning_modules.run_curves import read_curves
from torch_gbp.batches import pairs
from torch_gbp.errors import InvalidInput
from torch_gbp.reporting import report

Pairs = tuple[Tensor, Tensor]

# options of data modules that leave the test examples alone
OF_TRAINING = ("batch_size", "fixed_batches", "crop", "flip", "label_smoothing", "download", "accept_altered", "prepared_as")


def main(args: Sequence[str]) -> Path:
    """Writes the report on the modules of checkpoints, on the test data of their runs or on those that `--data` names.

    Raises:
        InvalidInput: what `load_module` and `torch_gbp.report` raise; checkpoints of unknown or different data, without `--data`.
    """
    options, rest = _parser().parse_known_args(resolved(args))
    names = _names(options.checkpoints, options.name)
    modules = [load_module(path) for path in options.checkpoints]
    data = _data(options.checkpoints, rest)
    test, *others = _sets(data)
    outside = getattr(data, "test_names", ["test", *map(str, range(1, len(others) + 1))])[1:]
    path = report(
        dict(zip(names, modules, strict=True)),
        test,
        options.out,
        ood={name: x for name, (x, _) in zip(outside, others, strict=True)},
        near=options.near,
        train=_training(data) if others and options.ood_score == "features" else None,
        resamples=options.resamples,
        title=options.title or f"{type(data).__name__}: {', '.join(names)}",
        classes=_classes(modules[0]),
        histories={name: curves for name, own in zip(names, options.checkpoints, strict=True) if (curves := read_curves(own))},
    )
    print(f"report: {path}")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="torch-gbp report", description=__doc__, epilog=f"Data: {', '.join(KNOWN['data'])}.")
    parser.add_argument("checkpoints", nargs="+", help="written by fit")
    parser.add_argument("--out", default="report.html", help="(default: %(default)s)")
    parser.add_argument("--name", action="append", default=[], help="of a model, in the order of the checkpoints")
    parser.add_argument("--near", action="append", default=[], help="name of a set of other inputs that is near to the data")
    parser.add_argument(
        "--ood-score",
        choices=("features", "prediction"),
        default="features",
        help="what tells other inputs apart: OODScore, which reads the training data once, or how sure the prediction is",
    )
    parser.add_argument("--resamples", type=int, default=100, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--title")
    parser.add_argument("--data ...", dest="unused", help="another data module with its options; default: that of the runs")
    return parser


def _names(paths: Sequence[str], given: Sequence[str]) -> list[str]:
    """Names of the models: those given, or their classes, or where these are not enough their paths."""
    if given and len(given) != len(paths):
        raise InvalidInput(
            "give a name for each checkpoint, or none", where="report", got=f"{len(given)} for {len(paths)}", fix="repeat --name"
        )
    kinds = [read_record(path).kind.rpartition(".")[2] for path in paths]
    names = list(given) or (kinds if len(set(kinds)) == len(kinds) else list(paths))
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidInput(
            "every model needs a name of its own",
            where="report",
            got=f"{', '.join(twice)} twice",
            fix="give others by --name",
        )
    return names


def _data(paths: Sequence[str], options: Sequence[str]) -> Any:
    """The data module, loaded: that of the options, or of the runs with what the options change."""
    parser = jsonargparse.ArgumentParser(prog="torch-gbp report")
    parser.add_subclass_arguments(lightning.LightningDataModule, "data", required=True)
    if not any(option.startswith("--data=") for option in options):
        parser.set_defaults({"data": _of_runs(paths)})
    make = getattr(parser, "instantiate", parser.instantiate_classes)  # the later name, and the earlier one
    data = make(parser.parse_args(list(options)))["data"]
    data.prepare_data()
    data.setup("test")
    return data


def _of_runs(paths: Sequence[str]) -> dict[str, Any]:
    found = [read_record(path).data for path in paths]
    kinds = {None if own is None else own["class_path"] for own in found}
    if len(kinds) > 1 or not kinds <= set(KNOWN["data"].values()):
        raise InvalidInput(
            "the checkpoints do not say on which data to report",
            where=", ".join(paths),
            got=", ".join(sorted(str(kind) for kind in kinds)),
            cause="runs of a script, or on different data",
            fix=f"give --data, one of {', '.join(KNOWN['data'])}",
        )
    assert found[0] is not None
    _require_same_options(paths, [own.get("init_args", {}) for own in found if own is not None])
    return found[0]


def _require_same_options(paths: Sequence[str], options: Sequence[dict[str, Any]]) -> None:
    """Raises InvalidInput where runs differ in what is test data: one's may be another's training data."""
    every = dict.fromkeys(name for own in options for name in own if name not in OF_TRAINING)
    different = [name for name in every if any(own.get(name) != options[0].get(name) for own in options)]
    if different:
        raise InvalidInput(
            "the runs of the checkpoints had different data",
            where=", ".join(paths),
            got="; ".join(f"{name}: {', '.join(str(own.get(name)) for own in options)}" for name in different),
            cause="another file, or another seed of the parts",
            fix="report on each, or give --data and its options",
        )


def _sets(data: Any) -> list[Pairs]:
    """Inputs and targets of the test loaders; real targets in their own units."""
    loaders = data.test_dataloader()
    every = [_joined(loader) for loader in (loaders if isinstance(loaders, (list, tuple)) else [loaders])]
    mean, std = getattr(data, "target_mean", None), getattr(data, "target_std", None)
    return [(x, y if mean is None or std is None else y * std + mean) for x, y in every]


def _training(data: Any) -> Any:
    """The training loader; None of real targets, which have no OODScore."""
    if getattr(data, "target_mean", None) is not None:
        return None
    data.setup("fit")
    return data.train_dataloader()


def _joined(loader: Any) -> Pairs:
    x, y = zip(*(batch[:2] for batch in pairs(loader, None, "report, test part of the data")), strict=True)
    return torch.cat(x), torch.cat(y)


def _classes(module: Any) -> Sequence[str] | None:
    return (module.preparation.classes if module.preparation is not None else ()) or None
