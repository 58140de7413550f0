"""Both packages read from left to right: no module imports one that stands after it in the reading order."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GROUND = ("errors", "autocast", "functions", "gaussian", "modules", "memory", "batches", "foreach")
ORDER = (
    *GROUND, "weights", "autograd", "factors",
    "layers", "bases", "likelihoods", "metrics",
    "optim", "inference", "predictive", "denoise", "convert", "progress", "trainer", "local", "decide", "continual",
    "__init__",
    "evaluation", "reporting", "sklearn",
)  # fmt: skip
LIGHTNING = (
    "requirements", "preparation", "networks", "checkpoints", "data",
    "training_checks", "classifier_evaluation", "gbp_module", "baseline", "block_local_classifier", "classifier", "regressor",
    "denoiser", "calibrate", "learn_priors", "next_task", "progress", "run_curves", "prediction_files",
    "__init__", "commands", "report", "cli", "__main__",
)  # fmt: skip
ORDERS = {"torch_gbp": ORDER, "lightning_modules": LIGHTNING}
CORE = {"torch", "tqdm"}
OPTIONAL = {  # rooms that stand on the whole of torch_gbp, and what each may import besides; `import torch_gbp` does without
    "evaluation": set(),
    "reporting": {"numpy", "matplotlib"},
    "sklearn": {"numpy", "sklearn"},
}
ARROWS, LONGEST = 48, 250  # from room to room of the core, the ground that all stand on left out; lines of a file
FILES = sorted((ROOT / "torch_gbp").rglob("*.py"))
ALL = FILES + sorted((ROOT / "lightning_modules").rglob("*.py"))


def place(file: Path) -> int:
    """Position of a file's top-level module in the reading order of its package."""
    package, top, *_ = file.relative_to(ROOT).parts
    return ORDERS[package].index(top.removesuffix(".py"))


def module(file: Path) -> str:
    """A file as it is imported."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(file: Path) -> set[str]:
    """Files of both packages that a file imports; of a room its own file, through which nobody inside goes."""
    known, found = {module(own) for own in ALL}, set()
    parsed = ast.parse(file.read_text())
    parsed.body = [node for node in parsed.body if not isinstance(node, ast.If)]  # what is imported for the types alone
    for node in ast.walk(parsed):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(tuple(ORDERS)):
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= inside or {node.module or ""}
    return found


def own_imports(file: Path) -> set[str]:
    """Top-level modules of its own package that a file imports, inside of functions too."""
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    package = file.relative_to(ROOT).parts[0]
    whole = {alias.name for node in nodes if node.module == package for alias in node.names} & set(ORDERS[package])
    return whole | {(node.module or "").split(".")[1] for node in nodes if (node.module or "").startswith(f"{package}.")}


@pytest.mark.parametrize("file", ALL, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_imports_to_its_right(file: Path) -> None:
    order = ORDERS[file.relative_to(ROOT).parts[0]]
    assert all(order.index(name) <= place(file) for name in own_imports(file))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_torch_tqdm_the_standard_library_and_a_rooms_own_packages_alone(file: Path) -> None:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
    tops = {name.split(".")[0] for name in names}
    own = OPTIONAL.get(ORDER[place(file)], set())
    assert tops <= {"torch_gbp", *CORE, *own, *sys.stdlib_module_names}


def test_rooms_know_few_of_the_others() -> None:
    inside = [file for file in FILES if ORDER[place(file)] not in {"__init__", *GROUND, *OPTIONAL}]
    arrows = {(ORDER[place(file)], name) for file in inside for name in own_imports(file) - set(GROUND)}
    assert sum(room != name for room, name in arrows) <= ARROWS


def test_files_have_one_idea() -> None:
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in ALL}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_no_file_imports_itself_by_way_of_others() -> None:
    """A topological order of the files exists."""
    TopologicalSorter({module(file): imported(file) - {module(file)} for file in ALL}).prepare()


def test_the_core_stands_without_the_packages_of_the_extras() -> None:
    code = "import sys, torch_gbp; print(sorted({'lightning', 'torchvision', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_no_function_of_a_later_room_is_hidden_by_the_room_itself() -> None:
    import torch_gbp

    assert not set(torch_gbp._LATER) & set(ORDER)
    assert set(torch_gbp._LATER.values()) <= set(OPTIONAL)


def test_the_public_names_are_all_there_and_documented() -> None:
    import torch_gbp

    assert all((getattr(torch_gbp, name).__doc__ or "").strip() for name in torch_gbp.__all__)
