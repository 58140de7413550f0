"""The page on the command line: its commands run as they stand, one after the other, and its configuration is the shipped one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from lightning_helpers import IGNORED

from lightning_modules import cli

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "command_line.md").read_text()


def block(language: str) -> str:
    """The one block of a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return found


@pytest.mark.filterwarnings(
    *IGNORED,
    "ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning",  # Lightning calls a function that will go away
    "ignore:The dirpath has changed from",  # the checkpoint is read by another run than the one that wrote it
    "ignore:.*LeafSpec:FutureWarning",
)
def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(block("python"), {})
    for line in block("sh").splitlines():
        program, *arguments = shlex.split(line)
        saved = map(str, Path("lightning_logs").glob("version_0/checkpoints/*.ckpt"))
        if program == "torch-gbp":
            cli.main([next(saved) if argument == "$CKPT" else argument for argument in arguments])
    header, *rows = Path("predictions.csv").read_text().split()
    assert header.startswith("mean,std") and len(rows) == 5
    assert Path("network.onnx").exists()
    assert torch.load("resnet18.ckpt", weights_only=True)


def test_the_configuration_is_the_shipped_one() -> None:
    assert yaml.safe_load(block("yaml")) == yaml.safe_load((ROOT / "lightning_modules/configs/lenet.yaml").read_text())
