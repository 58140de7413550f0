"""A network as a function of its weights: what sampling and linearising call, with torch's transforms where those can follow.

A plain network is called with other tensors in the place of the parameters that have marginals (`torch.func.functional_call`).
Layers of beliefs do, while `weights_known`, what torch's own layers do; where one cannot (noise of its own, a layer of the
user's), the network carries beliefs whose weights have the variance 0, which torch's transforms cannot follow.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import FactorLayer
from torch_gbp.modules import spare, uncompiled
from torch_gbp.predictive.running_means import RunningMeans, Weights
from torch_gbp.weights.attached import ParameterMarginal, marginals
from torch_gbp.weights.parameter import GaussianParameter

Scattered = tuple[Tensor, Tensor]  # mean, and deviation as the precision is stored: weights that share one have it once


class Network:
    """Outputs of a network on one batch, as a function of the weights that have marginals.

    Once `centre` has seen the network run, normalisations have the running means of the weights (`RunningMeans`).

    Attributes:
        scattered: means and deviations of the marginals, by the names of the parameters that are the means.
        plain: whether no layer is one of beliefs.
        traceable: whether every GBP layer has a plain torch function.

    Raises:
        InvalidInput: no weight has a marginal, though one is `needed`, or one whose weight has become something else.
    """

    def __init__(self, model: nn.Module, where: str, needed: bool = True) -> None:
        self.model = uncompiled(model)
        self.where = where
        self.owners = {_mean(name, own): own for name, own in marginals(self.model).items()}
        if needed and not self.owners:
            raise no_marginals(where)
        if needed:
            _require_held(self.owners, where)
        self._places = _places(self.model, self.owners)
        self._running_means = RunningMeans(self.model, self.owners)
        layers = [module for module in self.model.modules() if isinstance(module, FactorLayer)]
        self.plain = not layers and all(isinstance(own, ParameterMarginal) for own in self.owners.values())
        held = {id(own) for layer in layers if layer.traceable for own in layer.children()}
        known = (isinstance(own, ParameterMarginal) or id(own) in held for own in self.owners.values())
        self.traceable = all(layer.traceable for layer in layers) and all(known)

    @property
    def scattered(self) -> dict[str, Scattered]:
        return {name: (own.mean.detach(), own.variance.sqrt()) for name, own in self.owners.items()}

    def means(self) -> Weights:
        return {name: own.mean.detach() for name, own in self.owners.items()}

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        """Outputs (n, ...), never in half precision; x stays, whatever the network does to its input."""
        placed = self._placed(weights)
        return tensor_of(self._run(placed | self._running_means(weights, placed), x), self.where, len(x))

    def centre(self, x: Tensor) -> Tensor | None:
        """Outputs at the means while `weights_known`; None where the network's own forward cannot do without beliefs."""
        if not self.traceable:
            return None
        try:
            with self._running_means.watched():
                found = self._run(self._placed(self.means()), x)
        except Exception:
            if self.plain:
                raise
            return None  # with the errors of the layers of beliefs, if it has any
        return None if isinstance(found, Gaussian) else tensor_of(found, self.where, len(x))

    def carrying(self, weights: Weights, x: Tensor) -> Gaussian:
        """The same by layers of beliefs: what their own noise leaves uncertain has a variance."""
        sure = {name.removesuffix("mean") + "precision": own.precision.detach().new_full((), torch.inf).expand_as(own.precision)
                for name, own in self.owners.items() if not isinstance(own, ParameterMarginal)}  # fmt: skip
        found = self._run(self._placed(weights) | sure, x)
        return found if isinstance(found, Gaussian) else Gaussian(found, torch.zeros_like(found))

    def _placed(self, weights: Weights) -> Weights:
        """The weights wherever the network holds the parameters that are their means."""
        return {place: value for name, value in weights.items() for place in self._places[name]}

    def _run(self, placed: Weights, x: Tensor) -> Any:
        """Every place is given once; torch's own search for ties would take those of a module with two names twice."""
        return functional_call(self.model, placed, (spare(x),), tie_weights=False)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Inside, modules may keep what a pass brings, such as attention maps; afterwards each holds what it held before.

    What torch's transforms pass through a network cannot be used, copied or saved outside of them.
    """
    held = [(table, dict(table)) for module in model.modules() for table in _tables(module)]
    try:
        yield
    finally:
        for table, entries in held:
            table.clear()
            table.update(entries)


def _tables(module: nn.Module) -> tuple[dict[str, Any], ...]:
    """What a module holds its own things in; other modules, which have tables of their own, left out."""
    return module.__dict__, module._parameters, module._buffers


@contextmanager
def slow_rules() -> Iterator[None]:
    """Inside, torch does not warn of operations that its transforms follow one by one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield


def tensor_of(output: Any, where: str, examples: int | None = None) -> Tensor:
    """The outputs of a network of known weights; raises InvalidInput unless they are floating-point numbers, a row an example."""
    if not isinstance(output, Tensor) or not output.is_floating_point():
        raise InvalidInput(
            "the network must give a floating-point tensor of outputs",
            where=where,
            got=str(getattr(output, "dtype", type(output).__name__)),
            cause="a network that returns several things",
            fix="wrap it in a module that returns the outputs alone",
        )
    if examples is not None and (not output.ndim or len(output) % examples):  # of a sequence it may give several
        raise InvalidInput(
            "the network must give a row of outputs for each example",
            where=where,
            got=f"outputs {tuple(output.shape)} of {examples} examples",
            cause="a network that ends in .squeeze(), which takes a batch of one away, or in .mean()",
            fix="use .squeeze(-1), .squeeze(1), ...",
        )
    return output.to(torch.promote_types(output.dtype, torch.float32))


def no_marginals(where: str) -> InvalidInput:
    """The error for a network that has nothing to predict by but its weights."""
    return InvalidInput(
        "no weight of the network has a marginal",
        where=where,
        cause="a torch network that was not converted, so the output of the network is not Gaussian",
        fix='convert it by from_torch, build it of GBP layers, or predict by the weights alone with how="means"',
    )


def _places(model: nn.Module, owners: dict[str, GaussianParameter]) -> dict[str, list[str]]:
    """Where the means of marginals are, by their names: one path for each module, and name in it, that holds the parameter.

    A module that is in the network under two names has one of them: what is swapped twice is not put back.
    """
    names, places = {id(own.mean): name for name, own in owners.items()}, {name: list[str]() for name in owners}
    for path, module in model.named_modules():
        for held, parameter in module._parameters.items():
            if id(parameter) in names:
                places[names[id(parameter)]].append(f"{path}.{held}" if path else held)
    return places


def _require_held(owners: dict[str, GaussianParameter], where: str) -> None:
    """Raises InvalidInput unless the means of all marginals are parameters yet: of others a pass takes no other values."""
    for path, own in owners.items():
        module, name = (own._module, own.name) if isinstance(own, ParameterMarginal) else (own, "mean")
        if module._parameters.get(name) is None:
            raise InvalidInput(
                f"'{path}' has a marginal, and is no parameter any more",
                where=where,
                got=f"{type(module).__name__} with the parameters {sorted(module._parameters)}",
                cause="prune, weight_norm or spectral_norm after the conversion, which make the weight anew in every pass",
                fix="take it back (prune.remove leaves the zeros in place), or use parametrizations before from_torch",
            )


def _mean(name: str, own: GaussianParameter) -> str:
    """Name of the parameter that holds a marginal's mean."""
    return name if isinstance(own, ParameterMarginal) else f"{name}.mean"
