"""select: the examples of a pool whose labels are worth most (pool-based active learning)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical

from torch_gbp.decide.batch import CONFIGURATIONS, batch_bald
from torch_gbp.decide.scores import SCORES, require_predicted, sampled
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_count, require_kind, shown
from torch_gbp.predictive import Predictive

WAYS = ("scores", *SCORES, "batchbald", "random")


@torch.no_grad()
def select(
    found: Predictive | Tensor,
    k: int,
    how: str | None = None,
    *,
    generator: torch.Generator | None = None,
    configurations: int = CONFIGURATIONS,
) -> Tensor:
    """Pool-based active learning: indices (k,) of the examples to label next, the most valuable first.

    | how | an example's worth | needs |
    |---|---|---|
    | "entropy" | H(p), what is not known of its label | a prediction |
    | "bald" | I(y; w), what its label would tell of the weights | an epistemic part: moments, samples or linear |
    | "margin" | -(p of the first class - p of the second) | class probabilities |
    | "confidence" | 1 - p of the most probable class | class probabilities |
    | "batchbald" | I(y_1 ... y_k; w), of all k together, greedily | samples |
    | "random" | drawn without replacement | |
    | "scores" | the tensor's own numbers, largest first | scores (n,) |

    Of examples of equal worth the first ones are taken.

    Args:
        found: what `predict` returns for the pool; or class probabilities (n, classes) of any model, (S, n, classes) of S
            networks; or scores (n,).
        k: number of examples, at most those of the pool.
        how: None takes "scores" where scores are given and else "entropy".
        generator: of "random" and "batchbald", on the predictions' device; None takes torch's own.
        configurations: joint labels that "batchbald" follows, see `torch_gbp.decide.batch_bald`.

    Raises:
        InvalidInput: an unknown `how`, or one that the prediction cannot answer; k above the pool; NaN, or probabilities that do
            not sum to 1.

    Source: Settles 2009 (entropy, margin); Houlsby et al. 2011 (BALD); Kirsch et al. 2019 (BatchBALD).

    >>> select(torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]]), 2)
    tensor([1, 2])
    """
    require_predicted(found, "select")
    how = _way(found, how)
    size = _size(found)
    _require_within(require_count("k", k, "select", fix="use 10"), size)
    configurations = require_count("configurations", configurations, "select", fix=f"use {CONFIGURATIONS}")
    if generator is not None:
        require_kind("generator", generator, torch.Generator, "select", fix="pass torch.Generator().manual_seed(0), or None")
    if how == "random":
        return torch.randperm(size, generator=generator, device=_device(found))[:k]
    if how == "batchbald":
        return batch_bald(sampled(found, how), k, configurations, generator)[0]
    scores: Any = found if how == "scores" else SCORES[how](found)
    return scores.argsort(descending=True, stable=True)[:k]


def _way(found: Predictive | Tensor, how: Any) -> str:
    """The way asked for, or the default, if these predictions can answer it."""
    scores = isinstance(found, Tensor) and found.ndim == 1
    how = ("scores" if scores else "entropy") if how is None else how
    if not (isinstance(how, str) and how in WAYS):
        raise InvalidInput(
            "unknown way of selecting", where="select", got=shown(how), fix=f"use how={', '.join(map(repr, WAYS))}"
        )
    if how != "random" and scores != (how == "scores"):
        raise InvalidInput(
            f"how={how!r} cannot be told from this",
            where="select",
            got="scores (n,)" if scores else "a prediction",
            fix="use how='scores' with scores (n,) alone, and the others with predictions",
        )
    real = isinstance(found, Predictive) and not isinstance(found.distribution, Categorical)
    if real and how in ("margin", "confidence", "batchbald"):
        raise InvalidInput(
            f"how={how!r} is for classes", where="select", got="real targets", fix="use how='bald' or how='entropy'"
        )
    return how


def _size(found: Predictive | Tensor) -> int:
    """Number of examples."""
    return len(found.belief.mean) if isinstance(found, Predictive) else found.shape[max(0, found.ndim - 2)]


def _device(found: Predictive | Tensor) -> torch.device:
    return found.belief.device if isinstance(found, Predictive) else found.device


def _require_within(k: int, size: int) -> None:
    if k > size:
        raise InvalidInput(
            f"k must be at most the pool's {size} examples", where="select", got=str(k), fix=f"use k=min(k, {size})"
        )
