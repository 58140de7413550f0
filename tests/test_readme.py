"""The README's code runs as it stands, and its tables are the committed results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from benchmarks import tables

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning", "ignore:GPU available but not used"
)
def test_code_blocks_run_in_order(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(block, names)
    accuracy = float(re.findall(r"accuracy (\d\.\d+)", capsys.readouterr().out)[0])
    assert len(BLOCKS) >= 3
    assert accuracy > 0.85


def test_tables_are_made_from_the_committed_results() -> None:
    assert tables.fill(README) == README
    assert "| **torch_gbp** |" in README
