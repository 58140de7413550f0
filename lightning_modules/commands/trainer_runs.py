"""fit, validate, test and predict by Lightning's own command line, with what torch_gbp adds to it."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from pydoc import locate
from tempfile import TemporaryDirectory
from typing import Any

import lightning
import yaml
from jsonargparse import DefaultHelpFormatter
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lightning_modules.checkpoints import load_module, read_record
from lightning_modules.commands.names import KNOWN, chosen, resolved
from lightning_modules.data import TensorDataModule
from lightning_modules.progress import PassLines, on_terminal
from torch_gbp.errors import InvalidInput

_NETWORKS = ("model.model", "model.model.network")  # keys of classes that may take sizes from the data
RUNS = ("fit", "validate", "test", "predict")


class TrainerRuns(LightningCLI):
    """Lightning's command line: networks take the sizes of the data, logs get a line a pass, checkpoints know their data."""

    def __init__(self, *args: Any, classes: Mapping[str, str], **options: Any) -> None:
        self._classes = classes
        super().__init__(*args, **options)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for key in _NETWORKS:
            if key in self._classes and "like" in signature(locate(self._classes[key])).parameters:  # type: ignore[arg-type]
                target = key.replace(".", ".init_args.") + ".init_args.like"
                parser.link_arguments("data", target, compute_fn=_sized, apply_on="instantiate")

    def after_instantiate_classes(self) -> None:
        chosen = self._get(self.config, "data")
        if chosen is not None and hasattr(self.model, "data"):
            self.model.data = {"class_path": chosen.class_path, "init_args": chosen.get("init_args", {})}
            self.model.data = yaml.safe_load(yaml.safe_dump(_plain(self.model.data)))

    def instantiate_trainer(self, **kwargs: Any) -> lightning.Trainer:
        given = self._get(self.config_init, "trainer")
        bars = any(isinstance(one, ProgressBar) for one in given.get("callbacks") or [])
        if given.get("enable_progress_bar") is not False and not bars and not on_terminal():
            self.trainer_defaults = {**self.trainer_defaults, "callbacks": [PassLines()]}
        return super().instantiate_trainer(**kwargs)


def _sized(data: Any) -> Any:
    return data if isinstance(data, TensorDataModule) else None


def _plain(value: Any) -> Any:
    """Mappings as dicts, and what YAML does not know as text."""
    if hasattr(value, "as_dict"):
        value = value.as_dict()
    if isinstance(value, dict):
        return {key: _plain(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inside) for inside in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


class _KeepLines(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the line breaks of the description."""


def run(args: list[str], description: str) -> LightningCLI:
    """Runs one of `RUNS`; the module is that of the options, or of a checkpoint: `test CKPT ...`.

    Raises:
        InvalidInput: unknown names of classes or configurations; `test CKPT` without data where the checkpoint knows of none.
    """
    # All data are in memory, so loader workers would only copy them.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")  # they are the process's own, with names made paths
    if len(args) > 1 and args[0] in ("test", "validate") and not args[1].startswith("-"):
        return _of_checkpoint(args[0], args[1], resolved(args[2:]), description)
    options = {"save_config_kwargs": {"overwrite": True}}  # a test in the folder of its training run must not stop there
    return _command_line(lightning.LightningModule, resolved(args), description, subclass_mode_model=True, **options)


def _of_checkpoint(command: str, path: str, options: list[str], description: str) -> LightningCLI:
    """Tests the module of a checkpoint, on the data of its run where none are given."""
    with TemporaryDirectory() as folder:
        config = Path(folder) / "data.yaml"
        config.write_text(yaml.safe_dump({} if _gives_data(options) else {"data": _data_of(path)}))
        args = [command, f"--config={config}", f"--model.source={path}", *options]
        return _command_line(of_checkpoint, args, description, save_config_callback=None)


def of_checkpoint(source: str) -> lightning.LightningModule:
    """The module of a checkpoint.

    Args:
        source: its path.
    """
    return load_module(source)


def _gives_data(options: list[str]) -> bool:
    return any(option.split("=")[0] in ("--data", "--config", "-c") for option in options)


def _data_of(path: str) -> dict[str, Any]:
    data = read_record(path).data
    if data is None or data["class_path"] not in KNOWN["data"].values():
        raise InvalidInput(
            "the checkpoint does not say on which data to test",
            where=path,
            got="no data module" if data is None else data["class_path"],
            cause="a run of a script, or data of your own",
            fix=f"give --data, one of {', '.join(KNOWN['data'])}",
        )
    return data


def _command_line(model: Any, args: list[str], description: str, **options: Any) -> LightningCLI:
    return TrainerRuns(
        model,
        lightning.LightningDataModule,
        subclass_mode_data=True,
        seed_everything_default=0,
        auto_configure_optimizers=False,  # message passing brings its own optimizer
        parser_kwargs=_parser_texts(description),
        args=args,
        classes=chosen(args),
        **options,
    )


def _parser_texts(description: str) -> dict[str, Any]:
    """The program's name, and the description with its examples at the top of every --help."""
    texts = {"description": description, "formatter_class": _KeepLines}
    return {"prog": "torch-gbp", **texts, **{name: texts for name in RUNS}}
