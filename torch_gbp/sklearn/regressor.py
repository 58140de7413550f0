"""GBPRegressor: real targets of the rows of a table, with standard deviations and intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.preprocessing import StandardScaler

from torch_gbp.likelihoods import Regression
from torch_gbp.sklearn.estimator import GBPEstimator
from torch_gbp.sklearn.settings import REAL


class GBPRegressor(RegressorMixin, GBPEstimator):
    """Bayesian multilayer perceptron for regression, trained by Gaussian message passing.

    Rows and targets are standardised; y ~ N(m, v + noise) with mean m and variance v of the network's output, and one noise
    variance for all rows, which is learned (`torch_gbp.Regression`). A scikit-learn estimator, with `predict(X,
    return_std=True)` as its Gaussian processes have it. Missing values and sparse matrices are refused, and there is no
    `sample_weight`, as in `GBPClassifier`.

    Args:
        epochs: passes over the rows; None makes up 1,500 steps.
        lr: peak rate of the steps, in (0, 1]; None takes 0.1.
        hidden, batch_size, random_state, verbose: as in `GBPClassifier`.

    Attributes:
        targets_: mean and scale of the targets.
        network_, likelihood_, scaler_, settings_, n_features_in_, feature_names_in_: as in `GBPClassifier`; the likelihood
            predicts in the targets' units.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-2, 2, (200, 1))
    >>> y = 100 + 5 * np.sin(2 * x[:, 0]) + rng.normal(0, 0.5, 200)
    >>> found = GBPRegressor(hidden=(32,), epochs=40, random_state=0).fit(x, y)
    >>> mean, std = found.predict([[0.0], [8.0]], return_std=True)
    >>> bool(abs(mean[0] - 100) < 1), bool(0.4 < std[0] < 0.8), bool(std[1] > 2 * std[0])
    (True, True, True)
    """

    _recipe = REAL

    def fit(self, X: Any, y: Any) -> GBPRegressor:
        """Trains anew on rows X (n, features) and targets y, (n,) or (n, k) for k of them at once.

        Raises:
            InvalidInput: settings out of range.
            ValueError: scikit-learn's own, for rows or targets that are not finite numbers.
        """
        x, y = self._rows(X, y, multi_output=True, y_numeric=True)
        columns = y.reshape(len(y), -1).astype(np.float64)
        self.targets_ = StandardScaler().fit(columns)
        standard = torch.as_tensor(self.targets_.transform(columns), dtype=torch.float32)
        self._single = y.ndim == 1
        found = self._train(x, standard, columns.shape[1], Regression())
        self._in_own_units()
        return found

    def _in_own_units(self) -> None:
        """Has the likelihood, which has standardised the standard targets once more, lead back to the table's."""
        targets = self.likelihood_.targets
        assert targets is not None
        mean, scale = (torch.as_tensor(part) for part in (self.targets_.mean_, self.targets_.scale_))
        targets.mean.mul_(scale).add_(mean)
        targets.scale.mul_(scale)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Means of the targets, shaped as those of the fit; with return_std their deviations beside them, noise included.

        Raises:
            NotFittedError: before `fit`.
            ValueError: scikit-learn's own, for rows unlike those of the fit.
        """
        found = self._predictive(X).distribution
        mean = self._shaped(found.mean.numpy())
        return (mean, self._shaped(found.stddev.numpy())) if return_std else mean

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends of the central intervals that hold a target with this probability.

        Raises:
            InvalidInput: a level that is not between 0 and 1.
        """
        low, high = self._predictive(X).interval(level)
        return self._shaped(low.numpy()), self._shaped(high.numpy())

    def uncertainty(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Epistemic and aleatoric variance of the targets, in squared units (`torch_gbp.Predictive`)."""
        found = self._predictive(X)
        return self._shaped(found.epistemic.numpy()), self._shaped(found.aleatoric.numpy())

    def _shaped(self, columns: np.ndarray) -> np.ndarray:
        return columns[:, 0] if self._single else columns

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
