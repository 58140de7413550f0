"""Reading: what models return, tensors, arrays or distributions, as predictions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal, Poisson
from torch.distributions import LowRankMultivariateNormal as LowRankNormal
from torch.distributions import MultivariateNormal as JointNormal

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import shown
from torch_gbp.evaluation.checks import WHERE
from torch_gbp.evaluation.outcome import Predictions
from torch_gbp.likelihoods.information import mutual_information
from torch_gbp.metrics.counts import Counts
from torch_gbp.metrics.mixture import Mixture
from torch_gbp.predictive import Predictive

OUTPUTS = ("logits", "log_probabilities", "probabilities", "mean_std", "mean_variance")


def read(found: Any, outputs: str | None) -> Predictions:
    """Predictions from what a model has returned for a batch.

    Args:
        found: `Predictions`; a `Predictive` of `torch_gbp.predict`; a torch distribution, or an object that has it as
            `.predictive` (VBLL); tensors or arrays, which mean what `outputs` says.
        outputs: "logits", "log_probabilities" or "probabilities" (n, classes), "mean_std" or "mean_variance", a pair of (n, ...).

    Raises:
        InvalidInput: tensors whose meaning is not said, distributions that are no classes, Gaussians, Poisson counts or mixtures
            of these, and what `Predictions` raises.

    >>> read(torch.tensor([[0.0, 0.0]]), "logits").probabilities
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    if isinstance(found, Predictions):
        return found
    if isinstance(found, Predictive):
        return _of_predictive(found)
    own = found if isinstance(found, Distribution) else getattr(found, "predictive", None)
    return _of_distribution(own) if isinstance(own, Distribution) else _of_arrays(found, outputs)


def _of_predictive(found: Predictive) -> Predictions:
    """Of `torch_gbp.predict`: with its epistemic part, and the energy of class outputs."""
    own = _of_distribution(found.distribution)
    energy = -found.belief.mean.logsumexp(1) if own.kind == "classification" else None
    return replace(own, epistemic=found.epistemic, energy=energy)


def _of_distribution(found: Distribution) -> Predictions:
    if isinstance(found, Categorical):
        return _of_logs(found.logits.double().log_softmax(-1))
    own = found.base_dist if isinstance(found, Independent) else found
    if isinstance(own, MixtureSameFamily) and isinstance(own.component_distribution, Normal):
        return _of_mixture(own.mixture_distribution.logits, own.component_distribution)
    if isinstance(own, (Normal, JointNormal, LowRankNormal)):
        return Predictions(mean=own.mean, std=own.variance.double().sqrt())
    if isinstance(own, Poisson) or (isinstance(own, MixtureSameFamily) and isinstance(own.component_distribution, Poisson)):
        return Predictions(mean=own.mean, std=own.variance.double().sqrt(), mixture=Counts([own]))
    raise InvalidInput(
        "only classes, Poisson counts, Gaussians and mixtures of these can be scored",
        where=WHERE,
        got=type(found).__name__,
        cause="other counts, or a distribution with heavy tails",
        fix="score it by its own log_prob, or pass (mean, std) with outputs='mean_std'",
    )


def _of_mixture(logits: Tensor, parts: Normal) -> Predictions:
    weight = logits.double().log_softmax(-1)
    mixture = Mixture(*torch.broadcast_tensors(weight, parts.mean.double(), parts.stddev.double()))
    mean, std = mixture.moments()
    return Predictions(mean=mean, std=std, mixture=mixture)


def _of_arrays(found: Any, outputs: str | None) -> Predictions:
    if outputs not in OUTPUTS:
        raise InvalidInput(
            "what the model's outputs mean has to be said" if outputs is None else "unknown kind of outputs",
            where=WHERE,
            got=shown(found) if outputs is None else shown(outputs),
            cause="a network that may give logits or probabilities",
            fix=f"say outputs={', '.join(map(repr, OUTPUTS[:-1]))} or {OUTPUTS[-1]!r}; or pass a likelihood",
        )
    if outputs in ("mean_std", "mean_variance"):
        return _of_moments(found, outputs)
    values = tensor(found).detach().double()
    if outputs == "logits" and values.ndim == 2:
        return replace(_of_logs(values.log_softmax(1)), energy=-values.logsumexp(1))
    return _of_logs(values) if outputs == "log_probabilities" else Predictions(probabilities=values)


def _of_logs(logs: Tensor) -> Predictions:
    return Predictions(probabilities=logs.exp(), log_probabilities=logs)


def _of_moments(found: Any, outputs: str) -> Predictions:
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise InvalidInput(f"outputs={outputs!r} needs a pair of tensors", where=WHERE, got=shown(found), fix="return both")
    mean, spread = (tensor(part).detach().double() for part in found)
    return Predictions(mean=mean, std=spread.sqrt() if outputs == "mean_variance" else spread)


def tensor(values: Any) -> Tensor:
    """Tensors as they are, arrays and lists as tensors.

    Raises:
        InvalidInput: anything else.
    """
    try:
        return values if isinstance(values, Tensor) else torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput("a tensor or an array is needed", where=WHERE, got=shown(values), fix="pass a torch tensor") from error


def joined(parts: list[Predictions]) -> Predictions:
    """Predictions of several batches as those of one; what only some of them know is left out."""
    together: dict[str, Any] = {"shape": parts[0].shape}
    for name in ("probabilities", "log_probabilities", "mean", "std", "epistemic", "energy", "ood_score", "inputs"):
        own = [getattr(part, name) for part in parts]
        together[name] = None if any(part is None for part in own) else torch.cat(own)
    if any(part.mixture is not None for part in parts):
        together["mixture"] = _one_after_the_other([part.whole() for part in parts])
    return Predictions(**together)


def _one_after_the_other(parts: list[Mixture | Counts]) -> Mixture | Counts:
    counts = [own for part in parts if isinstance(part, Counts) for own in part.parts]
    if counts:
        return Counts(counts)
    return Mixture(*(torch.cat(same) for same in zip(*parts, strict=True)))


def averaged(members: list[Predictions]) -> Predictions:
    """Predictions of an ensemble: members of equal weight, with the epistemic part that their differences show.

    Classes: mean probabilities, and the mutual information H(mean p) - mean H(p). Real targets: the even mixture, and the
    variance of the means.
    """
    shapes = {tuple(one.probabilities.shape) if one.probabilities is not None else ("real", len(one)) for one in members}
    if len(shapes) > 1:
        raise InvalidInput(
            "the members predict different things", where=WHERE, got=str(sorted(map(str, shapes))), fix="use one kind"
        )
    if members[0].probabilities is not None:
        p = torch.stack([one.probabilities for one in members if one.probabilities is not None])
        logs = torch.stack([one.log_probabilities for one in members if one.log_probabilities is not None])
        mean = logs.logsumexp(0) - math.log(len(logs))
        return Predictions(probabilities=p.mean(0), log_probabilities=mean, epistemic=mutual_information(p))
    whole = [own for one in members if isinstance(own := one.whole(), Mixture)]
    if len(whole) < len(members):
        raise InvalidInput("ensembles of counts are not averaged", where=WHERE, got="Poisson", fix="evaluate each member")
    weight = torch.cat([one.log_weight for one in whole], -1) - torch.tensor(len(whole)).double().log()
    mixture = Mixture(weight, *(torch.cat([getattr(one, part) for one in whole], -1) for part in ("mean", "std")))
    mean, std = mixture.moments()
    means = torch.stack([one.moments()[0] for one in whole])
    apart, shape = means.var(0, unbiased=False), members[0].shape
    return Predictions(mean=mean, std=std, mixture=mixture, epistemic=apart, shape=shape)
