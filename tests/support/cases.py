"""The table of message rules: one row a rule and setting. A new rule in torch_gbp/factors needs one row here.

A row says how to call the rule, which inputs to draw and who knows the answer. `test_rules.py` sends every row
through the autograd bridge in float64 and float32, with random, asymmetric and extreme inputs, and compares the
outgoing moments and all messages with the oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import oracle
import oracle_activation
import oracle_exact
import oracle_pool
import torch
import torch.nn.functional as F
from case_inputs import Case, belief, bridge, correlated, kinds, near_kink, shared, weighted, with_above
from oracle import by_autograd
from torch import Tensor, nn

from torch_gbp.autograd.bridge import Rule
from torch_gbp.factors import activations, bilinear, elementwise, leaky_relu, linear_map, max_pool, per_edge, unary
from torch_gbp.factors import covariance as covariances
from torch_gbp.factors.activations import SIGMOID, factor_of
from torch_gbp.factors.bilinear import rule_of
from torch_gbp.factors.convolutions import CONV, CONV_TRANSPOSE, ConvOptions, ConvTransposeOptions
from torch_gbp.factors.elementwise import ElementwiseOptions
from torch_gbp.factors.held import HELD_CONV, patches_of
from torch_gbp.factors.leaky_relu import LeakyReLUOptions
from torch_gbp.factors.linear_map import AverageOptions, UpsampleOptions, adaptive_average, average, copies
from torch_gbp.factors.maps import MATMUL
from torch_gbp.factors.max_pool import PoolOptions
from torch_gbp.factors.per_edge import PerEdge
from torch_gbp.factors.unary import UnaryOptions

CONVOLUTIONS = {
    "plain": ((2, 2, 4, 4), (3, 2, 2, 2), ConvOptions()),
    "stride": ((2, 2, 6, 5), (3, 2, 3, 2), ConvOptions(stride=(2, 1))),
    "padding": ((2, 2, 4, 4), (3, 2, 3, 3), ConvOptions(padding=(1, 2))),
    "dilation": ((2, 2, 6, 7), (3, 2, 2, 3), ConvOptions(dilation=(2, 1), stride=(1, 2))),
    "dilation_unstrided": ((2, 2, 6, 7), (3, 2, 2, 3), ConvOptions(dilation=(2, 1))),
    "much_padding": ((2, 2, 3, 3), (3, 2, 2, 2), ConvOptions(padding=(2, 1))),
    "groups": ((2, 4, 4, 4), (6, 2, 2, 2), ConvOptions(groups=2, padding=(1, 0))),
    "depthwise": ((2, 3, 4, 4), (3, 1, 3, 1), ConvOptions(groups=3)),
    "rest": ((1, 4, 7, 6), (2, 2, 3, 2), ConvOptions((2, 3), (2, 1), (2, 2), 2)),
}
TRANSPOSED = {  # weights (o / groups, c, kh, kw)
    "plain": ((2, 2, 3, 4), (3, 2, 3, 2), ConvTransposeOptions()),
    "stride": ((2, 2, 3, 4), (3, 2, 3, 2), ConvTransposeOptions(stride=(2, 3))),
    "padding": ((2, 2, 4, 4), (3, 2, 3, 3), ConvTransposeOptions(padding=(1, 2))),
    "output_padding": ((2, 2, 3, 3), (3, 2, 2, 3), ConvTransposeOptions((2, 3), (0, 1), (1, 2))),
    "dilation": ((2, 2, 4, 3), (3, 2, 2, 3), ConvTransposeOptions(dilation=(3, 2))),
    "groups": ((2, 4, 3, 3), (3, 4, 2, 2), ConvTransposeOptions(padding=(1, 0), groups=2)),
    "depthwise": ((2, 3, 3, 3), (1, 3, 3, 1), ConvTransposeOptions(groups=3)),
    "rest": ((1, 4, 4, 3), (2, 4, 3, 2), ConvTransposeOptions((2, 3), (2, 1), (1, 0), 2, (2, 2))),
}
POOLS = {
    "plain": PoolOptions((2, 2), (2, 2)),
    "overlap": PoolOptions((3, 2), (1, 1)),
    "padding": PoolOptions((3, 3), (2, 2), (1, 1)),
    "dilation": PoolOptions((2, 2), (1, 2), (0, 1), (2, 1)),
    "ceil": PoolOptions((2, 3), (2, 2), (1, 0), ceil_mode=True),
    "ceil_drop": PoolOptions((2, 2), (3, 3), (1, 1), ceil_mode=True),
}
IMAGE, MANY_CHANNELS = (2, 3, 5, 6), (2, 9, 5, 6)


def _bilinear(map: str, covariance: str, order: int, name: str, observed: bool, bias: bool) -> Case:
    """A row of `Bilinear`: the oracle's moments of the map, tied where the covariance is, linearised to first order."""
    moments, geometries = MAPS[map]
    activation, weight, options = geometries[name]
    sample = weighted(activation, weight, observed, bias, getattr(options, "groups", 1) if map == "conv_transpose" else 1)
    if options is not None:
        moments = partial(moments, options)
    moments = oracle.linearised(moments) if order == 1 else moments
    if covariance == "shared":
        moments, sample = oracle.tied(moments), shared(sample)
    rule = rule_of(FACTOR_MAPS[map], getattr(covariances, covariance.upper()), order)
    label = "_".join((covariance, map, str(order), name)) + "_observed" * observed + "_bias" * bias
    answer = by_autograd(moments, kinds(observed, bias))
    return Case(label, bilinear, _sent(rule, map, options, weight), sample, answer, 1e-14, 1e-6)


def _full(map: str, name: str, observed: bool, bias: bool) -> Case:
    """A row of weights with a joint Gaussian for each output: (o, d, d)."""
    activation, weight, options = MAPS[map][1][name]
    sample = correlated(weighted(activation, weight, observed, bias))
    send = bridge(rule_of(FACTOR_MAPS[map], covariances.FULL, 1), options)
    answer = partial(oracle.joint, partial(oracle.BARE[map], options))
    return Case(f"full_{map}_{name}{'_observed' * observed}", covariances, send, sample, answer, 1e-12, 1e-4, bounded=True)


def _per_edge(map: str, name: str, observed: bool, bias: bool, tied: bool) -> Case:
    activation, weight, options = MAPS[map][1][name]
    sample = weighted(activation, weight, observed, bias)
    label = f"per_edge_{map}_{name}{'_observed' * observed}{'_bias' * bias}{'_shared' * tied}"
    answer = oracle_exact.exact_linear if options is None else partial(oracle_exact.exact_conv, options)
    send = bridge(PerEdge(FACTOR_MAPS[map]).rule(), options)
    return Case(label, per_edge, send, shared(sample) if tied else sample, answer, 1e-8, 2e-4, bounded=True)


def _sent(rule: Rule, map: str, options: Any, weight: tuple[int, ...]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Inputs -> moments; a held map has cut its patches out of the inputs before."""
    if map != "held_conv":
        return bridge(rule, options)

    def send(images: Tensor, *rest: Tensor | None) -> tuple[Tensor, Tensor]:
        return bridge(rule, patches_of(options, weight[2:], images))(images, *rest)  # type: ignore[arg-type]

    return send


def _upsample(options: UpsampleOptions, size: tuple[int, int]) -> Case:
    answer = by_autograd(partial(oracle.copied, size), "mv")
    return Case(f"upsample_{size[0]}x{size[1]}", linear_map, partial(copies, options), belief(*IMAGE), answer, 1e-14, 1e-6)


def _exact_rectifier(slope: float, above: bool) -> Case:
    sample = with_above if above else lambda kind: (*near_kink(kind), None, None)
    send, answer = bridge(leaky_relu.EXACT, LeakyReLUOptions(slope)), partial(oracle_activation.exact_rectifier, slope)
    return Case(f"exact_leaky_relu_{slope}{'_above' * above}", leaky_relu, send, sample, answer, 2e-9, 5e-4, bounded=True)


def _max_pool(name: str, form: str, image: tuple[int, ...] = IMAGE) -> Case:
    rule, combine = {"score": (max_pool.SCORE, oracle_pool.largest), "ep": (max_pool.EP, oracle_pool.probability_of_maximum)}[
        form
    ]
    answer = by_autograd(partial(oracle_pool.pooled, POOLS[name], combine), "mv")
    label = f"max_pool_{form}_{name}{'_channels' * (image[1] > IMAGE[1])}"
    return Case(label, max_pool, bridge(rule, POOLS[name]), belief(*image), answer, 1e-14, 1e-6)


def _avg_pool(name: str, count_include_pad: bool, divisor: int | None) -> Case:
    kernel, stride, padding, _, ceil_mode = POOLS[name]
    send = partial(average, F.avg_pool2d, AverageOptions(kernel, stride, padding, ceil_mode, count_include_pad, divisor))
    answer = by_autograd(partial(oracle_pool.pooled, POOLS[name], oracle_pool.mean_weights(count_include_pad, divisor)), "mv")
    label = f"avg_pool_{name}{'' if count_include_pad else '_inside'}{f'_by{divisor}' if divisor else ''}"
    return Case(label, linear_map, send, belief(*IMAGE), answer, 1e-14, 1e-6)


def _adaptive(size: tuple[int | None, int | None]) -> Case:
    answer = by_autograd(partial(oracle_pool.adaptive, size), "mv")
    send = partial(adaptive_average, F.adaptive_avg_pool2d, size)
    return Case(f"adaptive_avg_pool_{size[0]}x{size[1]}", linear_map, send, belief(*IMAGE), answer, 1e-14, 1e-6)


def _rectifier(slope: float) -> Case:
    send, answer = bridge(leaky_relu.SCORE, LeakyReLUOptions(slope)), partial(oracle_activation.rectifier, slope)
    return Case(f"leaky_relu_{slope}", leaky_relu, send, near_kink, answer, 1e-14, 1e-6)


def _rectifier_ep(slope: float) -> Case:
    send, answer = bridge(leaky_relu.EP, LeakyReLUOptions(slope)), partial(oracle_activation.rectifier_ep, slope)
    return Case(f"leaky_relu_ep_{slope}", leaky_relu, send, near_kink, answer, 2e-9, 5e-5, signed=True)


def _elementwise(name: str, linearise: bool) -> Case:
    """A row of an activation: score form by quadrature, or to first order."""
    (own, options), form = factor_of(ACTIVATIONS[name]), "linearised_" * linearise
    answer = partial(oracle_activation.linearised if linearise else oracle_activation.elementwise, ACTIVATIONS[name])
    rule = (own.linearised() if linearise else own).rule()
    tolerances = (1e-14, 1e-6) if linearise or name[-4:] == "relu" else (1e-6, 2e-5)
    return Case(f"{form}{name}", elementwise, bridge(rule, options), near_kink, answer, *tolerances)


def _unary(noise: float, prior: float) -> Case:
    answer, send = partial(oracle.noisy_copy, noise, prior), bridge(unary.RULE, UnaryOptions(noise, prior))
    return Case(f"unary_{noise}_{prior}", unary, send, belief(40), answer, 1e-9, 5e-4, bounded=True)


ALONE = {name: row for name, row in CONVOLUTIONS.items() if row[2].groups == 1}
MAPS = {  # the oracle's moments, and geometries: shapes of inputs and weights, options
    "matmul": (oracle.linear_moments, {"plain": ((5, 4), (3, 4), None)}),
    "conv": (oracle.conv_moments, CONVOLUTIONS),
    "conv_transpose": (oracle.conv_transpose_moments, TRANSPOSED),
    "held_conv": (oracle.conv_moments, ALONE),
}
FACTOR_MAPS = {"matmul": MATMUL, "conv": CONV, "conv_transpose": CONV_TRANSPOSE, "held_conv": HELD_CONV}
ACTIVATIONS = {  # a new activation is a row here
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(0.2),
    "identity": nn.LeakyReLU(1.0),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "logsigmoid": nn.LogSigmoid(),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "gelu": nn.GELU(),
    "gelu_by_tanh": nn.GELU("tanh"),
    "tanhshrink": nn.Tanhshrink(),
    "selu": nn.SELU(),
    "elu": nn.ELU(0.7),
    "celu": nn.CELU(2.0),
    "softplus": nn.Softplus(2.0),
}
BOTH = (False, True)
CASES = [
    *(
        _bilinear(map, covariance, order, name, observed, bias)
        for map, (_, geometries) in MAPS.items()
        for covariance in ("diagonal", "shared")
        for order in (2, 1)
        for name in geometries
        for observed in BOTH
        for bias in BOTH
        if (order == 1 and observed if map == "held_conv" else name in ("plain", "rest") or bias > observed)
    ),
    *(_full(map, name, False, True) for map in ("matmul", "conv") for name in MAPS[map][1]),
    *(_full(map, "plain", True, False) for map in ("matmul", "conv")),
    _full("conv", "dilation", True, False),
    *(_per_edge("matmul", "plain", observed, bias, tied) for observed in BOTH for bias in BOTH for tied in BOTH),
    *(_per_edge("conv", name, observed=False, bias=True, tied=False) for name in CONVOLUTIONS),
    *(_per_edge("conv", "rest", observed, bias=not observed, tied=True) for observed in BOTH),
    *(_elementwise(name, linearise) for name in ACTIVATIONS for linearise in BOTH),
    Case(
        "linearised_sigmoid_closed",
        activations,
        bridge(SIGMOID.linearised().rule(), ElementwiseOptions()),
        near_kink,
        partial(oracle_activation.linearised, torch.sigmoid),
        1e-14,
        1e-6,
    ),
    *(_unary(noise, prior) for noise in (0.0, 0.3) for prior in (0.0, 0.25)),
    _upsample(UpsampleOptions(scale=(2, 3)), (10, 18)),
    _upsample(UpsampleOptions(size=(7, 6)), (7, 6)),
    *(_max_pool(name, form) for name in POOLS for form in ("score", "ep")),
    *(_max_pool(name, "score", MANY_CHANNELS) for name in POOLS),
    *(_avg_pool(name, True, None) for name in POOLS if name != "dilation"),
    *(_avg_pool(name, False, None) for name in ("padding", "ceil", "ceil_drop")),
    *(_avg_pool(name, False, 3) for name in ("overlap", "ceil")),
    *(_adaptive(size) for size in ((2, 3), (3, 4), (1, 1), (None, 4), (7, 5))),
    *(_rectifier(slope) for slope in (0.0, 0.1, 0.7, 1.0)),
    *(_exact_rectifier(slope, above) for slope in (0.1, 0.7, 1.0) for above in (False, True)),
    *(_rectifier_ep(slope) for slope in (0.0, 0.1, 0.7, 1.0)),
]
