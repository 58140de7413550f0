"""The tables that scikit-learn ships, by five-fold cross-validation: its estimators and ours, all with their default settings."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn import datasets
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.results import Request, Result, Row, matching, say
from torch_gbp.metrics import regression_scores
from torch_gbp.sklearn import GBPClassifier, GBPRegressor

FOLDS = 5
LARGE = 1000  # rows beyond which a Gaussian process is left out: it takes minutes
QUICK_ROWS, QUICK_EPOCHS = 60, 2
TITLES = {
    "gbp": "torch_gbp",
    "linear": "logistic regression / Bayesian ridge",
    "forest": "random forest",
    "boosting": "gradient boosting",
    "mlp": "multilayer perceptron",
    "gp": "Gaussian process",
}


class Table(NamedTuple):
    """Where a table comes from, and whether its targets are classes."""

    load: Callable[..., Any]
    classes: bool = True

    def rows(self, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets, shuffled once."""
        x, y = self.load(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(x))[:limit]
        return x[order], y[order]


TABLES = {
    "iris": Table(datasets.load_iris),
    "wine": Table(datasets.load_wine),
    "breast_cancer": Table(datasets.load_breast_cancer),
    "digits": Table(datasets.load_digits),
    "diabetes": Table(datasets.load_diabetes, classes=False),
}


def run(request: Request) -> Result:
    """Accuracy and NLL, or root mean squared error and Gaussian NLL, of every table, method and fold (`--seeds`)."""
    deviation = "their own; forest, boosting and perceptron: root mean squared error of five inner folds"
    told = {
        "folds": FOLDS,
        "seconds": "of the processor, one thread",
        "settings": "defaults of scikit-learn and of torch_gbp",
        "deviations": deviation,
    }
    return Result(told, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    for name in request.asked(TABLES):
        x, y = TABLES[name].rows(QUICK_ROWS if request.quick else request.limit)
        methods = classifiers(request.quick) if TABLES[name].classes else regressors(request.quick)
        folds = (StratifiedKFold if TABLES[name].classes else KFold)(FOLDS, shuffle=True, random_state=0).split(x, y)
        for fold, (train, test) in enumerate(folds):
            for method in [method for method in request.methods or TITLES if not (method == "gp" and len(x) > LARGE)]:
                case = {"method": method, "net": name, "limit": len(x), "seed": fold, "epochs": 0}
                if fold in request.runs and not matching(request.done, **case):
                    yield _row(case, methods[method], (x[train], y[train]), (x[test], y[test]), TABLES[name].classes)


def _row(case: Row, method: BaseEstimator, train: Any, test: Any, classes: bool) -> Row:
    """A method that is fitted to a fold and scored on the rest."""
    made: Any = clone(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the defaults' own, such as 200 passes of a perceptron
        start = time.process_time()
        made.fit(*train)
        fitted = time.process_time()
        found = classified(made, *test) if classes else regressed(made, *test)
    seconds = {"train_seconds": fitted - start, "predict_seconds": time.process_time() - fitted}
    say(case, f"{case['method']} " + ", ".join(f"{key} {value:.4f}" for key, value in (found | seconds).items()))
    return case | found | seconds


def classified(made: Any, x: np.ndarray, y: np.ndarray) -> Row:
    """Accuracy, and NLL as scikit-learn takes it: a probability of 0 counts as 2e-16."""
    probabilities = made.predict_proba(x)
    accuracy = float((made.classes_[probabilities.argmax(1)] == y).mean())
    return {"accuracy": accuracy, "nll": float(log_loss(y, probabilities, labels=made.classes_))}


def regressed(made: Any, x: np.ndarray, y: np.ndarray) -> Row:
    """Root mean squared error, and NLL of the Gaussian with the predicted deviation, in the targets' units."""
    mean, std, target = (torch.as_tensor(part).double()[:, None] for part in (*made.predict(x, return_std=True), y))
    found = regression_scores(mean, std.square(), target)
    return {"rmse": found["rmse"], "nll": -found["log_likelihood"]}


class WithDeviation(BaseEstimator):
    """A regressor with one deviation for all rows, the root mean squared error of predictions in five inner folds."""

    def __init__(self, regressor: Any) -> None:
        self.regressor: Any = regressor

    def fit(self, x: np.ndarray, y: np.ndarray) -> WithDeviation:
        self.deviation_ = float(np.sqrt(np.mean((y - cross_val_predict(clone(self.regressor), x, y, cv=FOLDS)) ** 2)))
        self.fitted_: Any = clone(self.regressor)
        self.fitted_.fit(x, y)
        return self

    def predict(self, x: np.ndarray, return_std: bool = True) -> tuple[np.ndarray, np.ndarray]:
        mean = self.fitted_.predict(x)
        return mean, np.full_like(mean, self.deviation_)


def classifiers(quick: bool) -> dict[str, Any]:
    """The methods for classes; perceptrons, processes and linear ones with standardised inputs."""
    few: dict[str, Any] = {"epochs": QUICK_EPOCHS} if quick else {}
    return {
        "gbp": GBPClassifier(**few, random_state=0),
        "linear": make_pipeline(StandardScaler(), LogisticRegression()),
        "forest": RandomForestClassifier(random_state=0),
        "boosting": HistGradientBoostingClassifier(random_state=0),
        "mlp": make_pipeline(StandardScaler(), MLPClassifier(random_state=0)),
        "gp": make_pipeline(StandardScaler(), GaussianProcessClassifier(ConstantKernel() * RBF(), random_state=0)),
    }


def regressors(quick: bool) -> dict[str, Any]:
    """The methods for real targets; perceptrons with standardised targets too, without which they need thousands of passes."""
    few: dict[str, Any] = {"epochs": QUICK_EPOCHS} if quick else {}
    kernel = ConstantKernel() * RBF() + WhiteKernel()
    return {
        "gbp": GBPRegressor(**few, random_state=0),
        "linear": make_pipeline(StandardScaler(), BayesianRidge()),
        "forest": WithDeviation(RandomForestRegressor(random_state=0)),
        "boosting": WithDeviation(HistGradientBoostingRegressor(random_state=0)),
        "mlp": WithDeviation(_standardised(MLPRegressor(random_state=0))),
        "gp": make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)),
    }


def _standardised(regressor: Any) -> Any:
    return TransformedTargetRegressor(make_pipeline(StandardScaler(), regressor), transformer=StandardScaler())
