"""scikit-learn's own checks of an estimator, all of them, none marked as expected to fail."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks

from torch_gbp.sklearn import GBPClassifier, GBPRegressor

FEW = {"epochs": 3}  # the checks fit a hundred times

pytestmark = pytest.mark.filterwarnings("ignore")  # of what the checks try: NotLearning, zero-sized folds, names that differ


@parametrize_with_checks([GBPClassifier(**FEW), GBPRegressor(**FEW)])
def test_scikit_learns_check(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)
