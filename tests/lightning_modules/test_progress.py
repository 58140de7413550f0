"""Progress: one line a pass in logs, with the numbers of the run; a bar on terminals."""

import re

import pytest
import torch
from lightning_helpers import IGNORED, Blobs, trainer
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp
from lightning_modules import GBPClassifier, PassLines

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]


def test_a_line_for_each_pass_of_a_lightning_run(capsys):
    run = trainer(3, callbacks=[PassLines()], enable_progress_bar=True, limit_val_batches=1.0)
    run.fit(GBPClassifier(gbp.GBPLinear(2, 3)), Blobs(validation=0.5))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["pass 1/3", "pass 2/3", "pass 3/3"]
    shown = dict(re.findall(r"(\S+) (-?\d+\.\d{4})", lines[-1]))
    assert set(shown) == {"train/evidence", "val/nll", "val/accuracy"}
    for name in ("val/nll", "val/accuracy"):
        assert float(shown[name]) == pytest.approx(float(run.callback_metrics[name]), abs=5e-5)
    assert float(shown["train/evidence"]) == pytest.approx(float(run.callback_metrics["train/evidence_epoch"]), abs=5e-5)


class Terminal:
    """A stream that says it is one."""

    def __init__(self, terminal):
        self.terminal, self.text = terminal, ""

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.mark.parametrize("terminal", [True, False])
def test_the_trainer_draws_a_bar_on_a_terminal_alone(terminal, monkeypatch):
    stream = Terminal(terminal)
    monkeypatch.setattr("sys.stderr", stream)
    x = torch.randn(40, 2)
    loader = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 8)
    run = gbp.Trainer(gbp.GBPLinear(2, 2), gbp.Softmax(), epochs=2)
    history = run.fit(loader, loader)
    if terminal:
        assert "it/s]" in stream.text and "\r" in stream.text and "pass 2/2  " not in stream.text
        return
    lines = stream.text.splitlines()
    found = history[-1]
    expected = (found.log_evidence, found.validation.log_evidence, found.validation.accuracy)
    text = "pass 2/2  log evidence {:.4f}  validation {:.4f}  accuracy {:.4f}  ".format(*expected)
    assert len(lines) == 2 and lines[-1].startswith(text)


def test_no_progress_writes_nothing(capsys):
    x = torch.randn(40, 2)
    loader = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 8)
    gbp.Trainer(gbp.GBPLinear(2, 2), gbp.Softmax(), epochs=2, progress=False).fit(loader)
    assert capsys.readouterr() == ("", "")
