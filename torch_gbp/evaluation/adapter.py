"""Adapters: one protocol for all models, a call that turns a batch of inputs into predictions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import shown
from torch_gbp.evaluation.checks import WHERE
from torch_gbp.evaluation.outcome import Predictions
from torch_gbp.evaluation.reading import averaged, read
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods import Likelihood
from torch_gbp.modules import device_of, evaluating, spare
from torch_gbp.predictive import predict
from torch_gbp.predictive.predict import SAMPLES
from torch_gbp.trainer import Trainer
from torch_gbp.weights.attached import marginals


class Adapter(Protocol):
    """Predictions for a batch of inputs; a function of one's own that returns `Predictions` is one."""

    def __call__(self, x: Any, /) -> Predictions:
        """Predictions for the inputs of a batch."""
        ...


def adapter(
    model: Any,
    likelihood: Likelihood | None = None,
    outputs: str | None = None,
    how: str | None = None,
    samples: int = SAMPLES,
) -> Adapter:
    """The adapter of a model, by what it is.

    | model | predictions |
    |---|---|
    | network with marginals, and its likelihood; `Trainer` | `torch_gbp.predict`, by `how` and `samples` |
    | module of `lightning_modules` | its own, in the targets' units |
    | list or tuple of models | those of the ensemble, with what its members disagree about |
    | `laplace.Laplace` | its default predictive; regression with `sigma_noise` |
    | scikit-learn classifier | `predict_proba` |
    | scikit-learn regressor | `predict(x, return_std=True)` |
    | any other torch module, in evaluation mode, or callable | what it returns: a distribution (VBLL), or tensors, see `read` |

    Raises:
        InvalidInput: nothing of these; a network with marginals without its likelihood; an estimator whose classes are not 0, 1,
            2, ...; a regressor that gives no standard deviation.

    >>> adapter(nn.Linear(2, 3), outputs="logits")(torch.zeros(4, 2)).probabilities.shape
    torch.Size([4, 3])
    """
    if isinstance(model, (list, tuple)) and model:
        members = [adapter(one, likelihood, outputs, how, samples) for one in model]
        return lambda x: averaged([member(x) for member in members])
    if isinstance(model, Trainer):
        return adapter(model.model, model.likelihood, outputs, how, samples)
    if likelihood is not None:
        network: Any = model  # `predict` checks it
        return _on_tensors(model, lambda x: predict(network, likelihood, x, how, samples))
    own = next((make for fits, make in _KINDS if fits(model)), None)
    if own is None:
        raise InvalidInput(
            "this is no model that can be evaluated",
            where=WHERE,
            got=shown(model),
            fix="pass a torch module, a scikit-learn estimator, a list of them, a function of the inputs, or predictions",
        )
    return own(model, outputs)


def _on_tensors(model: Any, call: Callable[[Any], Any], outputs: str | None = None) -> Adapter:
    """A call on tensors where the model is, without gradients; the data stay, whatever the model does to its inputs."""

    def predictions(x: Any) -> Predictions:
        with torch.no_grad():
            return read(call(spare(placed(x, model))), outputs)

    return predictions


def placed(x: Any, model: Any) -> Any:
    """Inputs where the model is; arrays, which know nothing of float32, in the dtype of its weights."""
    if not isinstance(model, nn.Module):
        return x if isinstance(x, (Tensor, Gaussian)) else torch.as_tensor(x)
    if isinstance(x, (Tensor, Gaussian)):
        return x.to(device_of(model))
    x = torch.as_tensor(x, device=device_of(model))
    weight = next((one for one in model.parameters() if one.is_floating_point()), x)
    return x.to(weight.dtype) if x.is_floating_point() else x


def _module(model: nn.Module, outputs: str | None) -> Adapter:
    """A plain torch module, in evaluation mode."""
    if marginals(model):
        raise InvalidInput(
            "a network with marginals predicts by its likelihood",
            where=WHERE,
            got=type(model).__name__,
            fix="pass likelihood=..., the one that it was trained with",
        )

    def call(x: Tensor) -> Any:
        with evaluating(model):
            return model(x)

    return _on_tensors(model, call, outputs)


def _lightning(model: Any, outputs: str | None) -> Adapter:
    """A module of lightning_modules: a regressor in the targets' units, a classifier with its epistemic part if it has one."""

    def call(x: Tensor) -> Any:
        with evaluating(model):
            if hasattr(model, "predictive_moments"):
                return read(model.predictive_moments(x), "mean_variance")
            return model.predict(x) if hasattr(model, "predict") else read(model.log_probabilities(x), "log_probabilities")

    return _on_tensors(model, call)


def _laplace(model: Any, outputs: str | None) -> Adapter:
    """A fitted Laplace approximation (laplace-torch), which gives regression's variance without the noise."""

    def call(x: Tensor) -> Any:
        found = model(spare(x.to(device_of(model.model))))
        if model.likelihood == "classification":
            return read(found, "probabilities")
        mean, epistemic = found[0], found[1].diagonal(dim1=-2, dim2=-1)
        return Predictions(mean=mean, std=(epistemic + model.sigma_noise**2).sqrt(), epistemic=epistemic)

    return lambda x: call(torch.as_tensor(x))


def _classifier(model: Any, outputs: str | None) -> Adapter:
    """A scikit-learn classifier whose classes are 0, 1, 2, ..., as the labels must be."""
    classes = list(getattr(model, "classes_", ()))
    if classes and classes != list(range(len(classes))):
        raise InvalidInput(
            f"the estimator's classes must be 0 ... {len(classes) - 1}",
            where=WHERE,
            got=shown(classes),
            cause="labels that are names, or start at 1",
            fix="fit it on sklearn.preprocessing.LabelEncoder().fit_transform(y)",
        )
    return lambda x: read(model.predict_proba(_array(x)), "probabilities")


def _regressor(model: Any, outputs: str | None) -> Adapter:
    """A scikit-learn regressor with a standard deviation."""
    if "return_std" not in inspect.signature(model.predict).parameters:
        raise InvalidInput(
            "the regressor gives no standard deviation",
            where=WHERE,
            got=type(model).__name__,
            cause="an estimator of means alone",
            fix="use one with predict(x, return_std=True), such as BayesianRidge, or pass (mean, std) with outputs='mean_std'",
        )
    return lambda x: read(model.predict(_array(x), return_std=True), "mean_std")


def _array(x: Any) -> Any:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else x


def _is_laplace(model: Any) -> bool:
    return type(model).__module__.startswith("laplace") and hasattr(model, "likelihood")


def _is_lightning(model: Any) -> bool:
    return isinstance(model, nn.Module) and (hasattr(model, "log_probabilities") or hasattr(model, "predictive_moments"))


_KINDS: list[tuple[Callable[[Any], bool], Callable[[Any, str | None], Adapter]]] = [  # the first that fits
    (_is_laplace, _laplace),
    (_is_lightning, _lightning),
    (lambda model: isinstance(model, nn.Module), _module),
    (lambda model: hasattr(model, "predict_proba"), _classifier),
    (lambda model: hasattr(model, "predict"), _regressor),
    (callable, lambda model, outputs: _on_tensors(model, model, outputs)),
]
