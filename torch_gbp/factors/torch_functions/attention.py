"""Attention: weights at the means of queries and keys, beliefs of values.

    A = softmax(m_q m_k' / sqrt(d) + mask)       m_o = A m_v        v_o = A^2 v_v

The uncertainty of the scores is left out: o is linear in the values with known coefficients, so its variance is too small where
queries and keys are uncertain. Values at several positions are taken as independent, which is recorded (dependence.py).
A softmax on its own is refused: of a network's outputs it is the likelihood's predictive. A network that writes its attention out
can register one at the means: `moments(F.softmax)(lambda x, dim, **_: x.mean.softmax(dim))`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_gbp.errors import MissingRule
from torch_gbp.factors.torch_functions import dependence
from torch_gbp.factors.torch_functions.arithmetic import Term, belief_of
from torch_gbp.factors.torch_functions.products import linear
from torch_gbp.functions import moments
from torch_gbp.gaussian import Gaussian


@moments(F.scaled_dot_product_attention)
def attention(
    query: Term,
    key: Term,
    value: Term,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Gaussian:
    """softmax(m_q m_k' scale + mask) applied to the values: (..., l, d), (..., s, d), (..., s, e) -> (..., l, e).

    Raises:
        MissingRule: enable_gqa.
    """
    if enable_gqa:
        raise MissingRule("attention with enable_gqa has no moment map", fix="repeat the keys and values, or predict by samples")
    weights = attention_weights(_mean(query), _mean(key), _mask(query, key, attn_mask, is_causal), scale)
    return weighted(weights, belief_of(value), dropout_p)


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None = None) -> Tensor:
    """softmax over the keys of the scaled scores plus a mask, all known."""
    scores = (query @ key.transpose(-2, -1)) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    return (scores if mask is None else scores + mask).softmax(-1)


def weighted(weights: Tensor, value: Gaussian, dropout: float = 0.0) -> Gaussian:
    """Sums of the values with known weights A, entries of which a Bernoulli mask may drop with probability p.

    Mean A m; variance (A^2 / (1 - p)) v + (p / (1 - p)) A^2 m^2.

    >>> weighted(torch.tensor([[0.5, 0.5]]), Gaussian(torch.ones(2, 1), torch.ones(2, 1)))
    Gaussian(mean=tensor([[1.]]), variance=tensor([[0.5000]]))
    """
    dependence.note("scaled_dot_product_attention")
    squared, odds = weights.square(), dropout / (1 - dropout)
    spread = value.variance if not dropout else value.variance * (1 + odds) + odds * value.mean.square()
    return Gaussian(weights @ value.mean, squared @ spread)


def _mean(value: Term) -> Tensor:
    return value.mean if isinstance(value, Gaussian) else value


def _mask(query: Term, key: Term, mask: Tensor | None, causal: bool) -> Tensor | None:
    """The mask as numbers added to the scores; a truth value says which keys take part."""
    if causal:
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=query.dtype, device=query.device).masked_fill_(~mask, -math.inf)


@moments(F.multi_head_attention_forward)
def multi_head_attention(
    query: Term,
    key: Term,
    value: Term,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Term | None,
    in_proj_bias: Term | None,
    bias_k: Term | None,
    bias_v: Term | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Term,
    out_proj_bias: Term | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Term | None = None,
    k_proj_weight: Term | None = None,
    v_proj_weight: Term | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Gaussian, Tensor | None]:
    """nn.MultiheadAttention: projections as `F.linear`, attention at the means; (l, n, e) or (l, e) -> the same, and the weights.

    Raises:
        MissingRule: bias_k, bias_v, add_zero_attn, static_k or static_v.
    """
    _require_own_keys(bias_k, bias_v, static_k, static_v, add_zero_attn or None)
    matrices = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else _thirds(in_proj_weight)
    q, k, v = _projected((query, key, value), matrices, _thirds(in_proj_bias), num_heads)
    weights = attention_weights(q, k, _merged(attn_mask, key_padding_mask, is_causal, q, k))
    output = weighted(weights, v, dropout_p if training else 0.0)  # (n, h, l, e / h)
    output = linear(output.permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
    kept = weights.mean(1) if average_attn_weights else weights
    if len(query.shape) == 2:
        output, kept = output.squeeze(1), kept.squeeze(0)
    return output, kept if need_weights else None


def _require_own_keys(*extras: Any) -> None:
    """Raises MissingRule for keys and values that the inputs do not hold."""
    if any(extra is not None for extra in extras):
        raise MissingRule(
            "attention with added keys and values has no moment map",
            where="nn.MultiheadAttention",
            got="bias_k, bias_v, add_zero_attn, static_k or static_v",
            fix="leave them at their defaults, or predict by samples",
        )


def _thirds(parameter: Term | None) -> Any:
    """The parts for queries, keys and values of a stacked parameter."""
    return (None, None, None) if parameter is None else parameter.chunk(3)


def _projected(inputs: Any, matrices: Any, biases: Any, heads: int) -> tuple[Tensor, Tensor, Gaussian]:
    """The means of queries and keys, and the values' beliefs: (l, n, e) or (l, e) -> (n, h, l, e / h)."""
    query, key, value = (part if len(part.shape) == 3 else part.unsqueeze(1) for part in inputs)
    q, k = (
        F.linear(_mean(part), _mean(matrix), None if bias is None else _mean(bias))
        for part, matrix, bias in zip((query, key), matrices[:2], biases[:2], strict=True)
    )
    v = belief_of(linear(value, matrices[2], biases[2]))
    return _heads(q, heads), _heads(k, heads), _heads(v, heads)


def _heads(value: Any, heads: int) -> Any:
    return value.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)


def _merged(mask: Tensor | None, padding: Tensor | None, causal: bool, query: Tensor, key: Tensor) -> Tensor | None:
    """Attention and padding masks as one to add to the scores (n, h, l, s); there a truth value says what is left out."""
    mask = _mask(query, key, None, True) if mask is None and causal else _additive(mask, query)
    if mask is not None and mask.ndim == 3:  # (n h, l, s)
        mask = mask.view(query.shape[0], -1, *mask.shape[1:])
    padding = _additive(padding, query)
    if padding is None:
        return mask
    padding = padding.view(query.shape[0], 1, 1, -1)
    return padding if mask is None else mask + padding


def _additive(mask: Tensor | None, query: Tensor) -> Tensor | None:
    """nn.MultiheadAttention's masks: True leaves out, a number is added."""
    return _mask(query, query, ~mask, False) if mask is not None and mask.dtype == torch.bool else mask
