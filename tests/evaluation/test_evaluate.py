"""evaluate: names, errors by the bootstrap, OOD columns, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp
from lightning_modules import AdamWClassifier, GBPClassifier
from torch_gbp.errors import InvalidInput
from torch_gbp.evaluation import Outcome, Predictions, Scorecard, higher_is_better, score
from torch_gbp.metrics import classification_scores

P = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4], [0.8, 0.1, 0.1]])
LABELS = torch.tensor([0, 1, 1, 0])
X = torch.tensor([[0.1, 0.2], [0.3, -0.4], [1.0, 2.0], [-1.0, 0.5]])


def random(n=400, classes=4):
    logits = 2 * torch.randn(n, classes, dtype=torch.float64)
    return logits.softmax(1), torch.distributions.Categorical(logits=logits).sample()


def test_short_scores_and_the_card_are_the_same_numbers():
    p, y = random()
    card, short = gbp.evaluate(p, y, resamples=0), classification_scores(p.log(), y)
    names = {
        "accuracy": "cls/Acc", "nll": "cls/NLL", "brier": "cls/Brier", "ece": "cal/ECE", "vector_ece": "cal/VectorECE",
        "relative_auc": "sc/RelativeAUC",
    }  # fmt: skip
    assert {key: card[name].value for key, name in names.items()} == pytest.approx(short, abs=1e-12)
    assert all(math.isnan(one.error) for one in card.values())


def test_errors_of_means_are_the_textbook_ones():
    p, y = random(2000)
    card = gbp.evaluate(p, y, resamples=150)
    hits, nll = (p.argmax(1) == y).double(), -p.log()[torch.arange(2000), y]
    for name, values in (("cls/Acc", hits), ("cls/NLL", nll)):
        assert card[name].error == pytest.approx(float(values.std()) / 2000**0.5, rel=0.2)  # 3.5 of its own standard errors


def test_errors_of_areas_are_those_of_new_data():
    """The spread of AURC and of an AUROC over fresh data sets of the same kind."""
    cards = []
    for _ in range(50):
        (p, y), (other, _) = random(), random(150)
        flat = (0.5 * other.log()).softmax(1)
        cards.append(gbp.evaluate(p, y, ood={"flat": flat}, resamples=40 if len(cards) < 5 else 0))
    for name in ("sc/AURC", "sc/AUGRC", "ood/flat/AUROC"):
        spread = float(np.std([card[name].value for card in cards], ddof=1))
        assert np.mean([card[name].error for card in cards[:5]]) == pytest.approx(spread, rel=0.4)


def test_the_same_seed_gives_the_same_errors():
    p, y = random()
    state = torch.get_rng_state()
    first, again, other = (dict(gbp.evaluate(p, y, seed=seed, resamples=5)) for seed in (0, 0, 1))
    assert first == again and first != other
    assert torch.equal(state, torch.get_rng_state())


def test_a_set_of_other_inputs_changes_no_other_column():
    p, y = random()
    plain, beside = gbp.evaluate(p, y, resamples=0), gbp.evaluate(p, y, ood={"a": random()[0], "b": random()[0]}, resamples=0)
    inside = {name: one.value for name, one in beside.items() if not name.startswith("ood")}
    assert inside == {name: one.value for name, one in plain.items()}
    assert {name.split("/")[1] for name in beside if "ood" in name} == {"a", "b"}
    assert not set(plain) & {name for name in beside if "ood" in name}


def test_near_and_far_are_means_over_their_sets():
    p, y = random()
    card = gbp.evaluate(p, y, ood={name: random()[0] for name in "abc"}, near=["a", "c"], resamples=10)
    for key in ("AUROC", "FPR95", "AUPR_entropy"):
        assert card[f"ood_near/{key}"].value == pytest.approx((card[f"ood/a/{key}"].value + card[f"ood/c/{key}"].value) / 2)
        assert card[f"ood_far/{key}"] == card[f"ood/b/{key}"]


def test_detectors_are_those_that_both_sides_know():
    other = Predictions(probabilities=P.flip(1), energy=torch.rand(4))
    outcome = Outcome("a", LABELS, probabilities=P, epistemic=torch.rand(4), energy=torch.rand(4), ood={"b": other})
    found = {name.rpartition("/")[2] for name in score(outcome, 0) if "AUROC" in name}
    assert found == {"AUROC", "AUROC_entropy", "AUROC_energy"}


@pytest.fixture(scope="module")
def trained():
    """A network of two clusters, its likelihood, and what it was trained on."""
    torch.manual_seed(0)
    y = torch.arange(200) % 2
    x = torch.randn(200, 3) + 2.0 * (2 * y[:, None] - 1) * torch.tensor([1.0, 0.0, 0.0])
    model = nn.Sequential(gbp.GBPLinear(3, 8), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(8, 2))
    likelihood = gbp.Softmax()
    gbp.Trainer(model, likelihood, 3, progress=False).fit(DataLoader(TensorDataset(x, y), 20))
    return model, likelihood, x, y


def test_with_training_data_other_inputs_are_told_by_their_features(trained):
    """Far away predictions are surer than on the data: by them these are not found, by the features all are."""
    model, likelihood, x, y = trained
    far = {"x 10": 10 * x}
    for train in ((x, y), TensorDataset(x, y), DataLoader(TensorDataset(x, y), 50)):
        card = gbp.evaluate(model, (x, y), likelihood, ood=far, train=train, resamples=0)
        assert card["ood/x 10/AUROC"].value > 0.95 > 0.5 > card["ood/x 10/AUROC_msp"].value
        wanted = gbp.OODScore(model, likelihood, [(x, y)])
        rank = 2 / len(x)  # a distance that rounds otherwise may change places with its neighbour
        torch.testing.assert_close(card.outcome.ood_score, wanted(x), rtol=0, atol=3 * rank)
    without = gbp.evaluate(model, (x, y), likelihood, ood=far, resamples=0)
    assert without["ood/x 10/AUROC"].value == card["ood/x 10/AUROC_msp"].value


def test_plain_networks_have_features_too_and_functions_have_none(trained):
    *_, x, y = trained
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    options = {"ood": {"x 10": 10 * x}, "train": (x, y), "resamples": 0}
    card = gbp.evaluate(network, (x, y), outputs="logits", **options)
    wanted = gbp.OODScore(network, gbp.Softmax(), [(x, y)], how="means")
    torch.testing.assert_close(card.outcome.ood_score, wanted(x))
    assert card["ood/x 10/AUROC"].value > 0.95
    for model, outputs in ((network.forward, "logits"), ([network, network], "logits")):
        assert "ood/x 10/AUROC_msp" not in gbp.evaluate(model, (x, y), outputs=outputs, **options)
    probabilities = nn.Sequential(network, nn.Softmax(1))
    assert "ood/x 10/AUROC_msp" not in gbp.evaluate(probabilities, (x, y), outputs="probabilities", **options)


def test_modules_of_lightning_have_the_features_of_their_network(trained):
    model, likelihood, x, y = trained
    plain = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    options = {"ood": {"x 10": 10 * x}, "train": (x, y), "resamples": 0}
    for module, own in (
        (GBPClassifier(model, likelihood), gbp.OODScore(model, likelihood, [(x, y)])),
        (AdamWClassifier(plain), gbp.OODScore(plain, gbp.Softmax(), [(x, y)], how="means")),
    ):
        torch.testing.assert_close(gbp.evaluate(module, (x, y), **options).outcome.ood_score, own(x))


def test_training_data_that_can_be_read_once_are_refused(trained):
    model, likelihood, x, y = trained
    train = ((x, y) for _ in range(1))
    with pytest.raises(InvalidInput, match="training data are a loader, a data set or a pair of tensors"):
        gbp.evaluate(model, (x, y), likelihood, ood={"x 10": 10 * x}, train=train, resamples=0)


def test_a_card_is_a_mapping_that_prints():
    card = gbp.evaluate(P, LABELS, name="three", resamples=10)
    assert isinstance(card, Scorecard) and len(card) == 14 and next(iter(card)) == "cls/Acc"
    lines = str(card).splitlines()
    assert lines[0] == "three" and lines[1].startswith("cls/Acc") and lines[1].endswith(f"0.7500 ± {card['cls/Acc'].error:.4f}")
    assert [higher_is_better(name) for name in ("sc/AURC", "sc/Cov_5Risk", "ood/x/AUPR_energy", "cal/Width_90")] == [
        False, True, True, False
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["pair", "arrays", "data set", "loader", "list"])
def test_data_may_come_in_any_of_the_usual_forms(kind):
    network = nn.Linear(2, 3)
    expected = gbp.evaluate(network(X).softmax(1), LABELS, resamples=0)["cls/NLL"].value
    data = {
        "pair": (X, LABELS),
        "arrays": (X.double().numpy(), LABELS.numpy()),
        "data set": TensorDataset(X, LABELS),
        "loader": DataLoader(TensorDataset(X, LABELS), 3),
        "list": [(X[:1], LABELS[:1]), (X[1:], LABELS[1:])],
    }[kind]
    far = data[0] + 9 if kind in ("pair", "arrays") else data_of(X + 9)
    card = gbp.evaluate(network, data, outputs="logits", ood={"far": far}, resamples=2)
    assert card["cls/NLL"].value == pytest.approx(expected, abs=1e-6) and "ood/far/AUROC" in card


def data_of(x):
    return DataLoader(TensorDataset(x), 3)


def test_a_list_of_two_batches_is_no_pair():
    """Neither of inputs and targets, nor of means and deviations."""
    card = gbp.evaluate(nn.Linear(2, 3), (X, LABELS), outputs="logits", ood={"far": [X[:3] + 9, X[3:] + 9]}, resamples=0)
    assert len(card.outcome.ood["far"]) == 4
    with pytest.raises(InvalidInput, match="no model"):
        gbp.evaluate([P, P], LABELS)


def test_inputs_are_kept_where_asked():
    network = nn.Linear(2, 3)
    options = {"outputs": "logits", "ood": {"far": X + 9}, "resamples": 0}
    card = gbp.evaluate(network, [(X[:3], LABELS[:3]), (X[3:], LABELS[3:])], keep_inputs=True, **options)
    torch.testing.assert_close(card.outcome.inputs, X)
    torch.testing.assert_close(card.outcome.ood["far"].inputs, X + 9)
    assert gbp.evaluate(network, (X, LABELS), **options).outcome.inputs is None


def rows(p, at, value):
    changed = p.clone()
    changed[at] = value
    return changed


BAD = {
    "NaN": (lambda: gbp.evaluate(rows(P, (2, 1), math.nan), LABELS), "1 of 4 rows have NaN.*row 2, column 1"),
    "negative": (lambda: gbp.evaluate(rows(P, (1, 0), -0.1), LABELS), "negative probabilities.*-0.1 in row 1, column 0"),
    "sum": (lambda: gbp.evaluate(rows(P, (3, 0), 0.9), LABELS), "do not sum to 1.*1.1 in row 3"),
    "logits as probabilities": (lambda: gbp.evaluate(P.log(), LABELS), "negative.*say outputs='logits'"),
    "one class": (lambda: gbp.evaluate(torch.ones(4, 1), LABELS * 0), "two classes.*shape \\(4, 1\\)"),
    "empty": (lambda: gbp.evaluate(P[:0], LABELS[:0]), "at least one example"),
    "empty loader": (lambda: gbp.evaluate(nn.Linear(2, 3), [], outputs="logits"), "no examples"),
    "empty pair": (lambda: gbp.evaluate(nn.Linear(2, 3), (X[:0], LABELS[:0]), outputs="logits"), "no examples"),
    "empty ood": (lambda: gbp.evaluate(nn.Linear(2, 3), (X, LABELS), outputs="logits", ood={"a": X[:0]}), "no examples"),
    "label too large": (lambda: gbp.evaluate(P, LABELS + 2), "labels must lie in 0 ... 2.*2 ... 3"),
    "label -1": (lambda: gbp.evaluate(P, LABELS - 1), "labels must lie"),
    "real labels": (lambda: gbp.evaluate(P, LABELS.float()), "labels must be integers"),
    "real labels of a loader": (
        lambda: gbp.evaluate(nn.Linear(2, 3), [(X, LABELS.float())], outputs="logits"), "labels must be integers"
    ),
    "fewer labels": (lambda: gbp.evaluate(P, LABELS[:3]), "labels of shape"),
    "fewer targets": (lambda: gbp.evaluate(nn.Linear(2, 3), (X, LABELS[:3]), outputs="logits"), "as many.*4 and 3"),
    "no targets": (lambda: gbp.evaluate(nn.Linear(2, 3), data_of(X), outputs="logits"), r"\(input, target\)"),
    "no outputs": (lambda: gbp.evaluate(nn.Linear(2, 3), (X, LABELS)), "outputs mean has to be said"),
    "unknown outputs": (lambda: gbp.evaluate(nn.Linear(2, 3), (X, LABELS), outputs="logit"), "'logit'.*outputs='logits'"),
    "no likelihood": (lambda: gbp.evaluate(gbp.GBPLinear(2, 3), (X, LABELS)), "pass likelihood="),
    "no model": (lambda: gbp.evaluate(None, (X, LABELS)), "no model that can be evaluated"),
    "no data": (lambda: gbp.evaluate(nn.Linear(2, 3), 3, outputs="logits"), "a loader of batches is needed"),
    "zero std": (lambda: gbp.evaluate((X, X * 0), X), "not positive and finite.*0 in row 0, column 0"),
    "infinite mean": (lambda: gbp.evaluate((X / 0, X.abs()), X), "infinite means"),
    "target NaN": (lambda: gbp.evaluate((X, X.abs()), X / X.clamp_min(0).sub(0.1).mul(0)), "targets are NaN"),
    "target shape": (lambda: gbp.evaluate((X, X.abs()), X[:, :1]), "targets must have the outputs' shape"),
    "integer targets": (lambda: gbp.evaluate((X, X.abs()), X.long()), "floating point"),
    "ood is the data": (lambda: gbp.evaluate(P, LABELS, ood={"a": P}), "'a' has the very predictions of the data"),
    "ood of other classes": (lambda: gbp.evaluate(P, LABELS, ood={"a": P[:, :2] / P[:, :2].sum(1, True)}), "2 columns, 3 here"),
    "ood of another kind": (lambda: gbp.evaluate(P, LABELS, ood={"a": (X, X.abs())}), "another kind"),
    "ood without a name": (lambda: gbp.evaluate(P, LABELS, ood=[P]), "dictionary of sets"),
    "near without a set": (lambda: gbp.evaluate(P, LABELS, near=["a"]), "near names sets that are not in ood.*a"),
    "resamples": (lambda: gbp.evaluate(P, LABELS, resamples=-1), "resamples must be"),
    "no deviation": (lambda: Predictions(mean=X), "mean and standard deviation.*Got: mean"),
    "parts": (lambda: Predictions(probabilities=P, energy=torch.zeros(3)), "energy needs a row for each of 4"),
    "epistemic NaN": (lambda: Predictions(probabilities=P, epistemic=torch.full((4,), math.nan)), "epistemic that is NaN"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_a_named_error(case):
    call, text = BAD[case]
    with pytest.raises(InvalidInput, match=f"(?s){text}"):
        call()


def test_rounding_of_a_softmax_is_no_error():
    logits = torch.randn(100, 1000)
    for p in (logits.softmax(1), logits.softmax(1).double()):
        gbp.evaluate(p, torch.randint(1000, (100,)), resamples=0)


def test_an_infinite_score_has_no_error():
    card = gbp.evaluate(torch.eye(2)[[0, 1, 0]], torch.tensor([0, 1, 1]), resamples=3)
    assert card["cls/NLL"].value == math.inf and math.isnan(card["cls/NLL"].error) and str(card["cls/NLL"]) == "inf"


def test_labels_of_few_bits_large_logits_and_arrays_of_training_data():
    x, y = torch.tensor([[1000.0], [-1000.0], [500.0]]), torch.tensor([1, 1, 0], dtype=torch.int32)
    both = lambda x: torch.cat([x, -x], 1)  # noqa: E731
    wanted = torch.nn.functional.cross_entropy(both(x), y.long()).item()
    assert gbp.evaluate(both, (x, y), outputs="logits")["cls/NLL"].value == pytest.approx(wanted)
    assert gbp.evaluate(lambda x: both(x).log_softmax(1), (x, y), outputs="log_probabilities")["cls/NLL"].value == pytest.approx(
        wanted
    )
    x, network = torch.randn(60, 3), gbp.from_torch(torch.nn.Linear(3, 2))
    y = (x[:, 0] > 0).int()
    arrays = x.double().numpy(), y.numpy()
    for train in (arrays, list(arrays), (x, y)):
        found = gbp.evaluate(network, arrays, gbp.Softmax(), ood={"far": 10 * arrays[0]}, train=train)
        assert found["ood/far/AUROC"].value > 0.5


def test_beliefs_are_shown_by_their_means():
    model, belief = torch.nn.Sequential(gbp.GBPLinear(3, 2)), gbp.Gaussian(torch.randn(8, 3), torch.rand(8, 3))
    found = gbp.evaluate(model, [(belief, torch.arange(8) % 2)], gbp.Softmax(), ood={"other": [2 * belief]}, keep_inputs=True)
    assert torch.equal(found.outcome.inputs, belief.mean)
