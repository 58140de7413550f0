"""What a factor graph is made from: the layers of a network in their order, inputs and targets, all checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

from torch_gbp.bases.basis import Basis
from torch_gbp.bases.cosine import CosineBasis
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import FactorLayer
from torch_gbp.layers.linear import GBPLinear
from torch_gbp.likelihoods import Likelihood
from torch_gbp.nodes import JointNode, Latent, Node

SHAPES = (nn.Flatten, nn.Unflatten, nn.Identity)


class Behind(NamedTuple):
    """A linear layer whose weights stand on the features of a basis: one factor."""

    basis: CosineBasis
    layer: GBPLinear

    def node(self, learn: bool) -> Node:
        node = self.layer.node(learn)
        assert isinstance(node, JointNode)
        node.basis = self.basis
        return node


def layers_of(model: nn.Module, inputs: Tensor | Latent) -> tuple[list[tuple[str, Any]], Tensor | Latent]:
    """The layers of nested nn.Sequential, in their order, with their names; and the inputs, taken through any bases in front.

    Raises:
        MissingRule: a module that is neither a GBP layer nor a reshape, or a basis behind one (but a `CosineBasis` in front
            of a joint GBPLinear).
        InvalidInput: a basis of inputs that are not all observed: it has no message to send them.
    """
    found = list(_chain(model))
    while found and isinstance(found[0][1], Basis):
        name, basis = found.pop(0)
        if isinstance(inputs, Latent):
            raise InvalidInput(
                "a fixed basis needs inputs that are observed",
                where=f"FactorGraph, layer {name or 'model'} ({type(basis).__name__})",
                cause="latent inputs or missing pixels",
                fix="leave the basis out, or observe all inputs",
            )
        inputs = basis(inputs)
    found = list(_joined(found))
    for name, module in found:
        _require_node(name, module)
    return found, inputs


def _joined(layers: list[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The layers, a cosine basis and the joint linear layer behind it taken together."""
    rest = iter(layers)
    for name, module in rest:
        after = next(rest, None) if isinstance(module, CosineBasis) else None
        if after is None:
            yield name, module
        elif isinstance(after[1], GBPLinear) and after[1].joint:
            yield after[0], Behind(module, after[1])
        else:
            yield from ((name, module), after)


def _chain(module: nn.Module, name: str = "") -> Iterable[tuple[str, Any]]:
    if not isinstance(module, nn.Sequential):
        yield name, module
        return
    for key, child in module.named_children():
        yield from _chain(child, f"{name}.{key}" if name else key)


def _require_node(name: str, module: nn.Module) -> None:
    if not isinstance(module, (FactorLayer, Behind, *SHAPES)):
        raise MissingRule(
            f"{type(module).__name__} has no factor node",
            where=f"FactorGraph, layer {name or 'model'}",
            cause="a plain torch layer, a basis behind another layer, or a network with a forward of its own",
            fix="use nn.Sequential of GBP layers and reshapes; a CosineBasis stands in front of a GBPLinear with joint=True",
        )


def check_inputs(inputs: Tensor | Latent) -> None:
    """Raises InvalidInput for inputs that have neither a prior nor a value everywhere, or are not finite."""
    if isinstance(inputs, Latent):
        if not inputs.anchored:
            raise InvalidInput(
                "a variable has neither a prior nor an observation",
                where="FactorGraph, the inputs",
                got="Latent(sigma=None) with entries that are not known",
                cause="missing pixels without a prior",
                fix="give sigma, or mark all entries as known",
            )
        return
    if not inputs.is_floating_point() or inputs.numel() == 0 or not bool(inputs.isfinite().all()):
        raise InvalidInput(
            "inputs must be finite floating-point numbers of at least one example",
            where="FactorGraph",
            got=f"{inputs.dtype}, shape {tuple(inputs.shape)}",
            cause="integer images, an empty batch, or missing pixels marked by NaN",
            fix="convert with x.float() / 255; missing pixels are Latent(x, sigma, known=mask)",
        )


def evidence_of(likelihood: Likelihood, target: Tensor, observed: Tensor | None) -> Any:
    """The likelihood with its targets, for `ObservationNode`; unknown targets may be any valid value.

    Raises (when it is first asked):
        InvalidInput: targets that do not fit the likelihood, a mask of another shape.
    """
    checked = False

    def evidence(mean: Tensor, variance: Tensor, at: Tensor | None) -> Any:
        nonlocal checked
        if not checked:
            likelihood.check(Gaussian(mean, variance), target)
            if observed is not None and observed.shape not in (target.shape[:1], mean.shape):
                raise InvalidInput(
                    "the mask of known targets must be (n,) or of the outputs' shape",
                    where="FactorGraph",
                    got=f"{tuple(observed.shape)}, outputs {tuple(mean.shape)}",
                    fix="use one entry for every example",
                )
            checked = True
        return likelihood.evidence_at(mean, variance, target, at)

    return evidence
