"""evaluate: one call from a model, or its predictions, to all scores with their errors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import shown
from torch_gbp.evaluation.adapter import Adapter, adapter
from torch_gbp.evaluation.checks import WHERE
from torch_gbp.evaluation.data import given, predicted, predicted_inputs
from torch_gbp.evaluation.detector import network_of, with_ood_score
from torch_gbp.evaluation.outcome import Outcome, Predictions
from torch_gbp.evaluation.reading import tensor
from torch_gbp.evaluation.scorecard import RESAMPLES, Scorecard, score
from torch_gbp.likelihoods import Likelihood
from torch_gbp.predictive.predict import SAMPLES


def evaluate(
    model: Any,
    data: Any,
    likelihood: Likelihood | None = None,
    *,
    outputs: str | None = None,
    ood: Mapping[str, Any] | None = None,
    near: Collection[str] = (),
    train: Any = None,
    name: str | None = None,
    how: str | None = None,
    samples: int = SAMPLES,
    resamples: int = RESAMPLES,
    seed: int = 0,
    keep_inputs: bool = False,
) -> Scorecard:
    """Scores of the predictive distributions of any model, with standard errors, by the names of torch-uncertainty's routines.

    Accuracy, likelihood, calibration, selective prediction and OOD detection of classes; error, likelihood, CRPS, calibration
    and intervals of real targets and of counts: see `Scorecard`.

    Args:
        model: network with marginals and its `likelihood`, or their `Trainer`; plain torch module or function, with `outputs`;
            list of models (an ensemble); scikit-learn estimator; `laplace.Laplace`; VBLL network; module of
            `lightning_modules`: see `adapter`. Or predictions: probabilities (n, classes), a pair (mean, standard deviation), a
            torch distribution, `Predictions`.
        data: loader or data set of (input, target), or a pair of tensors or arrays; of predictions, the targets alone.
        likelihood: what the network was trained with.
        outputs: what tensors mean that a model returns, where it returns tensors: "logits", "log_probabilities",
            "probabilities", "mean_std", "mean_variance".
        ood: other inputs by the names of the sets: loaders, data sets, tensors or arrays; of predictions, predictions.
        near: names of the sets that are near to the data.
        train: loader or data set of the training data, or a pair of tensors: with `ood`, networks with marginals and modules of
            logits then tell other inputs by `torch_gbp.OODScore`, which sees them far away, where predictions grow surer again.
        name: of the model; None takes that of its class.
        how, samples: of networks with marginals, as in `torch_gbp.predict`.
        resamples, seed: of the bootstrap, as in `score`.
        keep_inputs: keep them in the outcome, as a report shows them.

    Raises:
        InvalidInput: no examples; labels out of range; targets of another shape, or not finite; probabilities that are NaN,
            negative or do not sum to 1, deviations that are not positive, each with the row; one class only; tensors whose
            meaning is not said; an OOD set with the predictions of the data; what is no model.

    >>> import torch
    >>> from torch import nn
    >>> x = torch.randn(200, 2)
    >>> network, y = nn.Linear(2, 2, bias=False), (x[:, 0] > 0).long()
    >>> card = evaluate(network, (x, y), outputs="logits", ood={"near 0": x / 9}, resamples=20)
    >>> [name for name in card if "AUROC" in name], card["ood/near 0/AUROC"].value > 0.5, card["cls/NLL"].error > 0
    (['ood/near 0/AUROC', 'ood/near 0/AUROC_entropy', 'ood/near 0/AUROC_energy'], True, True)
    """
    others = _sets(ood)
    known = given(model, outputs)
    if known is None:
        ask = adapter(model, likelihood, outputs, how, samples)
        if others:
            ask = with_ood_score(ask, network_of(model, likelihood, outputs, how), train, samples)
        found = _of_model(ask, data, others, keep_inputs)
    else:
        found = _of_predictions(known, data, others, outputs)
    own, targets, outside = found
    title = type(model).__name__ if name is None else name
    return score(Outcome(title, targets, ood=outside, near=near, **own.parts()), resamples, seed)


_Found = tuple[Predictions, Tensor, dict[str, Predictions]]  # on the data, its targets, on other inputs


def _of_model(ask: Adapter, data: Any, others: dict[str, Any], keep_inputs: bool) -> _Found:
    own, targets = predicted(ask, data, keep_inputs)
    return own, targets, {name: predicted_inputs(ask, inputs, keep_inputs) for name, inputs in others.items()}


def _of_predictions(own: Predictions, targets: Any, others: dict[str, Any], outputs: str | None) -> _Found:
    outside: dict[str, Predictions] = {}
    for name, other in others.items():
        found = given(other, outputs)
        if found is None:
            raise InvalidInput(
                f"predictions of the OOD set {name!r} are needed", where=WHERE, got=shown(other), fix="pass a model"
            )
        outside[name] = found
    return own, tensor(targets), outside


def _sets(ood: Any) -> dict[str, Any]:
    """The sets of other inputs, by their names."""
    if ood is not None and not isinstance(ood, Mapping):
        fix = "pass ood={'name': data}"
        raise InvalidInput("ood is a dictionary of sets by their names", where=WHERE, got=shown(ood), fix=fix)
    return dict(ood or {})
