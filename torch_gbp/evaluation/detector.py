"""Detector: the OOD score that a network gets from its training data, beside what its predictions tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from torch_gbp.batches import is_array
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import shown
from torch_gbp.evaluation.adapter import Adapter, placed
from torch_gbp.evaluation.checks import WHERE
from torch_gbp.evaluation.data import as_pair, chunked
from torch_gbp.evaluation.outcome import Predictions
from torch_gbp.evaluation.reading import tensor
from torch_gbp.likelihoods import Likelihood, Softmax
from torch_gbp.predictive.ood import OODScore
from torch_gbp.trainer import Trainer

LOGITS = ("logits", "log_probabilities")  # what a plain module returns of which the softmax is its prediction


class Network(NamedTuple):
    """A torch module whose softmax or likelihood predicts classes, and how it predicts."""

    module: nn.Module
    likelihood: Likelihood
    how: str | None


def with_ood_score(ask: Adapter, network: Network | None, train: Any, samples: int) -> Adapter:
    """The predictions of an adapter with the `torch_gbp.OODScore` of their inputs.

    Args:
        ask: the adapter of a model.
        network: what has the model's features; None leaves the predictions as they are.
        train: loader or data set of (input, target), the training data; or a pair of tensors; None for no score.
        samples: as in `torch_gbp.predict`.

    Raises:
        InvalidInput: batches that cannot be read again for the next model; what `OODScore` raises.

    >>> import torch
    >>> from torch_gbp.evaluation.adapter import adapter
    >>> x, y = torch.randn(50, 2), torch.arange(50) % 2
    >>> model = nn.Linear(2, 2)
    >>> ask = with_ood_score(adapter(model, outputs="logits"), network_of(model, outputs="logits"), (x, y), 16)
    >>> ask(x).ood_score.shape
    torch.Size([50])
    """
    if train is None or network is None:
        return ask
    score = OODScore(network.module, network.likelihood, _batches(train, network.module), network.how, samples)

    def asked(x: Any) -> Predictions:
        return replace(ask(x), ood_score=score(placed(x, network.module)))

    return asked


def network_of(
    model: Any, likelihood: Likelihood | None = None, outputs: str | None = None, how: str | None = None
) -> Network | None:
    """The network behind a model of `torch_gbp.evaluate`: with marginals, a module of `lightning_modules`, or of logits.

    None of models that have no features to ask for: ensembles, estimators, functions, modules that return anything else.
    """
    if isinstance(model, Trainer):
        return network_of(model.model, model.likelihood, how=how)
    if not isinstance(model, nn.Module):
        return None
    if likelihood is not None:
        return Network(model, likelihood, how)
    inner = getattr(model, "model", None)
    if hasattr(model, "log_probabilities") and isinstance(inner, nn.Module):  # of lightning_modules
        own = getattr(model, "likelihood", None)
        return Network(inner, own or Softmax(), None if own else "means")
    return Network(model, Softmax(), "means") if outputs in LOGITS else None


def _batches(train: Any, module: nn.Module) -> Any:
    """Batches that can be read again for the next model; arrays as the model is given them."""
    if isinstance(train, Iterable) and iter(train) is train:
        raise InvalidInput(
            "training data are a loader, a data set or a pair of tensors",
            where=f"{WHERE}, train",
            got=shown(train),
            cause="a generator, which can be read once",
            fix="pass the DataLoader that the model was trained with",
        )
    train = as_pair(train)
    if isinstance(train, tuple) and len(train) == 2 and all(map(is_array, train)):
        train = placed(train[0], module), tensor(train[1])
    return chunked(train)
