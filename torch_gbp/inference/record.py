"""Recording: a network's forward pass as a graph of operations on beliefs, whatever the forward is made of.

The network runs once. GBP layers are operations as a whole; between them every function, method and operator of torch that
meets a belief is one, by its moment map. What depends on known tensors alone is known, and no part of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from torch_gbp.bases.basis import Basis
from torch_gbp.bases.cosine import CosineBasis
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.gaussian import Gaussian
from torch_gbp.inference.recorded import Call, Operation, Recorded, Value
from torch_gbp.inference.variable import Variable
from torch_gbp.layers.base import FactorLayer, WeightedLayer

Layer = FactorLayer | Basis


class Recorder:
    """What a forward pass does, in its order; `inside` counts the layers that are under way, whose own calls are not recorded."""

    def __init__(self, has_node: Callable[[nn.Module], bool]) -> None:
        self.has_node = has_node
        self.operations: list[Operation] = []
        self.known: dict[int, tuple[Tensor, Value]] = {}  # observed tensors that entered a layer
        self.names: list[tuple[str, nn.Module]] = []
        self.called: dict[nn.Module, str] = {}
        self.inside, self.thread = 0, get_ident()

    def input(self, variable: Variable) -> Recorded:
        """A belief that is an input of the network."""
        mean, variance = variable.belief()
        return self._wrapped(Value(Gaussian(mean, torch.zeros_like(mean) if variance is None else variance), variable))

    def observed(self, tensor: Tensor, variable: Variable) -> Tensor:
        """A tensor that is an input of the network: layers that take it as it is have this variable."""
        self.known[id(tensor)] = tensor, Value(Gaussian(tensor, tensor), variable)
        return tensor

    def run(self, model: nn.Module, inputs: Sequence[Any]) -> Value:
        """Runs the network; returns where its output comes from.

        Raises:
            InvalidInput: an output that is no belief, a layer with weights that is used twice.
            MissingRule: a layer without factor, a function without moment map.
        """
        self.called = {module: name for name, module in model.named_modules()}
        handles = [register_module_forward_pre_hook(self._enter), register_module_forward_hook(self._leave, with_kwargs=True)]
        try:
            with torch.no_grad():
                output = model(*inputs)
        finally:
            for handle in handles:
                handle.remove()
        if isinstance(output, Recorded):
            return output.source
        if isinstance(output, Gaussian):
            raise self.stranger()
        raise InvalidInput(
            "inference can be iterated only where layers carry moments",
            where="Inference",
            got="plain outputs" if isinstance(output, Tensor) else type(output).__name__,
            cause="a torch network with marginals, a means sweep, or a network that returns several things",
            fix="use iterations=1, or from_torch(network, moments=True)",
        )

    def function(self, call: Call, result: Any) -> Any:
        """Records a function; its result, known where it is."""
        if isinstance(result, (list, tuple)) and not isinstance(result, Gaussian):
            several = (Call(call.function, call.args, call.kwargs, call.beliefs, k) for k in range(len(result)))
            return type(result)(self.function(one, part) for one, part in zip(several, result, strict=True))
        if not isinstance(result, Gaussian):
            return result
        name = getattr(call.function, "__name__", "function").strip("_")
        return self._added(name, [belief.source for belief in call.beliefs], result, call)

    def place(self) -> str:
        """The module under way, for errors."""
        name, module = self.names[-1] if self.names else ("model", self)
        return f"layer {name} ({type(module).__name__})"

    def stranger(self) -> MissingRule:
        """The error of a belief that was not made by what is recorded."""
        return MissingRule(
            "a belief that no layer made has no factor",
            where=f"FactorGraph, {self.place()}",
            got="a Gaussian",
            cause="a forward that makes a Gaussian of tensors",
            fix="make it an input: FactorGraph(model, Latent(mean, sigma)), or add GBPNoise",
        )

    def _enter(self, module: nn.Module, args: Any) -> None:
        if get_ident() != self.thread:
            return
        self.names.append((self.called.get(module, type(module).__name__) or "model", module))
        if not isinstance(module, Layer):
            return
        if not self.inside:
            self._require_node(module, any(isinstance(arg, Recorded) for arg in args))
        self.inside += 1

    def _require_node(self, module: Layer, uncertain: bool) -> None:
        if isinstance(module, Basis) and uncertain and not isinstance(module, CosineBasis) and not self.operations:
            raise InvalidInput(
                "a fixed basis needs inputs that are observed",
                where=f"FactorGraph, {self.place()}",
                cause="latent inputs or missing pixels",
                fix="leave the basis out, or observe all inputs",
            )
        if not (self.has_node(module) or (isinstance(module, Basis) and not uncertain)):
            raise no_node(module, self.place())
        if isinstance(module, WeightedLayer) and any(operation.call is module for operation in self.operations):
            raise InvalidInput(
                "a layer was used twice in one sweep, and cannot keep the messages of both uses apart",
                where=f"FactorGraph, {self.place()}",
                cause="one module with weights at two places of the network",
                fix="give every place a module of its own, or use Inference(iterations=1)",
            )

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        result = None
        if get_ident() != self.thread:
            return result
        if isinstance(module, Layer):
            self.inside -= 1
            if not self.inside and isinstance(output, Gaussian):
                (taken,) = args or kwargs.values()
                result = self._added("", [self._source(taken)], output, module)
        self.names.pop()
        return result

    def _source(self, taken: Any) -> Value:
        if isinstance(taken, Recorded):
            return taken.source
        if isinstance(taken, Gaussian):
            raise self.stranger()
        _, value = self.known.setdefault(id(taken), (taken, Value(Gaussian(taken, taken), Variable(values=taken))))
        return value

    def _added(self, function: str, inputs: Sequence[Value], output: Gaussian, call: nn.Module | Call) -> Recorded:
        """Records an operation, called after the module under way, and the function where it is one of several there."""
        value = Value(Gaussian(*output))
        name, module = self.names[-1] if self.names else ("model", None)
        if function and (module is None or any(True for _ in module.children())):
            name = function if name == "model" else f"{name}.{function}"
        taken = {operation.name for operation in self.operations}
        numbered = (f"{name} ({k})" if k > 1 else name for k in count(1))
        unique = next(text for text in numbered if text not in taken)
        self.operations.append(Operation(unique, inputs, value, call))
        return self._wrapped(value)

    def _wrapped(self, value: Value) -> Recorded:
        belief = Recorded(*value.belief)
        belief.source, belief.recorder = value, self
        return belief


def no_node(module: nn.Module, place: str) -> MissingRule:
    """The error of a layer without factor."""
    return MissingRule(
        f"{type(module).__name__} has no factor node",
        where=f"FactorGraph, {place}",
        cause="a basis behind another layer, or a layer of your own",
        fix="use GBP layers and torch functions with a moment map; a CosineBasis goes in front of a GBPLinear of full covariance",
    )
