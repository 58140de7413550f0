"""`torch-gbp predict CKPT INPUTS --out FILE`: predictions for files, by a checkpoint alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from lightning_modules.checkpoints import PortableModule, load_module
from lightning_modules.commands.inputs import read_inputs
from lightning_modules.prediction_files import joined, require_format, write_predictions

BATCH = 512  # examples at once


def main(args: list[str]) -> Path:
    """Predicts for the inputs of files and writes what was found; returns the path of that file.

    Raises:
        InvalidInput: as `load_module`, `read_inputs` and `write_predictions`; before anything is written.
    """
    parser = argparse.ArgumentParser(prog="torch-gbp predict", description=__doc__)
    parser.add_argument("checkpoint", help="written by fit or convert")
    parser.add_argument("inputs", nargs="+", help="a .csv, .npy or .pt file, or pictures; values as the training data had them")
    parser.add_argument("--out", default="predictions.csv", help=".csv, or .pt for tensors (default: %(default)s)")
    parser.add_argument("--how", help="moments, samples, linear or means (default: as in the checkpoint)")
    parser.add_argument("--samples", type=int, help="networks drawn from the marginals")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: %(default)s)")
    options = parser.parse_args(args)
    out, module = require_format(options.out), load_module(options.checkpoint)
    _set_way(module, options.how, options.samples)
    x, unused = read_inputs(module, options.inputs)
    if unused:
        print(f"columns that the network does not use: {', '.join(unused)}", file=sys.stderr)
    torch.manual_seed(options.seed)
    write_predictions(out, predictions(module, x), module.preparation.classes if module.preparation else ())
    print(f"{len(x)} predictions: {out}")
    return out


@torch.no_grad()
def predictions(module: PortableModule, x: Tensor) -> dict[str, Tensor]:
    """Predictions of a module for prepared inputs (n, ...), batch by batch."""
    return joined([module.predictions(batch.to(module.device)) for batch in x.split(BATCH)])


def _set_way(module: PortableModule, how: str | None, samples: int | None) -> None:
    for name, value in {"how": how, "samples": samples}.items():
        if value is not None:
            setattr(module, name, value)
