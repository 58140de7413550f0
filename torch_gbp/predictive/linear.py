"""Prediction by linearising: the joint Gaussian of an example's outputs to first order in the weights, at their means.

    outputs ~ N(f(m), J S J'),  J = df/dw at the means m (k outputs x weights), S the weights' variances

Deterministic; all that a shared kernel, a skip or a norm correlates is in J. It takes k backward passes for an example.
Source: the linearised Laplace predictive (Khan et al. 2019; Immer, Korzepa & Bauer 2021), with the marginals' variances.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.layers.base import weights_known
from torch_gbp.memory import require_memory, size_of
from torch_gbp.modules import evaluating
from torch_gbp.predictive.chunks import LIVE, Largest, at_a_time
from torch_gbp.predictive.known import Network, Weights, undisturbed
from torch_gbp.predictive.outputs import Outputs
from torch_gbp.predictive.together import Together

APART = 0.1  # how far, as a share of the largest, outputs may be from those in the batch: more than half precision rounds

Slopes = tuple[Weights, Tensor]  # J by the weights' names, (n, k, *shape), and the outputs, (n, k)


def linearised(model: nn.Module, x: Tensor, chunk: int | None, vectorise: bool | None, where: str) -> Outputs:
    """Joint Gaussians of the outputs.

    Args:
        chunk: examples at a time; None takes as many as fit into a quarter of the free memory.
        vectorise: whether through `torch.func` (None: yes); what that cannot follow runs output by output.

    Raises:
        OutOfMemory: derivatives of one example that do not fit.
        InvalidInput: outputs of an example that depend on the rest of the batch.
        MissingRule: layers of beliefs that have no torch function for known weights, or a forward that needs beliefs.
    """
    network = Network(model, where)
    with evaluating(model), undisturbed(network.model), torch.no_grad(), weights_known():
        with Largest() as seen:
            centre = network.centre(x)
        if centre is None:
            raise _needs_beliefs(where)
        slopes_of_one = centre[0].numel() * size_of(network.means().values())
        each = LIVE * seen.bytes // len(x) + 3 * slopes_of_one  # J, J scaled, and on its way
        cause = "one number is kept for every output and weight, three times"
        require_memory(each, centre.device, "the derivatives of one example's outputs", 'predict by how="samples"', cause)
        size = chunk or at_a_time(each, centre.device, len(x))
        own = _Slopes(network)
        slopes = Together(own.together, own.apart, vectorise is not False)
        parts = [_covariance(network, *slopes(rows)) for rows in x.split(size)]
    covariance, alone = (torch.cat(part) for part in zip(*parts, strict=True))
    _require_alone(alone, centre.reshape(len(centre), -1), where)
    return Outputs.jointly(centre, covariance)


class _Slopes:
    """Jacobians of examples, all at once or one after the other."""

    def __init__(self, network: Network) -> None:
        self.network, self.means = network, network.means()

    def together(self, rows: Tensor) -> Slopes:
        return vmap(jacrev(self._both, has_aux=True), in_dims=(None, 0))(self.means, rows)

    def apart(self, rows: Tensor) -> Slopes:
        found = [self._plainly(row) for row in rows]
        outputs = torch.stack([outputs for _, outputs in found])
        return {name: torch.stack([slopes[name] for slopes, _ in found]) for name in self.means}, outputs

    def _both(self, weights: Weights, row: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self._outputs(weights, row)
        return outputs, outputs

    def _outputs(self, weights: Weights, row: Tensor) -> Tensor:
        return self.network(weights, row[None])[0].flatten()

    @torch.inference_mode(False)
    @torch.enable_grad()
    def _plainly(self, row: Tensor) -> Slopes:
        weights = {name: mean.clone().requires_grad_() for name, mean in self.means.items()}
        row = row.clone()  # neither made in inference mode
        outputs = self._outputs(weights, row)
        leaves = list(weights.values())
        each: list[tuple[Tensor, ...]] = [
            torch.autograd.grad(one, leaves, retain_graph=True, allow_unused=True, materialize_grads=True) for one in outputs
        ]
        return {name: torch.stack(part) for name, part in zip(weights, zip(*each, strict=True), strict=True)}, outputs.detach()


def _covariance(network: Network, slopes: Weights, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """J S J' (n, k, k), and the outputs."""
    covariance = outputs.new_zeros(*outputs.shape, outputs.shape[-1])
    for name, (_, deviation) in network.scattered.items():
        scaled = (slopes[name] * deviation).reshape(*outputs.shape, -1).to(covariance)
        covariance.baddbmm_(scaled, scaled.mT)
    return covariance, outputs


def _require_alone(alone: Tensor, together: Tensor, where: str) -> None:
    gap, scale = (alone - together).abs().max(), together.abs().max()
    if bool(gap > APART * scale):
        raise InvalidInput(
            "outputs of an example depend on the rest of the batch",
            where=where,
            got=f"outputs that differ by up to {float(gap):.3g}",
            cause="a norm without running statistics, or random numbers in the forward pass (F.dropout without `training=`)",
            fix='predict by how="samples"',
        )


def _needs_beliefs(where: str) -> MissingRule:
    return MissingRule(
        "the network cannot be linearised in its weights",
        where=where,
        cause="a layer with noise of its own, or a layer or a forward that works on beliefs alone",
        fix='predict by how="samples" or how="moments"',
    )
