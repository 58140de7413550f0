"""The command line: `torch-gbp fit|validate|test|predict|convert|export|report`, or `python -m lightning_modules`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning_modules import report
from lightning_modules.commands import convert, export, names, predict
from lightning_modules.commands import trainer_runs as runs
from lightning_modules.prediction_files import PredictionFile
from torch_gbp.errors import GBPError, InvalidInput

__all__ = ["DESCRIPTION", "PredictionFile", "main", "run"]

DESCRIPTION = """Train, test and use Bayesian networks of torch_gbp.

  torch-gbp fit --config lenet --data.data_dir DIR              # a shipped configuration: {configs}
  torch-gbp fit --config csv --data.path FILE --data.target COLUMN
  torch-gbp fit --model GBPClassifier --model.model MLP --data MNIST --data.data_dir DIR --trainer.max_epochs 1
  torch-gbp test CKPT                                           # on the data of its run, or with --data
  torch-gbp predict CKPT new.csv --out predictions.csv          # nothing else is needed: no data, no configuration
  torch-gbp convert resnet18 --weights DEFAULT --out resnet18.ckpt
  torch-gbp export CKPT --out network.onnx
  torch-gbp report CKPT OTHER_CKPT --out report.html            # scores and pictures of several models, in one file

Models: {models}.
Networks: {networks}, or the path of a class of your own.
Data: {data}.
Every option of Lightning's trainer is there: --trainer.max_epochs 5. `torch-gbp COMMAND --help` has them all.
""".format(
    configs=", ".join(sorted(file.stem for file in names.CONFIGS.glob("*.yaml"))),
    models=", ".join(names.KNOWN["model"]),
    networks=", ".join(name for name in names.KNOWN["model.model"] if name[0].isupper()),
    data=", ".join(names.KNOWN["data"]),
)
COMMANDS: dict[str, Callable[[list[str]], Any]] = {"convert": convert.main, "export": export.main, "report": report.main}


def main(args: list[str] | None = None) -> Any:
    """Runs a command; `args` None takes the process's own arguments. Returns what the command made.

    Raises:
        GBPError: what is wrong with the arguments or the files.
        SystemExit: after --help, and for options that there are not.
    """
    args = _with_imports(sys.argv[1:] if args is None else args)
    if args and args[0] in COMMANDS:
        return COMMANDS[args[0]](args[1:])
    if len(args) > 1 and args[0] == "predict" and not args[1].startswith("-"):
        return predict.main(args[1:])
    return runs.run(args, DESCRIPTION)


def run() -> None:
    """`main` for the shell: an error is its text, without a traceback."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # classes of one's own, as `python -m` finds them
    try:
        main()
    except GBPError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


def _with_imports(args: list[str]) -> list[str]:
    """Imports the modules that `--import` names, and leaves those options out."""
    rest = list(args)
    while "--import" in rest:
        place = rest.index("--import")
        if place + 1 == len(rest):
            raise InvalidInput("--import names a module", where="torch-gbp", got="nothing", fix="--import my_package.networks")
        import_module(rest[place + 1])
        del rest[place : place + 2]
    return rest
