"""The wheel in an environment that holds torch, tqdm and what these two require, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
TRAINING = """
import torch, torch_gbp as gbp
torch.manual_seed(0)
x = torch.randn(64, 3)
y = (x.sum(1) > 0).long()
model = torch.nn.Sequential(gbp.GBPLinear(3, 8), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(8, 2))
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 8)
trainer = gbp.Trainer(model, gbp.Softmax(), epochs=8, progress=False)
trainer.fit(data)
print(gbp.__file__, float((trainer.predict(x).probs.argmax(1) == y).double().mean()))
"""


def required(name: str, found: set[str]) -> set[str]:
    """A distribution and all that it requires, transitively, of what is installed."""
    if name in found:
        return found
    try:
        lines = distribution(name).requires or []
    except PackageNotFoundError:  # required on another platform only
        return found
    found.add(name)
    for line in lines:
        if "extra ==" not in line:
            required(re.split(r"[^\w.-]", line, maxsplit=1)[0], found)
    return found


def link(names: set[str], folder: Path) -> None:
    """Links the top-level files and folders of installed distributions into a folder of packages."""
    for name in names:
        own = distribution(name)
        for top in {file.parts[0] for file in own.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(own.locate_file(top))).resolve())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built without network."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], cwd=ROOT, check=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, torch and tqdm."""
    home = tmp_path_factory.mktemp("empty")
    venv.create(home, symlinks=True)
    packages = next(home.glob("lib/python*/site-packages"))
    link(required("torch", set()) | required("tqdm", set()), packages)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    return home / "bin" / "python"


def run(python: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, "-I", "-c", code], cwd=python.parent, capture_output=True, text=True)


def test_the_wheel_holds_the_two_packages_and_no_tests(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"torch_gbp", "lightning_modules"}
    assert {"torch_gbp/py.typed", "torch_gbp/trainer.py", "lightning_modules/cli.py"} <= set(names)


def test_the_wheel_requires_torch_and_tqdm_alone(wheel: Path) -> None:
    metadata = next(name for name in ZipFile(wheel).namelist() if name.endswith("METADATA"))
    lines = ZipFile(wheel).read(metadata).decode().splitlines()
    needed = [line.split(": ")[1] for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert sorted(re.split(r"\W", line)[0] for line in needed) == ["torch", "tqdm"]


def test_a_network_trains_where_nothing_else_is_installed(python: Path) -> None:
    found = run(python, TRAINING)
    assert found.returncode == 0, found.stderr
    path, accuracy = found.stdout.split()
    assert str(python.parent.parent) in path
    assert float(accuracy) > 0.9


def test_the_wheel_holds_networks_and_configurations(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    assert {"lightning_modules/configs/lenet.yaml", "lightning_modules/networks/classic.py"} <= names


def test_the_console_script_says_what_is_missing(python: Path) -> None:
    script = python.parent / "torch-gbp"
    found = subprocess.run([script, "fit", "--config", "lenet"], cwd=python.parent, capture_output=True, text=True)
    assert found.returncode == 1
    text = "packages of the extra `lightning` are not installed (in lightning_modules). Got: no lightning"
    assert text in found.stderr
    assert "pip install 'torch-gbp[lightning]'" in found.stderr and "Traceback" not in found.stderr


def test_lightning_modules_say_what_is_missing(python: Path) -> None:
    found = run(python, "import lightning_modules")
    assert found.returncode == 1
    assert "no lightning, torchvision" in found.stderr
    assert "Way out: pip install 'torch-gbp[lightning]'" in found.stderr.replace("\n", " ")
