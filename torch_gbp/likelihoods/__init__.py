"""Likelihoods: what the targets say about the outputs, and the predictive distribution of a target."""

from torch_gbp.likelihoods.argmax import Argmax
from torch_gbp.likelihoods.base import Likelihood
from torch_gbp.likelihoods.elementwise import ElementwiseLikelihood
from torch_gbp.likelihoods.heteroscedastic import HeteroscedasticRegression
from torch_gbp.likelihoods.integrated_softmax import IntegratedSoftmax
from torch_gbp.likelihoods.one_hot import OneHotRegression
from torch_gbp.likelihoods.pairwise_argmax import PairwiseArgmax
from torch_gbp.likelihoods.poisson import Poisson
from torch_gbp.likelihoods.regression import Regression
from torch_gbp.likelihoods.softmax import Softmax
from torch_gbp.likelihoods.squared_softmax import SquaredSoftmax

__all__ = [
    "Argmax",
    "ElementwiseLikelihood",
    "HeteroscedasticRegression",
    "IntegratedSoftmax",
    "Likelihood",
    "OneHotRegression",
    "PairwiseArgmax",
    "Poisson",
    "Regression",
    "Softmax",
    "SquaredSoftmax",
]
