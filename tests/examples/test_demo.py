"""The demo in small: two passes write every file, with the numbers that the models have."""

import json
import re

import pytest
import torch
from lightning_helpers import IGNORED

from examples.demo import COLUMNS, HELD_OUT, main
from examples.plots import reliability
from lightning_modules import GBPClassifier
from lightning_modules.data import Digits
from lightning_modules.networks import DigitsConv
from torch_gbp import Softmax
from torch_gbp.metrics import calibration_error, classification_scores

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]


def test_demo_writes_scores_figures_and_checkpoint(tmp_path, capsys):
    main(["--out", str(tmp_path / "demo"), "--epochs", "3", "--seed", "1"])
    metrics = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert {name: tuple(scores) for name, scores in metrics.items()} == {"gbp": COLUMNS, "adamw": COLUMNS}
    assert metrics["gbp"]["accuracy"] > 0.85 and metrics["adamw"]["accuracy"] > 0.85
    for figure in ("reliability.png", "predictive.png"):
        assert (tmp_path / "demo" / figure).read_bytes().startswith(b"\x89PNG")
    # The checkpoint is the model of the table.
    saved = torch.load(tmp_path / "demo" / "gbp.ckpt", weights_only=True)
    model = GBPClassifier(DigitsConv(), Softmax())
    model.load_state_dict(saved["state_dict"])
    data = Digits(validation=HELD_OUT, seed=1)  # whose statistics standardised the images
    data.setup()
    x, y = data.parts.test.tensors
    with torch.no_grad():
        scores = classification_scores(model.log_probabilities(x), y)
    assert {name: scores[name] for name in ("accuracy", "nll", "ece")} == pytest.approx(
        {name: metrics["gbp"][name] for name in ("accuracy", "nll", "ece")}, abs=1e-5
    )
    assert re.search(rf"gbp +{metrics['gbp']['accuracy']:.4f}", capsys.readouterr().out)


def test_reliability_sums_to_the_calibration_error():
    probabilities = torch.softmax(3 * torch.randn(200, 5, dtype=torch.float64), 1)
    labels = torch.randint(5, (200,))
    count, accuracy, confidence = reliability(probabilities, labels)
    gaps = torch.where(count > 0, (accuracy - confidence).abs(), 0.0)
    assert float((count / 200 * gaps).sum()) == pytest.approx(calibration_error(probabilities, labels), abs=1e-12)
