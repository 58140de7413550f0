"""Estimators for tables: answers beside independent ones, scikit-learn's tools around them, units, seeds, and refusals."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_iris, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import torch_gbp
from torch_gbp.errors import InvalidInput, extras
from torch_gbp.sklearn import GBPClassifier, GBPRegressor

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(160, 3)) * [1.0, 20.0, 0.1] + [0.0, 500.0, 3.0]
LINE = ROWS @ [2.0, -0.1, 5.0] + RNG.normal(0, 0.5, 160)
MOONS = make_moons(160, noise=0.15, random_state=0)


@pytest.fixture(scope="module")
def classifier() -> GBPClassifier:
    return GBPClassifier((16,), epochs=20, random_state=0).fit(*MOONS)


@pytest.fixture(scope="module")
def regressor() -> GBPRegressor:
    return GBPRegressor((16,), epochs=20, random_state=0).fit(ROWS, LINE)


def test_a_linear_network_finds_least_squares_and_its_noise() -> None:
    found, exact = GBPRegressor((), epochs=40, random_state=0).fit(ROWS, LINE), LinearRegression().fit(ROWS, LINE)
    mean, std = found.predict(ROWS, return_std=True)
    assert np.abs(mean - exact.predict(ROWS)).max() < 0.1 * LINE.std()
    residual = (LINE - exact.predict(ROWS)).std()
    np.testing.assert_allclose(std, residual, rtol=0.15)


def test_intervals_hold_the_share_they_name(regressor: GBPRegressor) -> None:
    x = RNG.normal(size=(2000, 3)) * [1.0, 20.0, 0.1] + [0.0, 500.0, 3.0]
    y = x @ [2.0, -0.1, 5.0] + RNG.normal(0, 0.5, 2000)
    mean, std = regressor.predict(x, return_std=True)
    for level in (0.5, 0.9):
        low, high = regressor.predict_interval(x, level)
        np.testing.assert_allclose([low, high], norm.interval(level, mean, std), rtol=1e-9)
        assert abs(((low < y) & (y < high)).mean() - level) < 0.1


def test_the_parts_of_uncertainty_add_up(classifier: GBPClassifier, regressor: GBPRegressor) -> None:
    epistemic, aleatoric = regressor.uncertainty(ROWS)
    np.testing.assert_allclose(epistemic + aleatoric, regressor.predict(ROWS, return_std=True)[1] ** 2, rtol=1e-9)
    far = np.add(ROWS, [30.0, 0.0, 0.0])
    assert regressor.uncertainty(far)[0].min() > 10 * epistemic.mean()
    epistemic, aleatoric = classifier.uncertainty(MOONS[0])
    assert epistemic.shape == (160,) and epistemic.min() >= 0 and (epistemic + aleatoric).max() <= np.log(2) + 1e-6


def test_predictions_are_those_of_the_network(classifier: GBPClassifier, regressor: GBPRegressor) -> None:
    found = torch_gbp.predict(regressor.network_, regressor.likelihood_, torch.as_tensor(np.asarray(ROWS))).distribution
    np.testing.assert_allclose(regressor.predict(ROWS), found.mean.numpy()[:, 0], rtol=1e-9)
    assert ((found.mean.numpy()[:, 0] - LINE) ** 2).mean() < 0.1 * LINE.var()
    by_hand = torch_gbp.predict(classifier.network_, classifier.likelihood_, torch.as_tensor(MOONS[0])).probs
    np.testing.assert_allclose(classifier.predict_proba(MOONS[0]), by_hand.numpy(), rtol=1e-9)
    assert classifier.score(*MOONS) > 0.9


def test_several_targets_at_once() -> None:
    both = np.stack([LINE, 100 - 3 * LINE], 1)
    found = GBPRegressor((16,), epochs=20, random_state=0).fit(ROWS, both)
    mean, std = found.predict(ROWS, return_std=True)
    assert mean.shape == std.shape == both.shape and found.score(ROWS, both) > 0.9
    assert abs((std[:, 1] / std[:, 0]).mean() - 3) < 0.3
    assert found.__sklearn_tags__().target_tags.multi_output


def test_units_do_not_matter(classifier: GBPClassifier, regressor: GBPRegressor) -> None:
    scaled = clone(regressor).fit(1e3 * ROWS - 7e4, 1e-4 * LINE + 1e3)
    found, expected = scaled.predict(1e3 * ROWS - 7e4, return_std=True), regressor.predict(ROWS, return_std=True)
    np.testing.assert_allclose((found[0] - 1e3) / 1e-4, expected[0], atol=2e-3 * LINE.std())
    np.testing.assert_allclose(found[1] / 1e-4, expected[1], rtol=5e-3)
    small = clone(classifier).fit(1e-6 * MOONS[0], MOONS[1])
    np.testing.assert_allclose(small.predict_proba(1e-6 * MOONS[0]), classifier.predict_proba(MOONS[0]), atol=5e-3)


def test_a_large_offset_is_taken_off_alike_in_training_and_prediction() -> None:
    """Unix seconds: the spread is a hundred-millionth of the mean, and float32 would not tell one row from the next."""
    seconds = RNG.uniform(0, 100, (200, 1))
    y = np.sin(seconds[:, 0] / 20)
    made = GBPRegressor((16,), epochs=20, random_state=0)
    expected, found = (clone(made).fit(seconds + start, y).predict(seconds + start) for start in (0.0, 1.7e9))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert ((found - y) ** 2).mean() ** 0.5 < 0.3
    fitted = clone(made).fit(seconds + 1.7e9, y)
    standard = fitted.network_[0](torch.as_tensor(seconds + 1.7e9)).numpy()
    np.testing.assert_array_equal(standard, fitted.scaler_.transform(seconds + 1.7e9))


@pytest.mark.parametrize("kind", [GBPClassifier, GBPRegressor])
def test_the_default_dtype_does_not_matter(kind: Any) -> None:
    x, y = MOONS
    made, found = kind((8,), epochs=3, random_state=0), []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            fitted = clone(made).fit(x, y)
            found.append([fitted.predict(x), *fitted.uncertainty(x)])
        finally:
            torch.set_default_dtype(torch.float32)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_seed_repeats_a_fit_and_leaves_the_generators_alone(classifier: GBPClassifier) -> None:
    before, own = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    again, other = clone(classifier).fit(*MOONS), clone(classifier).set_params(random_state=1).fit(*MOONS)
    assert torch.equal(torch.get_rng_state(), before) and (np.random.get_state()[1] == own).all()  # noqa: NPY002
    np.testing.assert_array_equal(again.predict_proba(MOONS[0]), classifier.predict_proba(MOONS[0]))
    assert np.abs(other.predict_proba(MOONS[0]) - classifier.predict_proba(MOONS[0])).max() > 1e-3


def test_pickles_and_clones(classifier: GBPClassifier, regressor: GBPRegressor) -> None:
    for made, x in ((classifier, MOONS[0]), (regressor, ROWS)):
        back = pickle.loads(pickle.dumps(made))
        np.testing.assert_array_equal(back.predict(x), made.predict(x))
        with pytest.raises(NotFittedError):
            clone(made).predict(x)


def test_text_labels_and_named_columns() -> None:
    iris = load_iris(as_frame=True)
    names = iris.target_names[iris.target]
    found = GBPClassifier((16,), epochs=20, random_state=0).fit(iris.data, names)
    assert list(found.classes_) == ["setosa", "versicolor", "virginica"] and found.score(iris.data, names) > 0.9
    assert list(found.feature_names_in_) == list(iris.data.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(iris.data[iris.data.columns[::-1]])


def test_stands_in_pipelines_searches_and_cross_validation() -> None:
    pipeline = make_pipeline(MinMaxScaler(), GBPClassifier((8,), epochs=15, random_state=0))
    assert cross_val_score(pipeline, *MOONS, cv=2).mean() > 0.75
    search = GridSearchCV(GBPRegressor((8,), random_state=0), {"epochs": [2, 15]}, cv=2).fit(ROWS, LINE)
    assert search.best_params_ == {"epochs": 15} and search.best_score_ > 0.6


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"hidden": 64}, "widths of the hidden layers"),
    ({"hidden": (64, 0)}, "a width in hidden"),
    ({"hidden": "64"}, "widths of the hidden layers"),
    ({"epochs": 0}, "epochs must be"),
    ({"epochs": 2.5}, "epochs must be"),
    ({"batch_size": -1}, "batch_size must be"),
    ({"verbose": 1}, "verbose must be"),
]


@pytest.mark.parametrize(("settings", "words"), SETTINGS)
@pytest.mark.parametrize("kind", [GBPClassifier, GBPRegressor])
def test_refuses_settings_out_of_range(kind: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        kind(**settings).fit(*MOONS)


def test_refuses_what_it_cannot_learn_from(regressor: GBPRegressor) -> None:
    x, y = MOONS
    with pytest.raises(InvalidInput, match=r"labels of one class only .* 160 times ham"):
        GBPClassifier().fit(x, ["ham"] * len(x))
    for made in (GBPClassifier(), GBPRegressor()):
        with pytest.raises(TypeError, match="Sparse data was passed"):
            made.fit(csr_array(x), y)
        with pytest.raises(ValueError, match="Input X contains NaN"):
            made.fit(np.where(np.arange(2) == 1, np.nan, x), y)
        with pytest.raises(TypeError, match="sample_weight"):
            made.fit(x, y, sample_weight=np.ones(len(x)))
        with pytest.raises(ValueError, match="could not convert string to float"):
            made.fit(pd.DataFrame({"a": x[:, 0], "b": "red"}), y)
    with pytest.raises(ValueError, match="expecting 3 features"):
        regressor.predict(ROWS[:, :2])
    with pytest.raises(InvalidInput, match=r"level must be in \(0, 1\)"):
        regressor.predict_interval(ROWS, level=90)


def test_is_reached_by_its_room_alone() -> None:
    code = (
        "import sys, torch_gbp as gbp; assert 'sklearn' not in sys.modules; "
        "assert gbp.sklearn.GBPClassifier().epochs is None and 'sklearn' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_asks_for_scikit_learn_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"no scikit-learn\. .* pip install 'torch-gbp\[sklearn\]'"):
        importlib.reload(torch_gbp.sklearn)
