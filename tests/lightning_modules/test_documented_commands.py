"""Every line `torch-gbp ...` of README and docs runs, with few examples and passes."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_helpers import IGNORED, write_image_sets

from lightning_modules.cli import main

DEPRECATED = "ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"  # Lightning calls a function that will go away
ELSEWHERE = "ignore:The dirpath has changed from", "ignore:Checkpoint directory", "ignore:.*eval mode at the start of training"
EXPORTER = "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning:torch"
pytestmark = [pytest.mark.filterwarnings(text) for text in (*IGNORED, DEPRECATED, *ELSEWHERE, *EXPORTER)]

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCKS = [block for page in PAGES for block in re.findall(r"```\w*\n(.*?)```", page.read_text(), re.DOTALL)]
LINES = sorted({line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.startswith("torch-gbp ")})
FEW = ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
QUICK = [*FEW, "--trainer.max_epochs=1", "--trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files that the documentation talks of."""
    folder = tmp_path_factory.mktemp("user")
    write_image_sets(folder)
    generator = np.random.default_rng(0)
    values = generator.normal(size=(60, 2)).round(3)
    price = "".join(f"{a},{b},{a + b}\n" for a, b in values)
    species = "".join(f"{a},{b},{'iris' if a > b else 'rose'}\n" for a, b in values)
    for name, header, rows in (("houses", "price", price), ("flowers", "species", species), ("later", "species", species)):
        (folder / f"{name}.csv").write_text(f"width,length,{header}\n{rows}")
    (folder / "new.csv").write_text("width,length\n" + "".join(f"{a},{b}\n" for a, b in values[:5]))
    torch.save(torch.randint(0, 17, (4, 1, 8, 8), dtype=torch.uint8), folder / "images.pt")
    return folder


@pytest.fixture(scope="module")
def checkpoints(folder):
    """Of a table of classes, and of images; and a converted network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["torch-gbp"])
        for name, options in {
            "flowers": ["--config=csv_classes", "--data.path=flowers.csv", "--data.target=species"],
            "digits": ["--config=lenet", "--data=Digits"],
        }.items():
            run = main(["fit", *options, *QUICK, "--trainer.logger=false"])
            run.trainer.save_checkpoint(folder / f"{name}.ckpt")
        main(["convert", "lightning_modules.networks.lenet5", "--init", '{"in_shape": [3, 32, 32]}', "--out", "resnet18.ckpt"])
    return folder


def test_there_are_such_lines():
    commands = {line.split()[1] for line in LINES}
    assert commands == {"fit", "test", "predict", "convert", "export", "report"}


@pytest.mark.parametrize("line", LINES)
def test_it_runs(line, checkpoints, monkeypatch, capsys):
    monkeypatch.chdir(checkpoints)
    monkeypatch.setattr("sys.argv", ["torch-gbp"])
    checkpoint = "digits.ckpt" if "Digits" in line or "images.pt" in line or "report" in line else "flowers.ckpt"
    line = line.replace("DIR", ".").replace("CKPT", checkpoint).replace("convert resnet18", "convert squeezenet1_1")
    _, *args = shlex.split(line)
    if "--last_layer" in args:
        args[1:4] = ["resnet18", *args[2:4]]  # the last layer must be linear
    if args[0] == "fit":
        args += [*QUICK, "--trainer.logger=false"]
        args += ["--data.download=false"] if "--data.data_dir" in args else []
        args += ["--data.accept_altered=true"] if "CIFAR10" in args else []
    if args[0] == "report":
        args += ["--resamples=2"]
    main(args)
    if "--out" in args:
        assert Path(args[args.index("--out") + 1]).stat().st_size > 0
