"""Reports: what is on the page, that it needs nothing else, and what is refused."""

from __future__ import annotations

import importlib
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

import torch_gbp as gbp
from torch_gbp import reporting
from torch_gbp.errors import InvalidInput, extras
from torch_gbp.evaluation import Outcome, Predictions, evaluate
from torch_gbp.reporting import report
from torch_gbp.reporting.weights import signal_to_noise

FEW = {"resamples": 3}
SECTIONS = {
    "classes": ["scores", "calibration", "refusing", "examples", "others", "weights", "training"],
    "values": ["scores", "bands", "calibration", "surprises", "weights"],
}
X, LABELS = torch.randn(90, 1, 8, 8), torch.randint(3, (90,))
OTHERS = {"brighter": 3 + X[:30]}


class Page(HTMLParser):
    """Elements with their attributes, and the text outside of style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", [""]
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_data(self, data):
        self.text += "" if self._inside[-1] == "style" else data

    def handle_endtag(self, tag):
        self._inside.append("")

    def values(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.elements if name in attributes]


def classifier() -> tuple[nn.Module, gbp.Likelihood]:
    return nn.Sequential(nn.Flatten(), gbp.GBPLinear(64, 3)), gbp.Softmax()


def plain(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "new" / "folder" / "report.html"
    models = {"a <b> & $x^2$": classifier(), "plain": plain()}
    histories = {"plain": {"evidence": [-2.0, -1.0, -0.5]}}
    assert report(models, (X, LABELS), path, outputs="logits", ood=OTHERS, histories=histories, title="T <i>", **FEW) == path
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    x = torch.linspace(-2, 2, 80)[:, None]
    y = x**2 + 0.3 * torch.randn(80, 1)
    models = {"gbp": (gbp.GBPLinear(1, 1), gbp.Regression(0.5)), "even": lambda x: (1 + 0 * x, 1 + 0 * x)}
    path = report(models, (x, y), tmp_path_factory.mktemp("report") / "values.html", outputs="mean_std", **FEW)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", SECTIONS)
def test_sections_are_there_and_linked(kind, request):
    page = Page(request.getfixturevalue(kind))
    assert [attributes["id"] for tag, attributes in page.elements if tag == "section"] == SECTIONS[kind]
    assert [link for link in page.values("href") if not link.startswith("#m")] == [f"#{name}" for name in SECTIONS[kind]]


@pytest.mark.parametrize("kind", SECTIONS)
def test_the_page_needs_nothing_but_itself(kind, request):
    html = request.getfixturevalue(kind)
    page = Page(html)
    assert {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "embed", "base"} == set()
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert all(link.startswith("#") for link in page.values("href") + page.values("xlink:href"))
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\s\"'<>)]+", html)) <= namespaces
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


@pytest.mark.parametrize("kind", SECTIONS)
def test_drawings_are_well_formed_and_in_the_colours_of_the_page(kind, request):
    html = request.getfixturevalue(kind)
    drawings = re.findall(r"<svg role.*?</svg>", html, re.DOTALL)
    assert len(drawings) >= 6
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("aria-label") and root.get("viewBox") and root.get("width") is None
    used = set(re.findall(r"var\((--[\w]+)\)", html))
    style = html[html.index("<style>") : html.index("</style>")]
    defined = {scheme: set(re.findall(r"(--\w+):", part)) for scheme, part in zip("ld", style.split("@media")[:2], strict=True)}
    assert used - {"--own"} <= defined["l"] and used - {"--own"} <= defined["d"]
    assert not re.search(r"#0[abc]0[bcd]", html)  # stand-ins that were not replaced


def test_names_are_text(classes):
    page = Page(classes)
    assert "<b> &" in page.text and "T <i>" in page.text and "$x^2$" in page.text
    assert "<b> & $" not in classes and "<i>" not in classes


def test_scores_are_those_of_evaluate(classes):
    """Numbers of the table are tested below: here that all of them are there, by the names that evaluate gives them."""
    card = evaluate(plain(), (X, LABELS), outputs="logits", ood=OTHERS, resamples=0)
    rows = set(re.findall(r"<tr><td>[^<]* ?<small>([\w/]*) ", classes)) | set(
        re.findall(r"<tr><td>(?:[\w]+: )?(\w+) <small>", classes)
    )
    assert {name.rpartition("/")[2] for name in card} <= {name.rpartition("/")[2] for name in rows}


def test_the_table_has_every_score_and_marks_the_best(tmp_path):
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]).repeat(30, 1)
    y = torch.tensor([0, 1, 0, 1]).repeat(30)
    good, bad = Outcome("good", y, probabilities=p), Outcome("bad", y, probabilities=1 - p)
    html = report([good, bad], path=tmp_path / "r.html", resamples=20).read_text()
    row = re.search(r"<tr><td>accuracy.*?</tr>", html).group()
    assert re.findall(r'<td(?: class="(\w+)")?>([\d.]+)', row) == [("best", "1.0000"), ("", "0.0000")]
    nll = re.search(r"<tr><td>negative log-likelihood.*?</tr>", html).group()
    wanted = [float(-own.gather(1, y[:, None]).log().mean()) for own in (p, 1 - p)]
    assert [float(value) for value in re.findall(r"<td[^>]*>([\d.]+)", nll)] == pytest.approx(wanted, abs=1e-4)
    assert all(f">{name.rpartition('/')[2]} " in html for name in ("cal/MCE", "sc/AUGRC", "sc/Risk_80Cov"))


def test_what_cannot_be_told_from_the_best_is_marked(tmp_path):
    p = torch.rand(50, 2)
    p = p / p.sum(1, keepdim=True)
    y = torch.randint(2, (50,))
    other = torch.where(torch.arange(50)[:, None] == 0, p.flip(1), p)  # one answer is another
    html = report([Outcome("a", y, probabilities=p), Outcome("b", y, probabilities=other)], path=tmp_path / "r.html").read_text()
    row = re.search(r"<tr><td>accuracy.*?</tr>", html).group()
    assert sorted(re.findall(r'<td class="(\w+)"', row)) == ["best", "even"]


def shelf(html: str, heading: str) -> list[str]:
    part = html[html.index(heading) :]
    return re.findall(r"<figcaption>(.*?)</figcaption>", part[: part.index("</div>")])


def test_examples_are_the_most_least_and_most_wrongly_certain(tmp_path):
    p = torch.softmax(4 * torch.randn(60, 3, dtype=torch.float64), 1)
    y = torch.randint(3, (60,))
    outcome = Outcome("m", y, probabilities=p, inputs=torch.rand(60, 1, 8, 8))
    html = report(outcome, path=tmp_path / "r.html", classes=["zero", "one", "two"], **FEW).read_text()
    names, (confidence, predicted) = np.array(["zero", "one", "two"]), p.max(1)
    for heading, order in (
        ("Most certain of 60", confidence.argsort(descending=True)),
        ("Least certain of 60", confidence.argsort()),
        ("Most certain among the", torch.tensor([i for i in confidence.argsort(descending=True) if predicted[i] != y[i]])),
    ):
        captions = shelf(html, heading)
        assert len(captions) == min(12, len(order))
        for text, i in zip(captions, order.tolist(), strict=False):
            assert text.startswith(f"<b>{names[predicted[i]]}</b> {100 * confidence[i]:.0f} %")
            assert ("is " + names[y[i]] in text) == bool(predicted[i] != y[i])


def test_no_wrong_prediction_is_said(tmp_path):
    y = torch.arange(40) % 2
    outcome = Outcome("m", y, probabilities=0.8 * torch.eye(2)[y] + 0.1, inputs=torch.rand(40, 1, 8, 8))
    assert "Most certain among the 0 wrong ones: none." in report(outcome, path=tmp_path / "r.html", **FEW).read_text()


def test_inputs_that_are_no_images_are_rows_of_a_table(tmp_path):
    outcome = Outcome("m", LABELS, probabilities=torch.softmax(torch.randn(90, 3), 1), inputs=torch.full((90, 20), 7.25))
    html = report(outcome, path=tmp_path / "r.html", **FEW).read_text()
    assert "<img" not in html and html.count("<td>7.25</td>") >= 5 * 8


def test_sentences_at_the_top_are_right(tmp_path):
    p = torch.tensor([[0.99, 0.01]] * 50 + [[0.6, 0.4]] * 50)
    y = torch.tensor([0] * 49 + [1] + [0] * 40 + [1] * 10)
    ood = {"others": Predictions(probabilities=torch.tensor([[0.97, 0.03]] * 3 + [[0.5, 0.5]] * 7))}
    text = Page(report(Outcome("m", y, probabilities=p, ood=ood), path=tmp_path / "r.html", **FEW).read_text()).text
    assert "Right on 89.0 % of 100 examples. Sure (95 % or more) of 50.0 %, and right on 98.0 % of those." in text
    assert "It is sure of 30.0 % of others, which it cannot know." in text
    assert "With" not in text.split("Refusing")[0]


def test_sentences_on_real_targets_are_right(tmp_path):
    outcome = Outcome("m", torch.tensor([0.0, 1.0, -1.0, 2.5]), mean=torch.zeros(4), std=torch.ones(4))
    text = Page(report(outcome, path=tmp_path / "r.html", **FEW).read_text()).text
    assert "Off by 1.436 (root mean square) on 4 examples. 75.0 % of the targets lie within two predicted deviations" in text
    assert "+2.5 deviations" in text  # the worst surprise


def test_a_report_of_many_models_and_large_images_is_below_5_mb(tmp_path):
    """Pictures that are noise take the most; of a model here 18 drawings are left out, which take 20 kB each at most."""
    images, ood = (
        torch.rand(40, 3, 150, 150),
        Predictions(probabilities=torch.full((40, 3), 1 / 3), inputs=torch.rand(40, 3, 90, 90)),
    )
    p = torch.softmax(torch.randn(40, 3), 1)
    others = {str(k): ood for k in range(9)}
    outcomes = [Outcome(name, LABELS[:40], probabilities=p, inputs=images, ood=others) for name in "ab"]
    html = report(outcomes, path=tmp_path / "r.html", **FEW).read_text()
    pictures = sum(map(len, re.findall(r'src="(.*?)"', html)))
    assert 1_500_000 < pictures < 3_000_000 and len(html) < 4_000_000


def test_weights_show_every_marginal(classes):
    text = Page(classes).text
    assert "195 weights" in text and "1.weight" in text and "1.bias" in text


def test_ratios_are_means_over_standard_deviations():
    layer = gbp.GBPLinear(3, 2)
    layer.weight.mean.data.fill_(-3.0)
    layer.weight.precision.data.fill_(4e4)
    np.testing.assert_allclose(signal_to_noise(layer)["weight"], np.full(6, 600.0), rtol=1e-5)


def test_the_same_report_has_the_same_bytes(tmp_path):
    outcome = Outcome("m", LABELS, probabilities=torch.softmax(torch.randn(90, 3), 1), inputs=X)
    first, second = (report(outcome, path=tmp_path / f"{k}.html", **FEW).read_bytes() for k in range(2))
    assert first == second


def outcome(name: str = "m", targets: torch.Tensor = LABELS, **parts) -> Outcome:
    return Outcome(name, targets, **parts or {"probabilities": torch.softmax(torch.randn(len(targets), 3), 1)})


BAD = {
    "a model without a name": lambda: report(plain(), (X, LABELS)),
    "models without data": lambda: report({"a": plain()}, outputs="logits"),
    "outcomes with data": lambda: report([outcome()], (X, LABELS)),
    "no models": lambda: report([]),
    "nine models": lambda: report([outcome(str(k)) for k in range(9)]),
    "two of one name": lambda: report([outcome(), outcome()]),
    "a list of models": lambda: report([plain()]),
    "other examples": lambda: report([outcome("a"), outcome("b", LABELS.flip(0))]),
    "another number": lambda: report([outcome("a"), outcome("b", LABELS[:50])]),
    "another kind": lambda: report(
        [outcome("a"), outcome("b", LABELS.double(), mean=torch.zeros(90), std=torch.ones(90))], **FEW
    ),
    "logits": lambda: report({"a": plain()}, (X, LABELS)),
    "labels out of range": lambda: report({"a": plain()}, (X, LABELS + 1), outputs="logits"),
    "names of too few classes": lambda: report(outcome(), classes=["a"], **FEW),
    "names of classes of real targets": lambda: report(
        outcome("b", LABELS.double(), mean=torch.zeros(90), std=torch.ones(90)), classes=["a"], **FEW
    ),
    "too few inputs": lambda: report(outcome(), inputs=X[:5], **FEW),
    "a network of nobody": lambda: report(outcome(), networks={"other": plain()}, **FEW),
    "a network without a name": lambda: report(outcome(), networks=plain(), **FEW),
    "a history of nobody": lambda: report(outcome(), histories={"other": {"evidence": [1.0]}}, **FEW),
    "an empty history": lambda: report(outcome(), histories={"m": {}}, **FEW),
    "a history of text": lambda: report(outcome(), histories={"m": "evidence"}, **FEW),
    "a single number": lambda: report(outcome(), histories={"m": {"evidence": 1.0}}, **FEW),
    "negative resamples": lambda: report(outcome(), resamples=-1),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_before_anything_is_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="Way out"):
        BAD[name]()
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "matplotlib" else object())
    with pytest.raises(ModuleNotFoundError, match=r"no matplotlib.*pip install 'torch-gbp\[report\]'"):
        importlib.reload(reporting)
