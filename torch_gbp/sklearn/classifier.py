"""GBPClassifier: labels of the rows of a table, with probabilities that count the weights' uncertainty."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from torch_gbp.errors import InvalidInput
from torch_gbp.likelihoods import Softmax
from torch_gbp.sklearn.estimator import GBPEstimator
from torch_gbp.sklearn.settings import CLASSES


class GBPClassifier(ClassifierMixin, GBPEstimator):
    """Bayesian multilayer perceptron for classification, trained by Gaussian message passing.

    Rows are standardised; p(y | x) = softmax(k m) from the mean m and variance of every logit (`torch_gbp.Softmax`), in one
    forward pass. A scikit-learn estimator: pipelines, cross-validation, grid searches, clone and pickle take it, and it knows
    the names of the columns of a pandas table. Missing values and sparse matrices are refused. There is no `sample_weight`:
    training goes in batches, where a weight of two is not the same as two rows.

    Args:
        hidden: widths of the hidden layers; () is linear.
        epochs: passes over the rows; None makes up 1,000 steps.
        batch_size: rows of a step; None takes 16, or a fiftieth of the rows.
        lr: peak rate of the steps, in (0, 1]; None takes 0.2.
        random_state: seed of the start and of the order of the rows; an integer, a `numpy.random.RandomState`, or None.
        verbose: show a progress bar of every pass.

    Attributes:
        classes_: the labels, sorted.
        network_, likelihood_: what was trained, in double precision, for rows in their own units: `gbp.predict(network_,
            likelihood_, torch.as_tensor(X))`. The network's first layer standardises them.
        scaler_: mean and scale of the features.
        settings_: hidden, epochs, batch_size and lr as they were used.
        n_features_in_, feature_names_in_: width of the table, and its columns' names where it has some.

    >>> from sklearn.datasets import make_moons
    >>> x, y = make_moons(200, noise=0.1, random_state=0)
    >>> found = GBPClassifier(epochs=20, random_state=0).fit(x[:100], y[:100])
    >>> found.score(x[100:], y[100:]) > 0.85, found.predict_proba(x[100:]).shape
    (True, (100, 2))
    """

    _recipe = CLASSES

    def fit(self, X: Any, y: Any) -> GBPClassifier:
        """Trains anew on rows X (n, features) and labels y (n,), numbers or text.

        Raises:
            InvalidInput: settings out of range; labels of one class only.
            ValueError: scikit-learn's own, for rows that are not finite numbers, and labels that are real numbers.
        """
        x, y = self._rows(X, y)
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise InvalidInput(
                "labels of one class only",
                where="GBPClassifier.fit",
                got=f"{len(y)} times {classes[0]!s}",
                cause="rows sorted by their label and cut, or a fold without the other classes",
                fix="pass rows of two classes or more (shuffled, or stratified)",
            )
        self.classes_ = classes
        return self._train(x, torch.as_tensor(labels), len(classes), Softmax())

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (n, classes), in the order of `classes_`.

        Raises:
            NotFittedError: before `fit`.
            ValueError: scikit-learn's own, for rows unlike those of the fit.
        """
        return self._predictive(X).probs.numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable labels (n,)."""
        likely = self.predict_proba(X).argmax(1)
        return self.classes_[likely]

    def uncertainty(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Epistemic and aleatoric parts of the entropy of the labels, (n,) each, in nats (`torch_gbp.Predictive`)."""
        found = self._predictive(X)
        return found.epistemic.numpy(), found.aleatoric.numpy()
