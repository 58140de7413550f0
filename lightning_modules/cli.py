"""The command line: `python -m lightning_modules fit|validate|test|predict`."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from jsonargparse import DefaultHelpFormatter
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.cli import LightningCLI

import lightning_modules  # noqa: F401  the classes that --model and --data find by their short names

DESCRIPTION = """Train and evaluate networks of GBP layers.

  python -m lightning_modules fit --model GBPClassifier --model.model examples.networks.MLP --data MNIST \
--data.data_dir DIR --trainer.max_epochs 1
  python -m lightning_modules test --model GBPClassifier --model.model examples.networks.MLP --data MNIST \
--data.ood [notMNIST] --ckpt_path CKPT

Models: GBPClassifier, GBPRegressor, AdamWClassifier (with --model.model.gbp false), BlockLocalClassifier.
Networks: the path of a class; in a checkout examples.networks.MLP, LeNet5, Conv890k, ConvOnePass, DigitsConv, BlockResNet.
Data: Digits, MNIST, FashionMNIST, CIFAR10, CSV, UCI.
Regression: fit --model GBPRegressor --model.model examples.networks.MLP --model.model.inputs 6
  --model.model.hidden [50] --model.model.outputs 1 --data UCI --data.name yacht --data.data_dir DIR --trainer.max_epochs 100
Blocks, each with a loss of its own: fit --model BlockLocalClassifier --model.model examples.networks.BlockResNet
  --model.model.blocks 4 --data CIFAR10 --data.data_dir DIR --data.crop 4 --data.flip true --trainer.max_epochs 25
Predictions into a file: predict ... --trainer.callbacks PredictionFile --trainer.callbacks.path predictions.pt
"""


class PredictionFile(BasePredictionWriter):
    """Writes what `predict` returns, one entry per batch, to a file that torch.load reads.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        super().__init__(write_interval="epoch")
        self.path = Path(path)

    def write_on_epoch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        torch.save(list(predictions), self.path)


class _KeepLines(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the line breaks of the description."""


def main(args: list[str] | None = None) -> LightningCLI:
    """Runs a command; `args` None takes the process's own arguments.

    Raises:
        SystemExit: the short name of a network that has moved to the examples.
    """
    # All data are in memory, so loader workers would only copy them.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    return LightningCLI(
        lightning.LightningModule,
        lightning.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},  # a test in the folder of its training run must not stop there
        auto_configure_optimizers=False,  # message passing brings its own optimizer
        parser_kwargs=_parser_texts(),
        args=args,
    )


def _parser_texts() -> dict[str, Any]:
    """The program's name, and the description with its examples at the top of every --help."""
    texts = {"description": DESCRIPTION, "formatter_class": _KeepLines}
    return {"prog": "python -m lightning_modules", **texts, **{name: texts for name in ("fit", "validate", "test", "predict")}}
