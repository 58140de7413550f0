"""The demo in small: a few passes write every file, with the numbers that the models have; its data are what it says."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from lightning_helpers import IGNORED
from PIL import Image
from sklearn.datasets import load_digits

from examples.demo import ANSWERED, COLUMNS, main, story, table
from examples.demo_data import ANGLE, HELD_OUT, KINDS, LABELLED, NOISE, OTHER_SETS, OTHERS, HardDigits, letters, turn
from examples.demo_rivals import FINAL, TAIL
from examples.demo_training import NAMES, RATE, train
from examples.plots import Lane, plot_knowledge
from lightning_modules import GBPClassifier
from torch_gbp.metrics import classification_scores

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]


@pytest.fixture(scope="module")
def data():
    made = HardDigits(seed=1)
    made.setup()
    return made


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Its folder and what it prints."""
    folder = tmp_path_factory.mktemp("runs") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *parts, **_: lines.append(" ".join(map(str, parts))))
        patch.setattr("examples.demo.RESAMPLES", 3)
        main(["--out", str(folder), "--epochs", "6", "--seed", "1"])
    return folder, "\n".join(lines)


def test_it_writes_scores_picture_report_and_checkpoint(demo, data):
    folder, printed = demo
    metrics = json.loads((folder / "metrics.json").read_text())
    assert list(metrics) == list(NAMES)
    for own in metrics.values():
        assert set(own) == {*COLUMNS, "answered", "wrong", "seconds"}
        assert list(own["answered"]) == [*KINDS, *OTHER_SETS] and list(own["wrong"]) == list(KINDS)
    assert metrics["gbp"]["accuracy"][0] > 0.6
    # The checkpoint is the model of the table, and needs nothing else.
    x, y = data.parts.test.tensors
    with torch.no_grad():
        scores = classification_scores(GBPClassifier.load_from_checkpoint(folder / "gbp.ckpt").eval().log_probabilities(x), y)
    assert {name: scores[name] for name in ("accuracy", "nll", "ece")} == pytest.approx(
        {name: metrics["gbp"][name][0] for name in ("accuracy", "nll", "ece")}, abs=1e-5
    )
    assert table(metrics) in printed and story(metrics) in printed
    assert np.asarray(Image.open(folder / "knowledge.png")).std() > 20


def test_its_report_has_all_sections(demo):
    html = (demo[0] / "report.html").read_text()
    sections = re.findall(r'<section id="(\w+)"', html)
    assert sections == ["scores", "calibration", "refusing", "examples", "others", "weights", "training"]
    assert all(html.count(name) > 5 for name in NAMES.values()) and len(html) < 2_000_000


def test_a_log_has_one_line_a_pass(demo):
    lines = [line for line in demo[1].splitlines() if line.startswith("pass ")]
    assert len(lines) == 6 * len(NAMES)


def test_tables_name_the_winner_of_each_column_whoever_it_is():
    worse = {column: [0.5, 0.01] for column in COLUMNS}
    better = {"accuracy": [0.9, 0.01], "nll": [0.1, 0.01], "ece": [0.49, 0.01]}
    more = {"answered": dict.fromkeys([*KINDS, *OTHER_SETS], 0.25), "wrong": dict.fromkeys(KINDS, 0.125), "seconds": 1.0}
    metrics = {"gbp": worse | more, "adamw": worse | better | more}
    ours, theirs = table(metrics).splitlines()[1:]
    assert re.findall(r"± [\d.]{6}([*.]?)", ours) == ["", "", "."] + ["*"] * (len(COLUMNS) - 3)
    assert re.findall(r"± [\d.]{6}([*.]?)", theirs) == ["*"] * len(COLUMNS)
    assert story(metrics).splitlines()[-1].count("25 % (12.5 %)") == len(KINDS)


def test_a_quarter_of_the_held_out_digits_is_refused(demo, data):
    answered = json.loads((demo[0] / "metrics.json").read_text())["gbp"]["answered"]
    sizes = [len(rows) for name, rows in data.kinds().values() if not name]
    share = sum(size * answered[kind] for size, kind in zip(sizes, KINDS, strict=True)) / sum(sizes)
    assert abs(share - ANSWERED) < 4 * (ANSWERED * (1 - ANSWERED) / HELD_OUT) ** 0.5  # on the test digits, by as much as chance


def test_digits_are_those_of_scikit_learn_each_once(data):
    parts = data.parts
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [LABELLED, HELD_OUT, 1797 - LABELLED - HELD_OUT]
    clean = torch.cat([part.tensors[0].tensor_split(len(KINDS))[0] for part in (parts.train, parts.validation, parts.test)])
    labels = torch.cat([part.tensors[1].tensor_split(len(KINDS))[0] for part in (parts.train, parts.validation, parts.test)])
    pixels, targets = load_digits(return_X_y=True)
    own = (clean * data.preparation.std + data.preparation.mean).round().flatten(1).tolist()
    known = {tuple(image): label for image, label in zip(pixels.tolist(), targets.tolist(), strict=True)}
    assert [known[tuple(image)] for image in own] == labels.tolist()
    assert len({tuple(image) for image in own}) == len(own)


def test_noise_and_turns_are_as_large_as_they_say(data):
    rows = {kind: own for kind, (name, own) in data.kinds().items() if not name}
    images = data.parts.test.tensors[0] * data.preparation.std + data.preparation.mean
    clean, noisy = images[rows["digits"]], images[rows["noisy digits"]]
    middle = noisy[(noisy > 0.01) & (noisy < 15.99)]
    assert NOISE == 4 and (middle % 1 - 0.5).abs().mean() == pytest.approx(0.25, abs=0.02)  # no grey value of the digits is left
    assert noisy.std() > clean.std() - 1
    bar = torch.zeros(1, 1, 8, 8)
    bar[..., 3:5] = 16.0
    moments = [_direction(turn(bar, side * ANGLE)[0, 0]) for side in (-1, 1)]
    assert moments == pytest.approx([-ANGLE, ANGLE], abs=3)


def _direction(image: torch.Tensor) -> float:
    """Angle of an image's main axis from the vertical in degrees, counterclockwise."""
    rows, columns = torch.meshgrid(torch.arange(8.0) - 3.5, torch.arange(8.0) - 3.5, indexing="ij")
    weight = image / image.sum()
    xx, yy, xy = (float((weight * a * b).sum()) for a, b in ((columns, columns), (rows, rows), (rows, columns)))
    return float(np.degrees(0.5 * np.arctan2(2 * xy, yy - xx)))


def test_other_images_are_as_bright_as_digits_and_differ(data):
    for name, own in data.parts.ood.items():
        images = own.tensors[0] * data.preparation.std + data.preparation.mean
        assert images.shape == (OTHERS, 1, 8, 8), name
        assert images.min() > -1e-3 and images.max() < 16.001 and images.max() > 15
        assert len({tuple(image.flatten().tolist()) for image in images}) > 0.95 * OTHERS
    assert letters().flatten(1).sum(1).min() > 16 * 4  # all of them have ink


def test_the_tuned_rival_averages_its_last_weights_ends_warm_and_has_a_temperature(data):
    model = train("adamw_tuned", data, 3).model
    steps = 3 * -(-LABELLED // data.batch_size)
    assert model.likelihood.temperature is not None and model.likelihood.temperature > 0
    rate = model.optimizers(use_pl_optimizer=False).param_groups[0]["lr"]
    assert rate == pytest.approx(FINAL * RATE, rel=0.02)
    assert int(model.average.n_averaged) == steps
    x = data.parts.test.tensors[0][:5]
    logits = model.model(x) / model.likelihood.temperature
    torch.testing.assert_close(model.log_probabilities(x), torch.log_softmax(logits, 1))
    torch.testing.assert_close(model.model.state_dict(), model.average.module.state_dict())


def test_the_average_is_that_of_the_last_weights():
    from examples.demo_rivals import _towards

    values = torch.arange(1.0, 201.0)
    (average,) = averages = [values[0].clone()]
    for step, value in enumerate(values[1:], 1):
        _towards(averages, [value], step)
    expected = values[0].double()
    for step, value in enumerate(values[1:], 1):
        expected = expected + (value - expected) * min(1.0, 1 / (TAIL * (step + 1)))
    assert float(average) == pytest.approx(float(expected), rel=1e-5)
    assert 200 * (1 - 2 * TAIL) < float(average) < 200


def test_the_picture_is_pale_where_it_refuses(tmp_path):
    images, sure = torch.full((6, 8, 8), 1.0), torch.linspace(0, 1, 6)
    images[:, 0] = 0  # so that there is a darkest and a brightest
    for least in (0.0, 2.0):
        lane = Lane("digits", images, sure, sure > 0.5, least, "note")
        plot_knowledge({"m": [lane]}, tmp_path / f"{least}.png")
    given, refused = (np.asarray(Image.open(tmp_path / f"{least}.png").convert("L")) for least in (0.0, 2.0))
    assert (given < 30).sum() > 3 * (refused < 30).sum()
