"""`torch-gbp export CKPT --out FILE.onnx`: a trained network with its predictive distribution as an ONNX program."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from lightning_modules.checkpoints import PortableModule, load_module
from torch_gbp.errors import InvalidInput, explain

NEEDED = ("onnx", "onnxscript")


class Exported(nn.Module):
    """What an exported program computes, from values as the training data had them.

    Class probabilities (n, classes), or mean and standard deviation of the targets in their units. Inputs are standardised
    inside. Networks of GBP layers carry moments, as in Python; any other network predicts at the means of its weights, as
    sampling is no fixed program.

    Args:
        module: a trained classifier or regressor.
    """

    network: nn.Module
    input_mean: Tensor | None  # names that no output of the program has
    input_std: Tensor | None
    target_mean: Tensor | None
    target_std: Tensor | None

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.network, self.likelihood = module.model, getattr(module, "likelihood", None)
        prepared = module.preparation
        self.register_buffer("input_mean", None if prepared is None else prepared.mean.float())
        self.register_buffer("input_std", None if prepared is None else prepared.std.float())
        for name in ("target_mean", "target_std"):
            self.register_buffer(name, getattr(module, name, None))

    def forward(self, values: Tensor) -> tuple[Tensor, ...]:
        x = values
        if self.input_mean is not None and self.input_std is not None:
            x = (values - self.input_mean) / self.input_std
        output = self.network(x)
        if self.likelihood is None:
            return (torch.softmax(output, 1),)
        found = self.likelihood.predictive(output)
        if isinstance(found, Categorical):
            return (found.probs,)
        mean, deviation = found.mean, found.stddev
        return (
            (mean, deviation)
            if self.target_std is None
            else (mean * self.target_std + self.target_mean, deviation * self.target_std)
        )


def export_onnx(module: PortableModule, path: str | Path) -> Path:
    """Writes a trained module as an ONNX program for batches of any size; input `values`, outputs as `Exported` says.

    Raises:
        ModuleNotFoundError: packages of torch's exporter are missing.
        InvalidInput: a module that has seen no batch, so that nobody knows the shape of an input.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        fix = f"pip install {' '.join(missing)}"
        raise ModuleNotFoundError(explain("torch's exporter needs more packages", where="export", got=f"no {missing}", fix=fix))
    if module.inputs is None:
        raise InvalidInput(
            "the shape of an input is not known",
            where="export",
            cause="a network that was not trained under Lightning",
            fix="set module.inputs = ((1, 28, 28), 'float32')",
        )
    program, (shape, dtype) = Exported(module.cpu()).eval(), module.inputs
    example = torch.zeros(2, *shape, dtype=getattr(torch, dtype))
    outputs = ["mean", "std"] if len(program(example)) == 2 else ["probabilities"]
    names: dict[str, Any] = {"input_names": ["values"], "output_names": outputs}
    batch = torch.export.Dim("batch", min=1)
    torch.onnx.export(program, (example,), str(path), dynamo=True, verbose=False, dynamic_shapes=({0: batch},), **names)
    return Path(path)


def main(args: list[str]) -> Path:
    """Exports the network of a checkpoint."""
    parser = argparse.ArgumentParser(prog="torch-gbp export", description=__doc__)
    parser.add_argument("checkpoint", help="written by fit")
    parser.add_argument("--out", default="network.onnx", help="(default: %(default)s)")
    options = parser.parse_args(args)
    path = export_onnx(load_module(options.checkpoint), options.out)
    print(f"exported network: {path}")
    return path
