"""Building: the nodes of a recorded network, with noise and activations fused into the factor before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from torch_gbp.bases.cosine import CosineBasis
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.factors.bilinear import rule_of
from torch_gbp.factors.convolutions import CONV
from torch_gbp.factors.covariance import DIAGONAL, FULL, SHARED
from torch_gbp.factors.held import HELD_CONV, HELD_MOST, patches_of
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.inference.copies import CopiesNode
from torch_gbp.inference.filters import FilterBelief
from torch_gbp.inference.joint import JointNode
from torch_gbp.inference.linear import LinearNode
from torch_gbp.inference.maps import CurvedMap, LinearMap, PlainMap, Run, apart, copies, in_order, is_linear, is_view, selects
from torch_gbp.inference.max_pool import MaxPoolNode
from torch_gbp.inference.moved import MovedNode
from torch_gbp.inference.node import Bound, FactorNode, Node, SummedNode
from torch_gbp.inference.record import no_node
from torch_gbp.inference.recorded import Call, Operation, Value
from torch_gbp.inference.rules import as_rule, by_rows
from torch_gbp.inference.weights import WeightBelief
from torch_gbp.layers import GBPConv2d, GBPLinear, GBPMaxPool2d, GBPNoise
from torch_gbp.layers.base import ActivationLayer, GaussianLayer, WeightedLayer

APPROXIMATIONS = ("moments", "linearised")


def require_approximation(name: str, where: str) -> None:
    """Raises InvalidInput unless this is an approximation."""
    if name not in APPROXIMATIONS:
        fix = 'use "moments", or "linearised" for first order at the means'
        raise InvalidInput("no such approximation", where=where, got=repr(name), fix=fix)


class Fused(NamedTuple):
    """Operations that make one factor: `first`, an activation and a noise behind it, and what they are called."""

    name: str
    inputs: Sequence[Value]
    output: Value
    first: Operation
    basis: CosineBasis | None = None
    activation: Operation | None = None
    noise: GBPNoise | None = None

    @property
    def variance(self) -> float:
        """Of the noise."""
        return 0.0 if self.noise is None else self.noise.sigma**2

    def prior(self) -> Message | None:
        """Of the output, as a message."""
        if self.noise is None or self.noise.prior_sigma is None:
            return None
        zero = self.output.belief.mean.new_zeros(())
        return Message(zero, zero + self.noise.prior_sigma**-2)


def has_node(module: nn.Module) -> bool:
    """Whether a layer can be a factor of iterated inference."""
    if isinstance(module, WeightedLayer):
        return type(module).rule is not WeightedLayer.rule
    return isinstance(module, (GaussianLayer, CosineBasis))


def fused(operations: Sequence[Operation], output: Value, inside: bool = True) -> Iterator[Fused]:
    """The factors of a network in the order of its operations; `inside` takes activations into the factor of the weights.

    An activation is inside where a noise follows it: without one it is a function of what the layer says, a factor of its own.

    Raises:
        MissingRule: a `CosineBasis` that is not right in front of a linear layer of full covariance.
    """
    taken: set[Operation] = set()
    for operation in operations:
        if operation in taken:
            continue
        chain, basis, activation, noise = [operation], None, None, None
        if isinstance(operation.layer, CosineBasis):
            basis = operation.layer
            chain.append(_behind(operation, output, operation.name))
        last = chain[-1]
        after = _alone(last, output)
        if inside and after and isinstance(last.layer, WeightedLayer):
            end = _alone(after, output)
            if end and isinstance(end.layer, GBPNoise) and _elementwise(after):
                chain.append(after)
                activation, after = after, end
        if after and isinstance(after.layer, GBPNoise) and not isinstance(last.layer, GBPNoise):
            chain.append(after)
            noise = after.layer
        taken.update(chain)
        noise = operation.layer if isinstance(operation.layer, GBPNoise) else noise
        yield Fused(last.name, operation.inputs, chain[-1].output, last, basis, activation, noise)


def _alone(operation: Operation, output: Value) -> Operation | None:
    """The only operation that takes the output of this one."""
    users = operation.output.users
    return users[0] if len(users) == 1 and operation.output is not output else None


def _elementwise(operation: Operation) -> bool:
    """Whether an operation is an activation: a layer, or a function of one input that is curved and acts entry by entry."""
    if not isinstance(operation.call, Call):
        return isinstance(operation.layer, ActivationLayer)
    like = [value.belief for value in operation.inputs]
    if len(like) > 1 or like[0].shape != operation.output.belief.shape:
        return False
    return not is_linear(operation.call.run, like) and apart(operation.call.run, like)


def _behind(basis: Operation, output: Value, name: str) -> Operation:
    after = _alone(basis, output)
    if after is None or not isinstance(after.layer, GBPLinear) or not after.layer.full:
        raise no_node(basis.layer, f"layer {name}")
    return after


class Builder:
    """Makes nodes.

    Args:
        learn: False takes the weights as known at their means.
        linearised: factors to first order at the means, in place of matched moments.
        exchange: whether an entry that several windows of a max-pool chose tells each of them what it heard from the others.
    """

    inside = True  # activations are inside of the factor of the weights
    proper = True  # evidence must leave the outputs a variance

    def __init__(self, learn: bool, linearised: bool, exchange: bool) -> None:
        self.learn, self.linearised, self.exchange = learn, linearised, exchange

    def node(self, part: Fused) -> Node:
        """The node of a factor."""
        layer = part.first.layer
        if isinstance(layer, WeightedLayer):
            return self.weighted(layer, part)
        if isinstance(layer, ActivationLayer):
            return self.activation(layer, part)
        if isinstance(layer, GBPMaxPool2d):
            return self.max_pool(layer, part)
        if isinstance(layer, GBPNoise):
            return FactorNode(LinearMap(lambda belief: belief), part.variance, part.prior())
        like = [value.belief for value in part.inputs]
        if layer is not None:
            return mapped(layer.forward, None, [Gaussian(*(moment[:1] for moment in belief)) for belief in like], part, False)
        assert isinstance(part.first.call, Call)
        return mapped(part.first.call.run, part.first.call.plain, like, part, self.linearised)

    def weighted(self, layer: WeightedLayer, part: Fused) -> Node:
        """The node of a layer with weights."""
        activation = None if part.activation is None else self.inner(part.activation)
        settings = part.variance, part.prior()
        beliefs = self.beliefs(layer)
        rank = part.inputs[0].belief.ndim
        if layer.full and isinstance(layer, GBPLinear):
            if rank != 2:
                raise MissingRule(
                    "a full covariance of weights needs inputs (n, features)",
                    where=f"FactorGraph, layer {part.name} (GBPLinear)",
                    got=f"{rank} axes",
                    fix='use covariance="diagonal", or flatten the inputs',
                )
            return JointNode(activation, beliefs, *settings, part.basis)
        full = layer.full and isinstance(layer, GBPConv2d)
        if full and beliefs[0].learn:
            beliefs = FilterBelief(layer.weight), *beliefs[1:]
            return LinearNode(Bound(rule_of(CONV, FULL, 1), layer.options), activation, beliefs, *settings)
        return LinearNode(self.affine(layer, rank, self.linearised or full), activation, beliefs, *settings)

    def affine(self, layer: WeightedLayer, rank: int, first_order: bool) -> Bound:
        """The rule of a layer with weights."""
        rule = layer.rule(first_order)
        if isinstance(layer, GBPLinear) and rank != 2:
            return Bound(by_rows(rule), layer.options)
        few = layer.weight.mean[0].numel() <= HELD_MOST
        if first_order and few and isinstance(layer, GBPConv2d) and layer.options.groups == 1:
            return Bound(rule, layer.options, lambda images: _held(layer, images))
        return Bound(rule, layer.options)

    def beliefs(self, layer: WeightedLayer) -> tuple[WeightBelief, ...]:
        """Weights, and biases if there are any; those that are frozen are known at their means."""
        owned = [own for own in (layer.weight, layer.bias) if own is not None]
        return tuple(WeightBelief(own, self.learn and own.mean.requires_grad) for own in owned)

    def activation(self, layer: ActivationLayer, part: Fused) -> Node:
        """The node of an activation."""
        return FactorNode(self.bound(layer), part.variance, part.prior())

    def bound(self, layer: ActivationLayer) -> Bound:
        """The rule of an activation with its options."""
        return Bound(layer.linearised if self.linearised else layer.rule, layer.options)

    def inner(self, operation: Operation) -> Bound:
        """An activation inside the factor of a layer with weights."""
        if isinstance(operation.call, Call):
            call = operation.call
            factor = PlainMap(call.run, call.plain) if self.linearised else CurvedMap(call.run, apart=True)
            return Bound(as_rule(factor), None)
        return self.bound(operation.layer)

    def max_pool(self, layer: GBPMaxPool2d, part: Fused) -> Node:
        """The node of a maximum."""
        return MaxPoolNode(layer.options, part.variance, part.prior(), self.exchange)


def mapped(run: Run, plain: Any, like: Sequence[Gaussian], part: Fused, first_order: bool) -> Node:
    """The node of a function of beliefs, by what it does to entries (`maps`)."""
    if part.noise is None and len(like) == 1 and is_view(run, like[0]):
        return MovedNode(LinearMap(run), True)
    settings = part.variance, part.prior()
    if not is_linear(run, like):
        alone = apart(run, like)
        factor = PlainMap(run, plain) if alone and first_order else CurvedMap(run, alone)
        return (FactorNode if alone else SummedNode)(factor, *settings)
    factor, alone, one = LinearMap(run), apart(run, like), selects(run, like)
    if alone and one and part.noise is None:
        return MovedNode(factor, len(like) == 1 and in_order(run, like[0]))
    if alone:
        return FactorNode(factor, *settings)
    return (CopiesNode if one and len(like) == 1 and copies(run, like[0]) else SummedNode)(factor, *settings)


def _held(layer: GBPConv2d, images: Tensor) -> Bound:
    """The convolution of images that stay the same."""
    covariance = SHARED if layer.shared_precision else DIAGONAL
    return Bound(rule_of(HELD_CONV, covariance, 1), patches_of(layer.options, layer.kernel_size, images))
