"""Fixtures of all tests: the seed, and double precision for those who ask for it."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

# the same examples in every run, and no time limit that a busy machine could break
hypothesis.settings.register_profile("repeatable", max_examples=60, deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(autouse=True)
def seed():
    """Seeds torch before every test; printed, so a failure shows it. TEST_SEED=7 pytest ... tries another."""
    number = int(os.environ.get("TEST_SEED", "0"))
    print(f"seed {number} (set TEST_SEED to change it)")
    torch.manual_seed(number)
    return number


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device that is there: the CPU, and a GPU."""
    return torch.device(request.param)


@pytest.fixture
def float64():
    """Double precision as the default dtype of the test, put back afterwards."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch.float64
    torch.set_default_dtype(before)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Calls the command line with further arguments; the rows of the result file."""

    from benchmarks.__main__ import main

    def call(name: str, *arguments: str) -> list[dict[str, Any]]:
        out = tmp_path / f"{name}.json"
        monkeypatch.setattr(sys, "argv", ["benchmarks", name, "--data-dir", str(tmp_path), "--out", str(out), *arguments])
        main()
        return json.loads(out.read_text())["rows"]

    return call
