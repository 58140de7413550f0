"""Acquisition scores: how much the label of an example is worth, from its prediction alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_values, shown
from torch_gbp.errors.rows import require_probabilities
from torch_gbp.likelihoods import information
from torch_gbp.likelihoods.evidence import per_example
from torch_gbp.predictive import Predictive


def entropy(found: Predictive | Tensor) -> Tensor:
    """Entropy (n,) of the prediction in nats: H(p) of classes, and 1/2 log(2 pi e Var[y]) summed over an example's real targets.

    For real targets the Gaussian's of the same variance, whatever the distribution.

    >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    tensor([0.6931, 0.0000])
    """
    if isinstance(found, Predictive) and not isinstance(found.distribution, Categorical):
        return per_example(0.5 * (2 * math.pi * math.e * found.distribution.variance).log())
    return information.entropy(class_probabilities(found))


def bald(found: Predictive | Tensor) -> Tensor:
    """Mutual information (n,) in nats of the label and the weights: H(E[p(y | w)]) - E[H(p(y | w))], `Predictive.epistemic`.

    Of real targets 1/2 log(Var[y] / E[Var[y | w]]), summed over those of an example: exact for Gaussians of one noise variance.
    Source: Houlsby et al. 2011.

    >>> bald(torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]]))  # two networks: they disagree, they do not know
    tensor([0.6931, 0.0000])
    """
    if not isinstance(found, Predictive):
        return information.mutual_information(sampled(found, "bald"))
    if found.how == "means":
        raise InvalidInput(
            "a prediction at the means says nothing of the weights",
            where="bald",
            got='predict(..., how="means")',
            fix='predict by "moments", "samples" or "linear"; or use how="entropy"',
        )
    if isinstance(found.distribution, Categorical):
        return found.epistemic
    return per_example(0.5 * torch.log1p(found.epistemic / found.aleatoric))


def confidence(found: Predictive | Tensor) -> Tensor:
    """Least confidence: 1 - p of the most probable class, (n,).

    >>> confidence(torch.tensor([[0.5, 0.4, 0.1]]))
    tensor([0.5000])
    """
    return 1 - class_probabilities(found).amax(-1)


def margin(found: Predictive | Tensor) -> Tensor:
    """Probability of the second class less that of the first, (n,): 0 where two are as likely, -1 where one is certain.

    Source: Scheffer et al. 2001.

    >>> margin(torch.tensor([[0.5, 0.4, 0.1]]))
    tensor([-0.1000])
    """
    p = class_probabilities(found)
    if p.shape[-1] < 2:
        raise InvalidInput(
            "a margin is between two classes", where="margin", got=f"shape {tuple(p.shape)}", fix="use p and 1 - p"
        )
    first, second = p.topk(2, -1).values.unbind(-1)
    return second - first


def class_probabilities(found: Predictive | Tensor) -> Tensor:
    """Class probabilities (n, classes), of samples (S, n, classes) their average."""
    p = found.probs if isinstance(found, Predictive) else found
    return p.mean(0) if p.ndim == 3 else p


def sampled(found: Predictive | Tensor, how: str) -> Tensor:
    """Class probabilities (S, n, classes) of sampled networks.

    Raises:
        InvalidInput: there are none.
    """
    if isinstance(found, Predictive):
        return found.sample_probs
    if found.ndim == 3:
        return found
    raise InvalidInput(
        f"{how!r} needs the class probabilities of several networks",
        where="select",
        got=f"shape {tuple(found.shape)}",
        cause="probabilities that are averaged already",
        fix="pass predict(model, likelihood, x, how='samples'), or probabilities (S, n, classes)",
    )


SCORES: Mapping[str, Callable[[Any], Tensor]] = {"entropy": entropy, "bald": bald, "margin": margin, "confidence": confidence}


def require_predicted(found: Any, where: str) -> None:
    """Raises InvalidInput unless it is a Predictive, scores (n,), or class probabilities (n, classes) or (S, n, classes)."""
    if isinstance(found, Predictive):
        return
    if not (isinstance(found, Tensor) and found.is_floating_point() and found.ndim in (1, 2, 3) and found.numel()):
        got = f"{found.dtype}, shape {tuple(found.shape)}" if isinstance(found, Tensor) else shown(found)
        raise InvalidInput(
            "a prediction is needed: a Predictive, class probabilities (n, classes) or (S, n, classes), or scores (n,)",
            where=where,
            got=got,
            fix="pass what predict returns",
        )
    require_values(found, where)
    if found.ndim > 1:
        require_probabilities(found, where, fix="pass logits.softmax(-1)")
    elif bool(found.isnan().any()):
        raise InvalidInput(
            "scores are NaN", where=where, got=f"{int(found.isnan().sum())} of {len(found)}", fix="leave these examples out"
        )
