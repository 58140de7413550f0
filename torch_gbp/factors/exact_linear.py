"""The linear factor z = W a + b with exact scalar messages: to each variable, of all others only.

Forward as in `factors/linear.py`. Backward, with S = m_a^2 + v_a and what one product contributes to the variance of z,

    V_oi = E[a_i^2] E[w_oi^2] - (E[a_i] E[w_oi])^2 = S_i v_W,oi + v_a,i m_W,oi^2,    k_oi = 1 / (1 - G_o V_oi)

the message of every example, with (g, G) the derivatives of its log evidence at z:

    to w_oi    k (g_o m_a - m_W G_o v_a, G_o S)        product over examples
    to a_i     k (g_o m_W - m_a G_o v_W, G_o (m_W^2 + v_W))        product over outputs
    to b_o     (g_o, G_o) / (1 - G_o v_b)

So k is the leave-one-out term that the sums of `factors/linear.py` drop. In terms of a message (eta, R) to z it is
(1 + R v_z) / D_oi with D_oi = 1 + R (v_z - V_oi). Memory and time: examples x outputs x inputs, for small data.
Source: AMP-BNN thesis section 3.2.1 and its code; with an observed input the weighted sum with constant coefficients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.autograd.bridge import Moments, Rule, Saved
from torch_gbp.errors import ImproperMarginal
from torch_gbp.factors import linear


def forward(
    options: None,
    mean: Tensor,  # (n, i)
    variance: Tensor | None,  # (n, i), None for an observed input
    weight_mean: Tensor,  # (o, i)
    weight_var: Tensor,  # (o, i), or (1, i) where they are shared
    bias_mean: Tensor | None,  # (o,)
    bias_var: Tensor | None,  # (o,)
) -> tuple[Moments, Saved]:
    """Moments of z, (n, o) each."""
    tied = weight_var.expand_as(weight_mean)
    moments, _ = linear.forward(options, mean, variance, weight_mean, tied, bias_mean, bias_var)
    return moments, (mean, variance, weight_mean, weight_var, bias_var)


def backward(_: None, saved: Saved, score: Tensor, precision: Tensor) -> tuple[Tensor | None, ...]:
    """Messages to a, W and b, centred at the means that went forward."""
    mean, variance, weight_mean, weight_var, bias_var = saved
    assert mean is not None and weight_mean is not None and weight_var is not None
    mean, score, precision = mean.unsqueeze(1), score.unsqueeze(2), precision.unsqueeze(2)  # (n, o, i)
    second, explained, to_input = mean * mean, None, (None, None)
    if variance is not None:
        variance = variance.unsqueeze(1)
        second = second + variance
        squared = weight_mean * weight_mean
        explained = variance * squared
    full = weight_var.expand_as(weight_mean)
    keep = _leave_out(second * full if explained is None else explained.addcmul_(second, full), precision)
    to_weight = keep * score
    if variance is not None:
        to_input = _to_input(mean, to_weight, keep * precision, weight_mean, weight_var, squared)
    to_weight.mul_(mean)
    heard = keep.mul_(precision)
    if variance is not None:
        to_weight.addcmul_(heard * variance, weight_mean, value=-1)
    to_precision = _product(heard.mul_(second)).sum_to_size(weight_var.shape)
    return *to_input, _product(to_weight), to_precision, *_to_bias(bias_var, score.squeeze(2), precision.squeeze(2))


def _to_input(
    mean: Tensor, score: Tensor, precision: Tensor, weight_mean: Tensor, weight_var: Tensor, squared: Tensor
) -> tuple[Tensor, Tensor]:
    """Product over outputs of what each says to the inputs; score and precision are k g and k G."""
    to_precision = torch.einsum("noi,oi->ni", precision, squared + weight_var)
    noise = torch.einsum("noi,oi->ni", precision, weight_var.expand_as(weight_mean))
    return torch.einsum("noi,oi->ni", score, weight_mean) - mean.squeeze(1) * noise, to_precision


def _product(messages: Tensor) -> Tensor:
    """Product over examples of what each says to the weights."""
    return messages[0] if len(messages) == 1 else messages.sum(0)


def _to_bias(bias_var: Tensor | None, score: Tensor, precision: Tensor) -> tuple[Tensor | None, Tensor | None]:
    if bias_var is None:
        return None, None
    keep = _leave_out(bias_var.expand_as(precision).clone(), precision)
    return (score * keep).sum(0), (precision * keep).sum(0)


def _leave_out(explained: Tensor, precision: Tensor) -> Tensor:
    """1 / (1 - G V) from V (overwritten) and G; G V is the product's share of what the evidence explains."""
    rest = explained.mul_(precision).neg_().add_(1)
    if rest.amin() <= 0:  # NaN passes: the optimizer finds it, and names the layer
        raise ImproperMarginal(
            f"{int((rest <= 0).sum())} of {rest.numel()} exact messages have no finite precision",
            where="the linear factor with exact messages",
            got=f"worst 1 - G V {rest.min():.3g}",
            cause="evidence of more than one factor: a likelihood power above 1, or a variable with several uses",
            fix="use power=1, or the parallel order",
        )
    return rest.reciprocal_()


RULE = Rule(forward, backward)
