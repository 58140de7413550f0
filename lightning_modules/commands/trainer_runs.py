"""fit, validate, test and predict by Lightning's own command line, with what torch_gbp adds to it."""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from pydoc import locate
from tempfile import TemporaryDirectory
from typing import Any

import lightning
import yaml
from jsonargparse import DefaultHelpFormatter
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningCLI

from lightning_modules.checkpoints import load_module, read_record
from lightning_modules.commands.names import KNOWN, resolved
from lightning_modules.data import TensorDataModule
from lightning_modules.progress import PassLines
from torch_gbp.errors import GBPError, InvalidInput
from torch_gbp.progress import redraws

RUNS = ("fit", "validate", "test", "predict")


class TrainerRuns(LightningCLI):
    """Lightning's command line: networks take the sizes of the data, logs get a line a pass, checkpoints know their data."""

    def before_instantiate_classes(self) -> None:
        """Gives the network the sizes of the data where the configuration has none; the saved configuration has them then."""
        data, model = (self._get(self.config, name) for name in ("data", "model"))
        network = _network(model)
        if network is not None and data is not None and data.class_path in KNOWN["data"].values():
            source = locate(data.class_path)(**data.init_args.as_dict())  # type: ignore[operator]
            for name, size in _sizes(source).items():
                if name in network and network[name] is None:
                    network[name] = size

    def after_instantiate_classes(self) -> None:
        chosen = self._get(self.config, "data")
        if chosen is not None and hasattr(self.model, "data"):
            self.model.data = {"class_path": chosen.class_path, "init_args": chosen.get("init_args", {})}
            self.model.data = yaml.safe_load(yaml.safe_dump(_plain(self.model.data)))

    def instantiate_trainer(self, **kwargs: Any) -> lightning.Trainer:
        given = self._get(self.config_init, "trainer")
        bars = any(isinstance(one, ProgressBar) for one in given.get("callbacks") or [])
        if given.get("enable_progress_bar") is not False and not bars and not redraws(sys.stdout):
            self.trainer_defaults = {**self.trainer_defaults, "callbacks": [PassLines()]}
        return super().instantiate_trainer(**kwargs)

    def test(self, verbose: bool = True, **options: Any) -> None:
        """Lightning's table repeats scores of the first test set in the columns of the others; here every score is said once."""
        self.scores = self.trainer.test(verbose=False, **options)[0]
        if verbose and self.trainer.is_global_zero:
            print(scores_table(self.scores))


def scores_table(scores: Mapping[str, float]) -> str:
    """A line for each score.

    >>> print(scores_table({"test/accuracy": 0.987654321, "test/nll": 12.0}))
    test/accuracy   0.98765
    test/nll             12
    """
    width = max(map(len, scores), default=0)
    return "\n".join(f"{name:<{width}}{float(value):>10.5g}" for name, value in scores.items())


def _network(model: Any) -> Any:
    """The arguments of the network in a module's configuration, or of the one that is converted; None where there are none."""
    network: Any = None if model is None else model.get("init_args.model")
    inside: Any = network
    while hasattr(inside, "init_args"):
        network, inside = inside, inside.get("init_args.network")
    return getattr(network, "init_args", None)


def _sizes(data: TensorDataModule) -> dict[str, Any]:
    """Values for the usual names of sizes."""
    inputs, outputs = data.shape, data.outputs
    return {"in_shape": list(inputs), "inputs": math.prod(inputs), "classes": outputs, "outputs": outputs}


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
    try:
        return TrainerRuns(
            model,
            lightning.LightningDataModule,
            subclass_mode_data=True,
            seed_everything_default=0,
            auto_configure_optimizers=False,  # message passing brings its own optimizer
            parser_kwargs=_parser_texts(description),
            args=args,
            **options,
        )
    except ValueError as error:
        raise _own(error) from error


def _own(error: BaseException) -> BaseException:
    """The named error that a parser has wrapped in its own, or that one."""
    inside: BaseException | None = error
    while inside is not None and not isinstance(inside, GBPError):
        inside = inside.__cause__ or inside.__context__
    return inside or error


def _parser_texts(description: str) -> dict[str, Any]:
    """The program's name, and the description with its examples at the top of every --help."""
    texts = {"description": description, "formatter_class": _KeepLines}
    return {"prog": "torch-gbp", **texts, **{name: texts for name in RUNS}}
