"""The notebook: its code runs as it stands, and what it claims comes out; the committed outputs are there and small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "deep_factor_graphs.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


@pytest.fixture
def plain() -> Any:
    """The state of the machine that a notebook changes, put back."""
    threads, backend = torch.get_num_threads(), matplotlib.get_backend()
    matplotlib.use("Agg")
    yield
    plt.close("all")
    matplotlib.use(backend)
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("plain")
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # torch tensors in matplotlib
def test_the_cells_run_and_their_claims_hold() -> None:
    names: dict[str, Any] = {}
    for code in CODE[:2]:
        exec(code, names)
    assert names["network"](names["points"]).mean.argmax(1).tolist() == [0, 0, 1, 1]
    for code in CODE[2:]:
        exec(code, names)
    assert names["error"] < 0.15
    psnr = {name: names["psnr"](image) for name, image in names["results"].items() if name != "clean"}
    assert psnr["learned filters"] > psnr["neighbours alike"] > psnr["noisy"] + 5
    assert names["found"].double().mean() > 0.9
    assert len(plt.get_fignums()) == 4


def test_the_outputs_are_committed_and_small() -> None:
    outputs = [output for cell in CELLS if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    assert all(output["output_type"] != "error" for output in outputs)
    assert NOTEBOOK.stat().st_size < 500_000
