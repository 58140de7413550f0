"""The table of message rules: one row a rule and setting. A new rule in torch_gbp/factors needs one row here.

A row says how to call the rule, which inputs to draw and who knows the answer. `test_rules.py` sends every row
through the autograd bridge in float64 and float32, with random, asymmetric and extreme inputs, and compares the
outgoing moments and all messages with the oracle.
"""

from __future__ import annotations

from functools import partial

import oracle
import oracle_activation
import oracle_exact
import oracle_pool
from case_inputs import Case, belief, bridge, correlated, kinds, near_kink, shared, weighted, with_above
from oracle import by_autograd
from torch import Tensor

from torch_gbp.factors import (
    avg_pool,
    conv,
    conv_transpose,
    exact_conv,
    exact_leaky_relu,
    exact_linear,
    joint_conv,
    leaky_relu,
    linear,
    linearised,
    max_pool,
    patch_conv,
    shared_conv,
    shared_conv_transpose,
    shared_linear,
    unary,
    upsample,
)
from torch_gbp.factors.conv import ConvOptions
from torch_gbp.factors.conv_transpose import ConvTransposeOptions
from torch_gbp.factors.leaky_relu import LeakyReLUOptions
from torch_gbp.factors.max_pool import PoolOptions
from torch_gbp.factors.unary import UnaryOptions
from torch_gbp.factors.upsample import UpsampleOptions

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


def _linear(observed: bool, bias: bool) -> Case:
    answer = by_autograd(oracle.linear_moments, kinds(observed, bias))
    sample = weighted((5, 4), (3, 4), observed, bias)
    return Case(f"linear{'_observed' * observed}{'_bias' * bias}", linear, bridge(linear.RULE, None), sample, answer, 1e-14, 1e-6)


def _conv(name: str, observed: bool, bias: bool) -> Case:
    activation, weight, options = CONVOLUTIONS[name]
    answer = by_autograd(partial(oracle.conv_moments, options), kinds(observed, bias))
    sample = weighted(activation, weight, observed, bias)
    return Case(f"conv_{name}{'_observed' * observed}", conv, bridge(conv.RULE, options), sample, answer, 1e-14, 1e-6)


def _shared_linear(observed: bool, bias: bool) -> Case:
    answer = by_autograd(oracle.tied(oracle.linear_moments), kinds(observed, bias))
    sample = shared(weighted((5, 4), (3, 4), observed, bias))
    name = f"shared_linear{'_observed' * observed}{'_bias' * bias}"
    return Case(name, shared_linear, bridge(shared_linear.RULE, None), sample, answer, 1e-14, 1e-6)


def _shared_conv(name: str, observed: bool, bias: bool) -> Case:
    activation, weight, options = CONVOLUTIONS[name]
    answer = by_autograd(oracle.tied(partial(oracle.conv_moments, options)), kinds(observed, bias))
    sample = shared(weighted(activation, weight, observed, bias))
    label = f"shared_conv_{name}{'_observed' * observed}{'_bias' * bias}"
    return Case(label, shared_conv, bridge(shared_conv.RULE, options), sample, answer, 1e-14, 1e-6)


def _conv_transpose(name: str, observed: bool, bias: bool, tied: bool) -> Case:
    activation, weight, options = TRANSPOSED[name]
    rule, moments = shared_conv_transpose if tied else conv_transpose, partial(oracle.conv_transpose_moments, options)
    answer = by_autograd(oracle.tied(moments) if tied else moments, kinds(observed, bias))
    sample = weighted(activation, weight, observed, bias, options.groups)
    label = f"{'shared_' * tied}conv_transpose_{name}{'_observed' * observed}{'_bias' * bias}"
    return Case(label, rule, bridge(rule.RULE, options), shared(sample) if tied else sample, answer, 1e-14, 1e-6)


def _upsample(options: UpsampleOptions, size: tuple[int, int]) -> Case:
    answer = by_autograd(partial(oracle.copied, size), "mv")
    return Case(
        f"upsample_{size[0]}x{size[1]}", upsample, partial(upsample.upsample, options), belief(*IMAGE), answer, 1e-14, 1e-6
    )


def _exact_linear(observed: bool, bias: bool, tied: bool) -> Case:
    sample = weighted((5, 4), (3, 4), observed, bias)
    name = f"exact_linear{'_observed' * observed}{'_bias' * bias}{'_shared' * tied}"
    send = bridge(exact_linear.RULE, None)
    return Case(name, exact_linear, send, shared(sample) if tied else sample, oracle_exact.exact_linear, 1e-8, 2e-4, bounded=True)


def _exact_conv(name: str, observed: bool, bias: bool, tied: bool) -> Case:
    activation, weight, options = CONVOLUTIONS[name]
    sample = weighted(activation, weight, observed, bias)
    label = f"exact_conv_{name}{'_observed' * observed}{'_bias' * bias}{'_shared' * tied}"
    send, answer = bridge(exact_conv.RULE, options), partial(oracle_exact.exact_conv, options)
    return Case(label, exact_conv, send, shared(sample) if tied else sample, answer, 1e-8, 2e-4, bounded=True)


def _exact_rectifier(slope: float, above: bool) -> Case:
    sample = with_above if above else lambda kind: (*near_kink(kind), None, None)
    send, answer = bridge(exact_leaky_relu.RULE, LeakyReLUOptions(slope)), partial(oracle_activation.exact_rectifier, slope)
    return Case(f"exact_leaky_relu_{slope}{'_above' * above}", exact_leaky_relu, send, sample, answer, 2e-9, 5e-4, bounded=True)


def _max_pool(name: str, form: str, image: tuple[int, ...] = IMAGE) -> Case:
    rule, combine = {"score": (max_pool.SCORE, oracle_pool.largest), "ep": (max_pool.EP, oracle_pool.probability_of_maximum)}[
        form
    ]
    answer = by_autograd(partial(oracle_pool.pooled, POOLS[name], combine), "mv")
    label = f"max_pool_{form}_{name}{'_channels' * (image[1] > IMAGE[1])}"
    return Case(label, max_pool, bridge(rule, POOLS[name]), belief(*image), answer, 1e-14, 1e-6)


def _avg_pool(name: str, count_include_pad: bool, divisor: int | None) -> Case:
    send = partial(avg_pool.avg_pool, POOLS[name], count_include_pad, divisor)
    answer = by_autograd(partial(oracle_pool.pooled, POOLS[name], oracle_pool.mean_weights(count_include_pad, divisor)), "mv")
    label = f"avg_pool_{name}{'' if count_include_pad else '_inside'}{f'_by{divisor}' if divisor else ''}"
    return Case(label, avg_pool, send, belief(*IMAGE), answer, 1e-14, 1e-6)


def _adaptive(size: tuple[int | None, int | None]) -> Case:
    answer = by_autograd(partial(oracle_pool.adaptive, size), "mv")
    send = partial(avg_pool.adaptive_avg_pool, size)
    return Case(f"adaptive_avg_pool_{size[0]}x{size[1]}", avg_pool, send, belief(*IMAGE), answer, 1e-14, 1e-6)


def _rectifier(slope: float) -> Case:
    send, answer = bridge(leaky_relu.SCORE, LeakyReLUOptions(slope)), partial(oracle_activation.rectifier, slope)
    return Case(f"leaky_relu_{slope}", leaky_relu, send, near_kink, answer, 1e-14, 1e-6)


def _rectifier_ep(slope: float) -> Case:
    send, answer = bridge(leaky_relu.EP, LeakyReLUOptions(slope)), partial(oracle_activation.rectifier_ep, slope)
    return Case(f"leaky_relu_ep_{slope}", leaky_relu, send, near_kink, answer, 2e-9, 5e-5, signed=True)


def _linearised(observed: bool, bias: bool) -> Case:
    answer = by_autograd(oracle.linearised(oracle.linear_moments), kinds(observed, bias))
    name = f"linearised_linear{'_observed' * observed}{'_bias' * bias}"
    sample = weighted((5, 4), (3, 4), observed, bias)
    return Case(name, linearised, bridge(linearised.LINEAR, None), sample, answer, 1e-14, 1e-6)


def _linearised_conv(name: str, observed: bool, bias: bool) -> Case:
    activation, weight, options = CONVOLUTIONS[name]
    answer = by_autograd(oracle.linearised(partial(oracle.conv_moments, options)), kinds(observed, bias))
    label, sample = f"linearised_conv_{name}{'_observed' * observed}", weighted(activation, weight, observed, bias)
    return Case(label, linearised, bridge(linearised.CONV, options), sample, answer, 1e-14, 1e-6)


def _patch_conv(name: str, bias: bool, tied: bool) -> Case:
    activation, weight, options = CONVOLUTIONS[name]
    moments = oracle.linearised(partial(oracle.conv_moments, options))
    answer = by_autograd(oracle.tied(moments) if tied else moments, kinds(observed=True, bias=bias))
    sample = weighted(activation, weight, True, bias)

    def send(images: Tensor, *rest: Tensor | None) -> tuple[Tensor, Tensor]:
        return bridge(patch_conv.RULE, patch_conv.patches_of(options, weight[2:], images))(images, *rest)

    return Case(f"patch_conv_{name}{'_shared' * tied}", patch_conv, send, shared(sample) if tied else sample, answer, 1e-14, 1e-6)


def _joint_conv(name: str, observed: bool, bias: bool) -> Case:
    activation, weight, options = CONVOLUTIONS[name]
    sample, send = correlated(weighted(activation, weight, observed, bias)), bridge(joint_conv.RULE, options)
    answer = partial(oracle.joint_conv, options)
    return Case(f"joint_conv_{name}{'_observed' * observed}", joint_conv, send, sample, answer, 1e-12, 1e-4, bounded=True)


def _linearised_conv_transpose(name: str, observed: bool, bias: bool, tied: bool) -> Case:
    activation, weight, options = TRANSPOSED[name]
    moments = oracle.linearised(partial(oracle.conv_transpose_moments, options))
    answer = by_autograd(oracle.tied(moments) if tied else moments, kinds(observed, bias))
    sample = weighted(activation, weight, observed, bias, options.groups)
    label = f"linearised_conv_transpose_{name}{'_observed' * observed}{'_shared' * tied}"
    send = bridge(linearised.CONV_TRANSPOSE, options)
    return Case(label, linearised, send, shared(sample) if tied else sample, answer, 1e-14, 1e-6)


def _linearised_rectifier(slope: float) -> Case:
    answer, send = by_autograd(partial(oracle_activation.linearised_rectifier, slope), "mv"), linearised.LEAKY_RELU
    options = LeakyReLUOptions(slope)
    return Case(f"linearised_leaky_relu_{slope}", linearised, bridge(send, options), near_kink, answer, 1e-14, 1e-6)


def _linearised_sigmoid() -> Case:
    answer = by_autograd(oracle_activation.linearised_sigmoid, "mv")
    return Case("linearised_sigmoid", linearised, bridge(linearised.SIGMOID, None), near_kink, answer, 1e-14, 1e-6)


def _unary(noise: float, prior: float) -> Case:
    answer, send = partial(oracle.noisy_copy, noise, prior), bridge(unary.RULE, UnaryOptions(noise, prior))
    return Case(f"unary_{noise}_{prior}", unary, send, belief(40), answer, 1e-9, 5e-4, bounded=True)


CASES = [
    *(_linearised(observed, bias) for observed in (False, True) for bias in (False, True)),
    *(_linearised_conv(name, observed=False, bias=True) for name in CONVOLUTIONS),
    *(_linearised_conv(name, observed=True, bias=False) for name in ("plain", "rest")),
    *(_patch_conv(name, bias=name != "plain", tied=False) for name in CONVOLUTIONS if CONVOLUTIONS[name][2].groups == 1),
    _patch_conv("dilation", bias=True, tied=True),
    *(_joint_conv(name, observed=False, bias=True) for name in CONVOLUTIONS if CONVOLUTIONS[name][2].groups == 1),
    *(_joint_conv(name, observed=True, bias=False) for name in ("plain", "dilation")),
    *(_linearised_conv_transpose(name, observed=False, bias=True, tied=name == "plain") for name in TRANSPOSED),
    *(_linearised_conv_transpose(name, observed=True, bias=False, tied=False) for name in ("plain", "rest")),
    *(_linearised_rectifier(slope) for slope in (0.0, 0.2, 1.0)),
    _linearised_sigmoid(),
    *(_unary(noise, prior) for noise in (0.0, 0.3) for prior in (0.0, 0.25)),
    *(_linear(observed, bias) for observed in (False, True) for bias in (False, True)),
    *(_conv(name, observed=False, bias=True) for name in CONVOLUTIONS),
    *(_conv(name, observed=True, bias=False) for name in ("plain", "rest")),
    *(_shared_linear(observed, bias) for observed in (False, True) for bias in (False, True)),
    *(_shared_conv(name, observed=False, bias=True) for name in CONVOLUTIONS),
    *(_shared_conv(name, observed=True, bias=bias) for name in ("plain", "rest") for bias in (False, True)),
    *(_conv_transpose(name, False, bias=name != "stride", tied=tied) for name in TRANSPOSED for tied in (False, True)),
    *(_conv_transpose(name, True, bias, tied) for name in ("plain", "rest") for bias in (False, True) for tied in (False, True)),
    _upsample(UpsampleOptions(scale=(2, 3)), (10, 18)),
    _upsample(UpsampleOptions(size=(7, 6)), (7, 6)),
    *(_max_pool(name, form) for name in POOLS for form in ("score", "ep")),
    *(_max_pool(name, "score", MANY_CHANNELS) for name in POOLS),
    *(_avg_pool(name, True, None) for name in POOLS if name != "dilation"),
    *(_avg_pool(name, False, None) for name in ("padding", "ceil", "ceil_drop")),
    *(_avg_pool(name, False, 3) for name in ("overlap", "ceil")),
    *(_adaptive(size) for size in ((2, 3), (3, 4), (1, 1), (None, 4), (7, 5))),
    *(_rectifier(slope) for slope in (0.0, 0.1, 0.7, 1.0)),
    *(_exact_linear(observed, bias, tied) for observed in (False, True) for bias in (False, True) for tied in (False, True)),
    *(_exact_conv(name, observed=False, bias=True, tied=False) for name in CONVOLUTIONS),
    *(_exact_conv("rest", observed, bias=not observed, tied=True) for observed in (False, True)),
    *(_exact_rectifier(slope, above) for slope in (0.1, 0.7, 1.0) for above in (False, True)),
    *(_rectifier_ep(slope) for slope in (0.0, 0.1, 0.7, 1.0)),
]
