"""README and docs: their code runs as it stands, their links lead somewhere, and their tables are the committed results."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import torch

from benchmarks import tables
from torch_gbp import functions

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [README, ROOT / "CONTRIBUTING.md", *PAGES]
LARGEST = 8_500  # bytes of a README that is read to its end
TASKS = ROOT / "docs" / "ten_tasks.md"  # each of which stands for itself: tests/docs/test_ten_tasks.py
each_text = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
each_story = pytest.mark.parametrize("path", [path for path in TEXTS if path != TASKS], ids=lambda path: path.name)


def blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


def run(path: Path) -> None:
    """Runs the blocks of a page, one after the other."""
    torch.manual_seed(0)
    names: dict[str, object] = {}
    for block in blocks(path):
        exec(block, names)


def anchors(path: Path) -> set[str]:
    """Names of a page's headings, as in links."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning", "ignore:GPU available but not used"
)
@each_story
def test_code_runs_in_order(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(functions, "_MAPS", dict(functions._MAPS))
    run(path)
    shares = re.findall(r"(?:accuracy|right) (\d\.\d+)", capsys.readouterr().out)  # of test digits
    assert all(float(share) > 0.85 for share in shares)
    assert len(shares) == {"README.md": 2, "getting_started.md": 1, "any_network.md": 1}.get(path.name, 0)


@each_text
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


def resolves(dotted: str) -> bool:
    """Whether a module, or what it holds, has this name."""
    room, _, name = dotted.rpartition(".")
    try:
        return not room or hasattr(importlib.import_module(room), name) or bool(importlib.import_module(dotted))
    except ModuleNotFoundError:
        return bool(room) and resolves(room) and hasattr(importlib.import_module(room), name)


@each_text
def test_every_name_of_the_library_is_there(path: Path) -> None:
    text = path.read_text().replace("gbp.", "torch_gbp.").replace("torch_torch_gbp.", "torch_gbp.")
    names = {name.rstrip(".") for name in re.findall(r"\b(?:torch_gbp|lightning_modules)\.[\w.]+", text)}
    assert [name for name in sorted(names) if not resolves(name) and not (ROOT / name.replace(".", "/")).is_dir()] == []


@each_text
def test_every_file_that_is_named_is_there(path: Path) -> None:
    rooms = ROOT, ROOT / "torch_gbp", *(room for room in (ROOT / "torch_gbp").iterdir() if room.is_dir())
    names = re.findall(r"`([\w/.]+\.(?:py|md|yaml|toml))`", path.read_text())
    assert [name for name in names if not any((room / name).exists() for room in rooms)] == []


@each_text
def test_no_machine_is_named(path: Path) -> None:
    assert not re.search(r"https?://|/home/|/tmp/|/Users/", path.read_text())


def test_the_readme_is_short() -> None:
    assert README.stat().st_size < LARGEST


def test_every_page_is_linked_from_the_readme() -> None:
    assert {f"docs/{page.name}" for page in PAGES} <= set(re.findall(r"\]\(([^)#\s]+)", README.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_made_from_the_committed_results(page: Path) -> None:
    assert tables.fill(page.read_text()) == page.read_text()


def test_the_readme_shows_rows_of_the_results() -> None:
    """Every cell of its table stands in the row of the same net and method; NLL and ECE with a temperature, if there is one."""
    lines = [line.split(" | ") for line in README.read_text().splitlines() if re.search(r"\d passes \| ", line)]
    results = {tuple(line.split(" | ")[:2]): line for line in (ROOT / "docs" / "results.md").read_text().splitlines()}
    assert 4 <= len(lines) <= 6
    for net, method, *cells in lines:
        found = results[net, method].split(" | ")
        accuracy, nll, tempered, ece, tempered_ece = found[2:7]
        numbers = [
            accuracy,
            nll if tempered == "-" else tempered,
            ece if tempered_ece == "-" else tempered_ece,
            found[8],
            found[9],
        ]
        assert [cell.removesuffix(" |") for cell in cells] == numbers
