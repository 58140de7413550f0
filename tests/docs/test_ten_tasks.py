"""The tasks of a newcomer: each runs as it stands on the page, alone, from an empty folder, and does what it is for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch.testing import assert_close

PAGE = Path(__file__).parent.parent.parent / "docs" / "ten_tasks.md"
TASKS = re.findall(r"^## \d+\. (.*?)\n.*?```python\n(.*?)```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
MOST = 15  # lines
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:GPU available but not used"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # of torch's exporter
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the task whose title has these words; its variables."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)

    def task(words: str) -> dict[str, Any]:
        (code,) = (code for title, code in TASKS if words in title)
        names: dict[str, Any] = {"__name__": "task"}
        exec(code, names)
        return names

    return task


def test_there_are_ten_of_them_and_each_is_short() -> None:
    assert len(TASKS) == 10
    assert [title for title, code in TASKS if sum(bool(line.strip()) for line in code.splitlines()) > MOST] == []


def test_classify_a_csv(run: Any) -> None:
    names = run("Classify")
    assert names["model"].score(names["x"][120:], names["y"][120:]) > 0.85
    assert (names["epistemic"] >= 0).all() and names["aleatoric"].shape == (58,)


def test_regress_a_csv(run: Any) -> None:
    names = run("Regress")
    held = np.mean((names["low"] < names["y"][342:]) & (names["y"][342:] < names["high"]))
    assert 0.8 < held < 1 and (names["deviation"] > 0).all()


def test_convert_a_resnet(run: Any) -> None:
    names = run("ResNet")
    assert names["found"].probs.shape == (8, 10) and (names["found"].epistemic > 0).all()


def test_report_with_other_inputs(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run("Report")
    assert float(capsys.readouterr().out.split()[0]) > 0.8
    page = Path("report.html").read_text()
    assert page.startswith("<!doctype html>") and "noise" in page and len(page) < 5_000_000


def test_go_on_without_the_old_data(run: Any) -> None:
    names = run("without the old ones")
    for marginal in names["gbp"].marginals(names["model"]).values():
        assert_close(marginal.prior_message().belief().mean, marginal.mean.detach())


def test_choose_what_to_label(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names = run("label next")
    worth = names["pool"].epistemic
    assert worth.topk(10).indices.tolist() == [int(number) for number in re.findall(r"\d+", capsys.readouterr().out)]


def test_resume_as_if_nothing_had_happened(run: Any) -> None:
    names, never = run("resume"), {}
    (code,) = (code for title, code in TASKS if "resume" in title)
    torch.manual_seed(0)
    exec(code.replace("step == 8", "False"), never)
    assert_close(names["model"].state_dict(), never["model"].state_dict(), rtol=0, atol=0)
    assert Path("run.pt").exists() and names["optimizer"].param_groups[0]["steps"] == 16


def test_predict_from_a_checkpoint(run: Any) -> None:
    names = run("checkpoint")
    x = torch.randn(3, 1, 8, 8)
    trained = names["trainer"].lightning_module
    assert trained is not names["model"]
    assert_close(names["model"].predict(x).probs, trained.predict(x).probs, rtol=0, atol=0)


def test_export_to_onnx(run: Any) -> None:
    names = run("ONNX")
    session = onnxruntime.InferenceSession("network.onnx")
    x = torch.randn(5, 8)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    expected = names["gbp"].predict(names["trained"], names["gbp"].Softmax(), x).probs
    assert_close(torch.as_tensor(found), expected, rtol=1e-4, atol=1e-5)


def test_fit_the_last_layer(run: Any) -> None:
    names = run("last layer")
    found = names["gbp"].predict(names["head"], names["trainer"].likelihood, names["features"])
    assert (found.probs.argmax(1) == names["labels"]).double().mean() > 0.8
