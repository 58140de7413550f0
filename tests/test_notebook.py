"""The notebooks: their code runs as it stands, and what they claim comes out; the committed outputs are there and small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
PICTURES = 4  # of each notebook


def cells(name: str) -> list[dict[str, Any]]:
    """The cells of a notebook that hold code."""
    found = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def run(names: dict[str, Any], code: list[dict[str, Any]]) -> dict[str, Any]:
    """Executes cells with these variables, which they add to."""
    for cell in code:
        exec("".join(cell["source"]), names)
    return names


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
def test_the_factor_graphs_do_what_the_notebook_says() -> None:
    code = cells("deep_factor_graphs")
    names = run({}, code[:2])
    assert names["outputs"].argmax(1).tolist() == [0, 0, 1, 1]
    run(names, code[2:])
    assert names["error"] < 0.15
    psnr = {name: names["psnr"](image) for name, image in names["results"].items() if name != "clean"}
    assert psnr["learned filters"] > psnr["neighbours alike"] > psnr["noisy"] + 5
    assert names["found"].double().mean() > 0.9
    assert len(plt.get_fignums()) == PICTURES


@pytest.mark.usefixtures("plain")
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # torch tensors in matplotlib
def test_the_blocks_learn_what_the_notebook_says() -> None:
    names = run({}, cells("block_local_learning"))
    assert min(names["curves"][-1]) > 0.95 and names["accuracy"] > 0.95
    alpha, beta = (names[name].flatten() for name in ("alpha", "beta"))
    assert torch.corrcoef(torch.stack([alpha, beta]))[0, 1] > 0.9
    memory = names["memory"]
    assert len(memory) == 4 and all(memory[f"block {k}"] < memory["backpropagation"] for k in (1, 2, 3))
    digits, inverted = names["shown"]["message-passing head"]
    assert inverted.median() > digits.median() + 0.5
    assert len(plt.get_fignums()) == PICTURES


@pytest.mark.usefixtures("plain")
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # torch tensors in matplotlib
def test_the_converted_network_does_what_the_notebook_says() -> None:
    names = run({}, cells("convert_pretrained"))
    scores, curves = names["scores"], names["curves"]
    assert abs(scores["converted"]["NLL"] - scores["pretrained"]["NLL"]) < 0.01
    assert curves["message passing"][-1] < 0.9 * scores["pretrained"]["NLL"]
    assert scores["message passing"]["NLL"] < scores["AdamW"]["NLL"]
    rival = scores["AdamW, temperature"]
    assert abs(scores["message passing"]["NLL"] - rival["NLL"]) < 0.02
    assert scores["message passing"]["accuracy"] > rival["accuracy"] - 0.01
    assert names["first"] >= 0.7 * names["wrong"].sum()
    assert min(names["told"].values()) > 0.85
    assert len(plt.get_fignums()) == PICTURES


@pytest.mark.usefixtures("plain")
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # torch tensors in matplotlib
def test_the_first_steps_do_what_the_notebook_says() -> None:
    names = run({}, cells("first_steps"))
    assert min(names["by_hand"][-1], names["history"][-1].log_evidence) > -0.3
    assert names["right"] > 0.9 and names["pruned"] > names["right"] - 0.02
    epistemic, aleatoric = zip(*names["doubts"], strict=True)
    assert epistemic[0] > 2 * epistemic[1] > 4 * epistemic[2] and aleatoric[-1] > 0.1
    assert len(plt.get_fignums()) == PICTURES


@pytest.mark.usefixtures("plain")
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # torch tensors in matplotlib
def test_calibration_and_other_images_are_as_the_notebook_says() -> None:
    names = run({}, cells("calibration_and_ood"))
    plain, adamw, calibrated, tempered = names["cards"]
    for before, after in ((plain, calibrated), (adamw, tempered)):
        assert after["cls/NLL"].value < before["cls/NLL"].value and after["cal/ECE"].value < before["cal/ECE"].value
    near, far = "ood_near/AUROC_entropy", "ood_far/AUROC_entropy"
    assert abs(calibrated[near].value - tempered[near].value) < 0.04 and calibrated[near].value > 0.75
    assert tempered[far].value > calibrated[far].value > 0.75
    assert len(plt.get_fignums()) == PICTURES


@pytest.mark.usefixtures("plain")
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # torch tensors in matplotlib
def test_error_bars_mean_what_the_notebook_says() -> None:
    names = run({}, cells("regression"))
    assert 0.8 < float(names["likelihood"].target_noise_variance.sqrt()) < 1.4 and names["doubts"][1] > 1.2 * names["doubts"][0]
    assert max(abs(told / true - 1) for told, true in zip(names["told"], names["true"], strict=True)) < 0.25
    ours, process, ridge = names["cards"].values()
    for rival in (process, ridge):
        assert all(abs(ours[key].value - rival[key].value) < 2 * rival[key].error for key in ("reg/RMSE", "reg/NLL", "reg/CRPS"))
    assert abs(ours["cal/Cov_90"].value - 0.9) < 0.04
    assert len(plt.get_fignums()) == PICTURES


@pytest.mark.usefixtures("plain")
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # torch tensors in matplotlib
def test_tasks_that_come_in_order_are_kept_as_the_notebook_says() -> None:
    names = run({}, cells("continual_learning"))
    assert names["average"]["torch_gbp"] > names["average"]["AdamW"] + 0.1
    assert names["growth"] == sorted(names["growth"]) and names["growth"][-1] > 10
    assert names["late"][0.1] > names["late"][0.0] + 0.1
    assert min(names["told"].values()) > 0.85
    before, is_new = names["before"].epistemic, names["is_new"]
    assert before[is_new].median() > 3 * before[~is_new].median()
    assert len(plt.get_fignums()) == PICTURES


@pytest.mark.parametrize("name", sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")))
def test_the_outputs_are_committed_and_small(name: str) -> None:
    outputs = [output for cell in cells(name) for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == PICTURES
    assert all(output["output_type"] != "error" for output in outputs)
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < 500_000
