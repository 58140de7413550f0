"""FactorGraph: a network as a graph of factors, and iterated inference of everything in it that is not observed.

Inputs, activations, weights and outputs are all variables; training, prediction, inpainting and generation differ in what is
observed. The graph is made for one batch, from a recorded forward pass of the network, and forgotten after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.autograd.sweep import Outcome, Sweep
from torch_gbp.errors import ImproperMarginal, InvalidInput
from torch_gbp.errors.checks import NOT_NEGATIVE, require, require_count, require_kind
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.inference.build import Builder, fused, has_node, require_approximation
from torch_gbp.inference.damping import Damping, Iteration
from torch_gbp.inference.latent import Latent, check_inputs
from torch_gbp.inference.node import Node
from torch_gbp.inference.observation import ObservationNode, observed_outputs, require_likelihood
from torch_gbp.inference.record import Recorder
from torch_gbp.inference.recorded import Value
from torch_gbp.inference.schedule import LayerSweeps, Schedule
from torch_gbp.inference.trace import Trace, diverged
from torch_gbp.inference.variable import Variable
from torch_gbp.likelihoods import Likelihood
from torch_gbp.likelihoods.evidence import Evidence
from torch_gbp.likelihoods.targets import check_known
from torch_gbp.optim.message_passing import MessagePassing
from torch_gbp.weights.parameter import GaussianParameter


class FactorGraph:
    """The factor graph of a network on one batch.

    Args:
        model: a network of GBP layers with any forward: nn.Sequential, skip connections, several inputs, functions of torch that
            have a moment map. Layers of full covariance (`covariance="full"`) take the factors of the batch together. A noise
            (`GBPNoise`) and an activation in front of it are part of the factor before them. Bases stand in front, where all
            inputs are observed; a `CosineBasis` also right in front of a GBPLinear of full covariance: both are one factor.
        inputs: observed inputs (n, ...), or `Latent`; a tuple of them where the network takes several.
        likelihood: what the targets say about the outputs; None observes the outputs themselves, exactly.
        target: targets as the likelihood wants them; None observes nothing.
        observed: mask of the targets that are known: (n,), or as the outputs are shaped; None for all.
        learn: False takes the weights as known at their means.
        approximation: of products and activations: "moments", matched, or "linearised", to first order at the means.
        exchange: whether an entry that several windows of a max-pool chose tells each of them what it heard from the others.
            That is exact where the windows do not meet again; where a dense layer reads them all, what they say is much the
            same evidence, which then counts several times (False: every window hears what is below it alone).
        builder: makes the nodes; None for one of these settings.

    Energy: sum of squared residuals / (2 noise^2), -log priors of activations, weights and inputs, and -log p(target | output).

    Raises:
        InvalidInput: an input without prior that is not observed; inputs or targets that are not finite; masks or targets of
            another shape or type; a layer with weights that is used twice; outputs that are plain tensors.
        MissingRule: a layer without factor, a function without moment map.

    >>> import torch_gbp as gbp
    >>> model = nn.Sequential(gbp.GBPLinear(2, 1), gbp.GBPNoise(0.1))
    >>> graph = FactorGraph(model, Latent(torch.zeros(1, 2), 1.0), target=torch.ones(1, 1), learn=False)
    >>> trace = graph.infer(100, damping=0.5)
    >>> mean, variance = graph.input_belief()
    >>> mean.shape
    torch.Size([1, 2])
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor | Latent | Sequence[Tensor | Latent],
        likelihood: Likelihood | None = None,
        target: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        learn: bool = True,
        approximation: str = "moments",
        exchange: bool = True,
        builder: Builder | None = None,
    ) -> None:
        require_approximation(approximation, "FactorGraph")
        require_likelihood(likelihood)
        builder = builder or Builder(learn, approximation == "linearised", exchange)
        self._build(model, inputs, builder)
        check_known(observed, self._output.belief.mean, "FactorGraph", "observed")
        self.likelihood, self.target, self.observed = likelihood, target, observed
        self.iteration = 0
        if likelihood is not None and target is not None:
            top = ObservationNode(likelihood, target, observed, builder.proper)
            self._add(type(likelihood).__name__, top, [self._output], Variable())
        elif target is not None:
            self.output.values, self.output.known = observed_outputs(self._output.belief, target, observed)

    @torch.no_grad()
    def infer(
        self,
        iterations: int,
        damping: float | Damping = 0.0,
        schedule: Schedule | None = None,
        tolerance: float = 0.0,
        check: int = 1,
    ) -> Trace:
        """Iterates the messages; goes on from where the last call stopped.

        Args:
            iterations: at most so many.
            damping: of messages; a number, or `Damping`.
            schedule: order of the messages; `LayerSweeps()` if None.
            tolerance: stops where every message changes by less than this share of its largest entry.
            check: energy and changes are looked at in the first iteration, every so many, and after the last.

        Raises:
            Diverged: an energy that is not finite or grew out of bounds, or messages without a posterior; names the iteration,
                the layer and the damping to try.
        """
        where, schedule = "FactorGraph.infer", LayerSweeps() if schedule is None else schedule
        require_count("iterations", iterations, where, fix="use 100")
        require_count("check", check, where, fix="use 1")
        require_kind("schedule", schedule, Schedule, where, fix="use LayerSweeps()")
        require("tolerance", tolerance, NOT_NEGATIVE, where, fix="use 0.0 for never")
        damping, trace = Damping.of(damping, schedule.undamped_first), Trace(0, [], [], [])
        for count in range(1, iterations + 1):
            now = Iteration(damping, self.iteration, watch=count % check == 0 or count in (1, iterations))
            try:
                for visit in schedule.visits(self.nodes, now.number == 0):
                    visit(now)
            except (torch.linalg.LinAlgError, ImproperMarginal) as error:  # pyright: ignore[reportPrivateImportUsage]
                raise diverged(count, self.energies(), damping) from error
            self.iteration += 1
            trace = trace._replace(iterations=count)
            if now.watch:
                changes = [kept.change for node in self.nodes for kept in node.damped() if kept.parts is not None]
                change = max(changes, default=0.0)
                trace.add(self.energies(), change, self.examples, damping)
                if change < tolerance:
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
        return {"inputs": sum(variable.energy() for variable in self.inputs)} | found

    def log_evidence(self) -> Tensor:
        """log p(targets) of the batch at the outputs' cavities in the last iteration; without targets minus the energy."""
        evidence = self._evidence
        return torch.tensor(-self.energy()) if evidence is None else evidence.log.sum()

    def messages(self) -> dict[GaussianParameter, Message]:
        """The messages of the batch to the weights, (g, G) centred at their means."""
        beliefs = [(weight.marginal, weight) for node in self.nodes for weight in node.weights if weight.learn]
        return {own: belief.message() for own, belief in beliefs if isinstance(own, GaussianParameter)}

    def send(self, propagate: MessagePassing) -> None:
        """Hands the messages of the batch to the optimizer, in place of all that it had: its next step takes them in.

        What a likelihood leaves to the step, the rest of an automatic power and what it learns itself, comes with them: it learns
        from the outputs' beliefs, which know the targets once.
        """
        propagate.take(self.messages(), self.sweep())

    def sweep(self) -> Sweep:
        """The batch as a step sees it: how many examples spoke, and what their likelihood wants of the step."""
        likelihood, target, evidence = self.likelihood, self.target, self._evidence
        log_evidence = self.log_evidence()
        if likelihood is None or target is None:
            return Sweep(self.examples, log_evidence)
        m_step = likelihood.m_step(self.output_belief(), target, self.observed)
        learn = None if m_step is None else lambda _, share: m_step(True, share)
        outcome = None
        if self.observed is None and evidence is not None:
            outcome = Outcome(target, evidence.log, lambda y: likelihood.evidence(*self._asked, y).log)
        return Sweep(self.examples, log_evidence, likelihood, outcome=outcome, learn=learn)  # its messages have their power

    def input_belief(self, place: int = 0) -> Gaussian:
        """Belief of an input; observed entries have variance 0."""
        return _gaussian(self.inputs[place])

    def output_belief(self) -> Gaussian:
        """Belief of the outputs."""
        return _gaussian(self.output)

    def beliefs(self) -> dict[str, Gaussian]:
        """Belief of every layer's output, by the layer's name."""
        inner = zip(self.names, self.nodes, strict=True)
        return {name: _gaussian(node.upper) for name, node in inner if not isinstance(node, ObservationNode)}

    @property
    def _evidence(self) -> Evidence | None:
        top = self.nodes[-1]
        return top.found if isinstance(top, ObservationNode) else None

    @property
    def _asked(self) -> tuple[Tensor, Tensor]:
        top = self.nodes[-1]
        assert isinstance(top, ObservationNode)
        return top.outputs

    def _build(self, model: nn.Module, inputs: Tensor | Latent | Sequence[Tensor | Latent], builder: Builder) -> None:
        """Records the network and makes variables and nodes."""
        given: tuple[Any, ...] = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
        for one in given:
            check_inputs(one)
        recorder, arguments, self.inputs = Recorder(has_node), [], list[Variable]()
        for one in given:
            variable = one.variable() if isinstance(one, Latent) else Variable(values=one)
            self.inputs.append(variable)
            arguments.append(recorder.input(variable) if isinstance(one, Latent) else recorder.observed(one, variable))
        self.examples = len(given[0])
        output = recorder.run(model, arguments)
        self.nodes: list[Node] = []
        self.names: list[str] = []
        for part in fused(recorder.operations, output, builder.inside):
            node = builder.node(part)
            part.output.variable = Variable(node.prior)
            self._add(part.name, node, part.inputs, part.output.variable)
        self._output = output
        if output.variable is None:
            raise InvalidInput(
                "the network has no factor", where="FactorGraph", got="its input", fix="use a network of GBP layers"
            )
        self.output = output.variable

    def _add(self, name: str, node: Node, inputs: Sequence[Value], upper: Variable) -> None:
        variables = [value.variable for value in inputs]
        node.connect([variable.edge() for variable in variables if variable is not None], upper)
        self.nodes.append(node)
        self.names.append(name)


def _gaussian(variable: Variable) -> Gaussian:
    mean, variance = variable.belief()
    return Gaussian(mean, torch.zeros_like(mean) if variance is None else variance)
