"""predict: one call for four ways of predicting."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_count, require_kind, require_values, shown
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods import Likelihood
from torch_gbp.modules import device_of
from torch_gbp.predictive.examples import require_network
from torch_gbp.predictive.linear import linearised
from torch_gbp.predictive.moments import at_means, moments
from torch_gbp.predictive.outputs import Outputs
from torch_gbp.predictive.result import Predictive
from torch_gbp.predictive.samples import sampled
from torch_gbp.weights.attached import ParameterMarginal, marginals
from torch_gbp.weights.seeds import PREDICTING, own_seed

WAYS = ("moments", "samples", "linear", "means")
DEFAULT = {"layers": "moments", "plain": "samples"}  # for networks of GBP layers, and for plain ones with marginals
SAMPLES = 16


def predict(
    model: nn.Module,
    likelihood: Likelihood,
    x: Tensor | Gaussian,
    how: str | None = None,
    samples: int = SAMPLES,
    *,
    generator: torch.Generator | None = None,
    chunk: int | None = None,
    vectorise: bool | None = None,
) -> Predictive:
    """Predictive distribution of the targets of a batch, with the weights' uncertainty in it.

    | how | what it does | cost, in passes of the network |
    |---|---|---|
    | "moments" | mean and variance through every operation, as if independent; needs maps | 3 to 4; 20 by quadrature (SiLU) |
    | "samples" | networks drawn from the marginals, and their average | `samples` |
    | "linear" | f(m) + J (w - m): joint Gaussian of an example's outputs | 3 to 6 for each output |
    | "means" | the weights' means alone, no epistemic part | 1 |

    The network is in evaluation mode meanwhile, and everything is put back afterwards. A forward pass under autocast may be in
    half precision; outputs are never.

    Args:
        model: network of GBP layers, or any network with marginals on its parameters; for "means", any network.
        likelihood: what stands between outputs and targets; its `variance_factor` and `temperature` count (`calibrate`).
        x: inputs (n, ...); "moments" takes a belief of them too.
        how: None takes "moments" for networks of GBP layers, "samples" where plain parameters have marginals.
        samples: networks to draw.
        generator: of the weights. None draws the same networks in every call, by a seed that follows from torch's, and leaves
            torch's own random numbers alone.
        chunk: networks ("samples") or examples ("linear") at a time; None takes what fits into a quarter of the free memory.
        vectorise: whether by `torch.func`; None decides. What that cannot follow (recurrent layers, control flow by values) runs
            one by one, with the same result.

    Raises:
        InvalidInput: no marginals, inputs that are no tensor or an empty one, an unknown `how`, fewer than one sample, outputs
            that are not finite or no tensor.
        MissingRule: how="moments" and an operation without a map, or how="linear" and a layer that needs beliefs.

    >>> import torch_gbp as gbp
    >>> model = nn.Sequential(gbp.GBPLinear(3, 8), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(8, 2))
    >>> found = predict(model, gbp.Softmax(), torch.randn(5, 3), how="samples", samples=4)
    >>> found.probs.shape, found.outputs.shape, found.epistemic.shape
    (torch.Size([5, 2]), torch.Size([4, 5, 2]), torch.Size([5]))
    """
    require_network(model, likelihood, "predict")
    settings = (how, samples, generator, chunk, vectorise)
    found = outputs_of(model, x, "predict", *settings)
    return Predictive(likelihood, found, _way(model, how))


def outputs_of(
    model: nn.Module,
    x: Any,
    where: str,
    how: str | None = None,
    samples: int = SAMPLES,
    generator: torch.Generator | None = None,
    chunk: int | None = None,
    vectorise: bool | None = None,
) -> Outputs:
    """What a way of predicting knows of a batch's outputs; arguments as in `predict`."""
    way = _way(model, how, where)
    samples = require_count("samples", samples, where, fix=f"use {SAMPLES}")
    chunk = None if chunk is None else require_count("chunk", chunk, where, fix="use None")
    _require_inputs(x, way, where)
    if way == "moments":
        found = moments(model, x, where)
    elif way == "samples":
        found = sampled(model, x, samples, _generator(model, generator), chunk, vectorise, where)
    else:
        found = linearised(model, x, chunk, vectorise, where) if way == "linear" else at_means(model, x, where)
    return found.require_finite(where)


def _way(model: nn.Module, how: Any, where: str = "predict") -> str:
    """The way asked for, or the default of this kind of network."""
    if how is None:
        plain = any(isinstance(own, ParameterMarginal) for own in marginals(model).values())
        return DEFAULT["plain" if plain else "layers"]
    if how not in WAYS:
        raise InvalidInput(
            "unknown way of predicting",
            where=where,
            got=shown(how),
            fix=f"use how={', '.join(map(repr, WAYS[:-1]))} or {WAYS[-1]!r}",
        )
    return how


def _require_inputs(x: Any, way: str, where: str) -> None:
    kinds = (Tensor, Gaussian) if way == "moments" else Tensor
    require_kind("x", x, kinds, where, fix="pass the inputs of a batch (n, ...)")
    require_values(x.mean if isinstance(x, Gaussian) else x, where)
    if not x.ndim or not x.numel():
        raise InvalidInput(
            "the batch is empty, or no batch",
            where=where,
            got=f"shape {tuple(x.shape)}",
            cause="a filter that left nothing, or a single number",
            fix="pass inputs (n, ...) of at least one example",
        )


def _generator(model: nn.Module, generator: torch.Generator | None) -> torch.Generator:
    if generator is not None:
        require_kind("generator", generator, torch.Generator, "predict", fix="pass torch.Generator().manual_seed(0), or None")
        return generator
    return torch.Generator(device_of(model)).manual_seed(own_seed(PREDICTING))
