"""Reports from the command line: on checkpoints, with the data and the curves of their runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning_helpers import IGNORED, trainer

from lightning_modules import CSV, AdamWClassifier, Digits, GBPClassifier, GBPRegressor
from lightning_modules import report as report_command
from lightning_modules.cli import main
from lightning_modules.networks import MLP, DigitsConv
from lightning_modules.run_curves import read_curves
from torch_gbp.errors import InvalidInput

DATA = {"class_path": "lightning_modules.Digits", "init_args": {"ood": ["shuffled"], "batch_size": 16}}
pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]


def run(module, data, config, logger, passes: int = 2) -> str:
    """Path of the checkpoint of a short run; what was logged is beside it."""
    module.data = config
    quiet = {"logger": logger, "limit_train_batches": 3, "log_every_n_steps": 2, "enable_checkpointing": True}
    trainer(passes, **quiet).fit(module, data)
    logger.finalize("success")
    (path,) = Path(logger.log_dir).rglob("*.ckpt")
    return str(path)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    gbp = run(GBPClassifier(DigitsConv(4)), Digits(batch_size=16), DATA, CSVLogger(folder / "gbp"))
    adamw = run(AdamWClassifier(DigitsConv(4, gbp=False)), Digits(batch_size=16), DATA, TensorBoardLogger(folder / "adamw"))
    return gbp, adamw


def headings(html: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', html)


def test_one_command_reports_on_two_models_on_the_data_of_their_runs(checkpoints, tmp_path, capsys):
    out = tmp_path / "r.html"
    assert main(["report", *checkpoints, f"--out={out}", "--resamples", "3"]) == out
    html = out.read_text()
    assert headings(html) == ["scores", "calibration", "refusing", "examples", "others", "weights", "training"]
    assert "500 examples, 500 shuffled" in html and "Digits: GBPClassifier, AdamWClassifier" in html
    assert "<b>evidence</b>" in html and "<b>rate</b>" in html and str(out) in capsys.readouterr().out


def test_names_titles_and_other_data_are_taken(checkpoints, tmp_path):
    names = ["--name", "ours", "--name=theirs", "--title", "Both"]
    data = ["--data", "Digits", "--data.ood", "[inverted]"]
    html = main(["report", *data, *checkpoints, "--out", str(tmp_path / "r.html"), *names, "--resamples=0"]).read_text()
    assert "<h1>Both</h1>" in html and "500 inverted" in html and "shuffled" not in html
    assert html.count("ours") > 5 and html.count("theirs") > 5


def test_options_change_the_data_of_the_runs(checkpoints, tmp_path):
    changed = ["--data.ood=[blurred]", "--near", "blurred"]
    html = main(["report", checkpoints[0], *changed, "--out", str(tmp_path / "r.html"), "--resamples=0"]).read_text()
    assert "500 blurred" in html and "Other inputs, near" in html


def test_regression_is_reported_in_the_units_of_the_targets(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=generator)
    y = 1000 + 50 * x[:, 0]
    lines = ["a,b,y", *(f"{a:.4f},{b:.4f},{c:.2f}" for (a, b), c in zip(x.tolist(), y.tolist(), strict=True))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    options = {"path": str(tmp_path / "t.csv"), "target": "y"}
    module = GBPRegressor(MLP(2, (8,), 1))
    path = run(module, CSV(**options), {"class_path": "lightning_modules.CSV", "init_args": options}, CSVLogger(tmp_path))
    html = main(["report", path, "--out", str(tmp_path / "r.html"), "--resamples=0"]).read_text()
    assert headings(html)[:4] == ["scores", "bands", "calibration", "surprises"]
    error = float(re.search(r"Off by <b>([\d.]+)</b>", html).group(1))
    assert error < 60  # the targets' deviation is 50; in standardised units they would be 1000 off
    targets = [float(value.replace(",", "")) for value in re.findall(r"<tr><td>\d+</td><td>([\d.]+)</td>", html)]
    assert targets and all(700 < target < 1300 for target in targets)


def test_curves_are_those_that_were_logged(checkpoints):
    for path, names in zip(checkpoints, (["evidence", "rate"], ["evidence"]), strict=True):
        found = read_curves(path)
        assert list(found) == names and all(len(values) == 2 for values in found.values())
        assert found["evidence"][0] < 0 and found["evidence"][1] > found["evidence"][0] - 0.5
    rows = (Path(checkpoints[0]).parent.parent / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/evidence_epoch")
    logged = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert read_curves(checkpoints[0])["evidence"] == logged


BAD = {
    "no such file": lambda own, folder: [str(folder / "none.ckpt")],
    "too few names": lambda own, folder: [*own, "--name", "one"],
    "data of no name": lambda own, folder: [*own, "--data", "Digit"],
    "a near set that is none": lambda own, folder: [*own, "--near", "far"],
    "no checkpoint": lambda own, folder: [_written(folder / "text.ckpt")],
}


def _written(path: Path) -> str:
    path.write_text("text")
    return str(path)


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused_and_nothing_is_written(name, checkpoints, tmp_path):
    with pytest.raises(InvalidInput, match="Way out"):
        main(["report", *BAD[name](checkpoints, tmp_path), "--out", str(tmp_path / "r.html"), "--resamples=0"])
    assert not (tmp_path / "r.html").exists()


def test_a_run_of_a_script_needs_data(tmp_path):
    path = run(GBPClassifier(DigitsConv(4)), Digits(batch_size=16), None, CSVLogger(tmp_path))
    with pytest.raises(InvalidInput, match=r"do not say on which data.*give --data, one of .*Digits"):
        main(["report", path, "--out", str(tmp_path / "r.html")])


def test_two_models_of_one_name_and_runs_on_different_data_are_refused(checkpoints, tmp_path, monkeypatch):
    out = ["--out", str(tmp_path / "r.html"), "--resamples=0"]
    for names in (["--name=a", "--name=a"], []):
        twice = [checkpoints[0], checkpoints[0]] if not names else [*checkpoints]
        with pytest.raises(InvalidInput, match="a name of its own"):
            main(["report", *twice, *names, *out])
    real = report_command.read_record
    changed = {checkpoints[1]: {"init_args": {"seed": 7}}}

    def other_seed(path):
        record = real(path)
        return record if path not in changed else record._replace(data={**record.data, **changed[path]})

    monkeypatch.setattr(report_command, "read_record", other_seed)
    with pytest.raises(InvalidInput, match=r"different data.*seed"):
        main(["report", *checkpoints, *out])
    assert not (tmp_path / "r.html").exists()
