"""The common part of both estimators: their settings, standardised inputs, and the predictive distribution of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from torch_gbp.layers.standardise import Standardise
from torch_gbp.likelihoods import Likelihood
from torch_gbp.predictive import Predictive, predict
from torch_gbp.sklearn.settings import HIDDEN, Recipe, require_flag, resolved
from torch_gbp.sklearn.training import trained

LARGEST_SEED = 2**31 - 1


class GBPEstimator(BaseEstimator):
    """What `GBPClassifier` and `GBPRegressor` share."""

    _recipe: Recipe

    def __init__(
        self,
        hidden: tuple[int, ...] = HIDDEN,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.hidden, self.epochs, self.batch_size, self.lr = hidden, epochs, batch_size, lr
        self.random_state, self.verbose = random_state, verbose

    def _rows(self, X: Any, y: Any, **checks: Any) -> tuple[np.ndarray, np.ndarray]:
        """Training rows and their targets, checked by scikit-learn, which keeps the number of columns and their names."""
        x, y = validate_data(self, X, y, dtype=np.float64, **checks)
        return np.asarray(x), np.asarray(y)

    def _train(self, x: np.ndarray, y: Tensor, outputs: int, likelihood: Likelihood) -> Any:
        """Trains a network on these rows, and keeps all that is learnt."""
        where = type(self).__name__
        settings = resolved(self.hidden, self.epochs, self.batch_size, self.lr, self._recipe, len(x), where)
        verbose = require_flag("verbose", self.verbose, where)
        seed = int(check_random_state(self.random_state).randint(LARGEST_SEED))
        scaler = StandardScaler().fit(x)
        rows = torch.as_tensor(scaler.transform(x), dtype=torch.float32)
        network = trained(rows, y, outputs, likelihood, settings, seed, verbose)
        self.network_ = nn.Sequential(_standardising(scaler), network).eval()
        self.scaler_, self.likelihood_, self.settings_ = scaler, likelihood, settings
        return self

    def _predictive(self, X: Any) -> Predictive:
        """Predictive distribution of the targets of rows, as the network has them."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        with torch.no_grad():
            return predict(self.network_, self.likelihood_, torch.tensor(x), "moments")


def _standardising(scaler: StandardScaler) -> Standardise:
    """The layer that does what the scaler did to the rows of the training, by the same numbers.

    A fit of its own would take other ones: it forms the mean of squares, and what is left of a small spread beside a large mean
    is rounding there.
    """
    mean, scale = (torch.as_tensor(part, dtype=torch.float64) for part in (scaler.mean_, scaler.scale_))
    return Standardise(dtype=torch.float64).adopt(mean, scale, float(scaler.n_samples_seen_))
