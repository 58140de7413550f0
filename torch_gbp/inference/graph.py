"""FactorGraph: a network as a graph of noisy factors, and iterated inference of everything in it that is not observed.

Inputs, activations, weights and outputs are all variables; training, prediction, inpainting and generation differ in what is
observed. The graph is made for one batch, from the layers of a network, and forgotten after it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from torch_gbp.autograd.bridge import gradients_of
from torch_gbp.autograd.sweep import Sweep, announce
from torch_gbp.checks import NOT_NEGATIVE, require, require_callable, require_count, require_kind
from torch_gbp.errors import ImproperMarginal
from torch_gbp.gaussian import Gaussian
from torch_gbp.graph_parts import SHAPES, check_inputs, evidence_of, layers_of
from torch_gbp.likelihoods import Likelihood
from torch_gbp.nodes import Latent, Node, ObservationNode, Pace, Schedule, ShapeNode, Variable, sweeps
from torch_gbp.trace import Trace, diverged


class FactorGraph:
    """The factor graph of a network on one batch.

    Args:
        model: a GBP layer, or nn.Sequential (nested as you like) of GBPLinear, GBPConv2d, GBPConvTranspose2d, GBPLeakyReLU,
            GBPSigmoid, GBPMaxPool2d, GBPAvgPool2d, GBPAdaptiveAvgPool2d, GBPUpsample and nn.Flatten, nn.Unflatten, nn.Identity;
            in front a `PatchBasis` or `InputBasis`, if all inputs are observed: the graph then begins at its features;
            anywhere a `CosineBasis` right in front of a GBPLinear with joint factors: both are one factor.
        inputs: observed inputs (n, ...), or `Latent`.
        likelihood: what the targets say about the outputs; None observes the outputs themselves, exactly.
        target: targets as the likelihood wants them; None observes nothing.
        observed: mask of the targets that are known: (n,), or as the outputs are shaped; None for all.
        learn: False takes the weights as known at their means.

    Energy: sum of squared residuals / (2 noise^2), -log priors of activations, weights and inputs, and -log p(target | output).

    Raises:
        InvalidInput: an input without prior that is not observed; inputs that are not finite; masks of another shape.
        MissingRule: a layer without factor node.

    >>> import torch_gbp as gbp
    >>> model = gbp.GBPLinear(2, 1, noise=0.1, linearise=True)
    >>> graph = FactorGraph(model, Latent(torch.zeros(1, 2), 1.0), target=torch.ones(1, 1), learn=False)
    >>> trace = graph.infer(100, Pace(rate=0.5))
    >>> mean, variance = graph.input_belief()
    >>> mean.shape
    torch.Size([1, 2])
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor | Latent,
        likelihood: Likelihood | None = None,
        target: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        learn: bool = True,
    ) -> None:
        check_inputs(inputs)
        layers, inputs = layers_of(model, inputs)
        self.inputs = inputs.variable() if isinstance(inputs, Latent) else Variable(values=inputs)
        self.examples, self.likelihood, self.target, self.observed = len(inputs), likelihood, target, observed
        self.nodes: list[Node] = []
        self.names: list[str] = []
        lower = self.inputs
        for name, module in layers:
            node = ShapeNode(module) if isinstance(module, SHAPES) else module.node(learn)
            lower = self._add(name, node, lower, Variable(node.prior))
        self.output = lower
        if likelihood is not None and target is not None:
            evidence = evidence_of(likelihood, target, observed)
            self._add(type(likelihood).__name__, ObservationNode(evidence, likelihood.power, observed), lower, Variable())
        elif target is not None:
            self.output.values, self.output.known = target, observed

    @torch.no_grad()
    def infer(
        self, iterations: int, pace: Pace | None = None, schedule: Schedule | None = None, tolerance: float = 0.0, check: int = 1
    ) -> Trace:
        """Iterates the messages; goes on from where the last call stopped.

        Args:
            iterations: at most so many.
            pace: damping and dropout.
            schedule: order of the visits; `sweeps` (up through all layers, then down) if None.
            tolerance: stops where every message changes by less than this share of its largest entry.
            check: energy and changes are looked at in the first iteration, every so many, and after the last.

        Raises:
            Diverged: an energy that is not finite or grew out of bounds, or messages without a posterior; names the iteration,
                the layer and the damping to try.
        """
        require_count("iterations", iterations, "FactorGraph.infer", fix="use 100")
        require_count("check", check, "FactorGraph.infer", fix="use 1")
        require_callable("schedule", schedule or sweeps, "FactorGraph.infer", fix="use torch_gbp.sweeps")
        require("tolerance", tolerance, NOT_NEGATIVE, "FactorGraph.infer", fix="use 0.0 for never")
        if pace is not None:
            require_kind("pace", pace, Pace, "FactorGraph.infer", fix="use Pace(rate=0.3)")
        pace = replace(pace or Pace())
        trace = Trace(0, [], [], [])
        for iteration in range(1, iterations + 1):
            pace.watch = iteration % check == 0 or iteration in (1, iterations)
            try:
                for visit in (schedule or sweeps)(self.nodes, pace.iteration == 0):
                    visit(pace)
            except (torch.linalg.LinAlgError, ImproperMarginal) as error:  # pyright: ignore[reportPrivateImportUsage]
                raise diverged(iteration, self.energies(), pace) from error
            pace.iteration += 1
            trace = trace._replace(iterations=iteration)
            if pace.watch:
                self._look(trace, pace)
                if trace.changes[-1] < tolerance:
                    break
        for node in self.nodes:
            node.finish()
        return trace

    def energy(self) -> float:
        """The energy at the belief means."""
        return sum(self.energies().values())

    @torch.no_grad()
    def energies(self) -> dict[str, float]:
        """The energy by layer; a layer's part has its factors, its weights' prior and the prior of its output."""
        found = {name: node.energy() for name, node in zip(self.names, self.nodes, strict=True)}
        return {"inputs": self.inputs.energy()} | found

    def loss(self) -> Tensor:
        """The energy, whose `backward` puts the batch's messages to the weights into their gradients, for `MessagePassing`.

        What a likelihood leaves to the step, the rest of an automatic power and what it learns itself, comes with it.
        """
        beliefs = [weight for node in self.nodes for weight in node.weights if weight.learn]
        parameters, messages = [], []
        for belief in beliefs:
            score, precision = belief.message()
            parameters += [belief.marginal.mean, belief.marginal.precision]
            messages += [score, precision * (score.numel() // precision.numel())]
        energy = torch.tensor(self.energy())
        return _Said.apply(self._sweep(-energy), energy, messages, *parameters)  # type: ignore[return-value]

    def input_belief(self) -> Gaussian:
        """Belief of the inputs; observed entries have variance 0."""
        return _gaussian(self.inputs)

    def output_belief(self) -> Gaussian:
        """Belief of the outputs."""
        return _gaussian(self.output)

    def beliefs(self) -> dict[str, Gaussian]:
        """Belief of every layer's output, by the layer's name."""
        inner = zip(self.names, self.nodes, strict=True)
        return {name: _gaussian(node.upper) for name, node in inner if not isinstance(node, ObservationNode)}

    def _add(self, name: str, node: Node, lower: Variable, upper: Variable) -> Variable:
        node.connect(lower, upper)
        self.nodes.append(node)
        self.names.append(name or "model")
        return upper

    def _sweep(self, log_evidence: Tensor) -> Sweep:
        """The batch as the step takes it; a likelihood learns from the outputs' beliefs, which know the targets once."""
        if self.likelihood is None or self.target is None:
            return Sweep(self.examples, log_evidence)
        lesson = self.likelihood.lesson(self.output_belief(), self.target, self.observed)
        learn = None if lesson is None else lambda _, share: lesson(True, share)
        return Sweep(self.examples, log_evidence, self.likelihood.automatic, learn)

    def _look(self, trace: Trace, pace: Pace) -> None:
        change = max(kept.change for node in self.nodes for kept in node.kept() if kept.parts is not None)
        trace.add(self.energies(), change, self.examples, pace)


class _Said(Function):
    @staticmethod
    def forward(ctx: Any, sweep: Sweep, energy: Tensor, messages: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.sweep, ctx.messages = sweep, messages
        return energy.clone()

    @staticmethod
    def backward(ctx: Any, *factor: Tensor) -> tuple[Tensor | None, ...]:
        announce(ctx.sweep)
        return None, None, None, *gradients_of([message * factor[0].to(message) for message in ctx.messages])


def _gaussian(variable: Variable) -> Gaussian:
    mean, variance = variable.belief()
    return Gaussian(mean, torch.zeros_like(mean) if variance is None else variance)
