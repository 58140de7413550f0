"""Message passing on the small problems: exact bookkeeping one example or one batch at a time, and one average site."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.posterior.predictive import told
from benchmarks.posterior.problems import Problem, network
from benchmarks.textbook import AVERAGED, SLOPE, Fitting


def textbook(fitting: Fitting, problem: Problem, epochs: int | None, seed: int) -> Tensor:
    """The reference's own model: its prior, its noise, power 1."""
    return told(_trained(fitting, problem, epochs, seed).predict(problem.inputs))


def joint(fitting: Fitting, problem: Problem, epochs: int | None, seed: int) -> Tensor:
    """The same, its predictive from the joint Gaussian of all weights."""
    trained = _trained(fitting, problem, epochs, seed)
    return told(gbp.LinearResponse(trained.model, trained.likelihood, problem.x, problem.y).predict(problem.inputs))


def _trained(fitting: Fitting, problem: Problem, epochs: int | None, seed: int) -> gbp.Trainer:
    noise = problem.noise_variance
    likelihood = gbp.Softmax(power=1.0) if noise is None else gbp.Regression(noise)
    return fitting.fit(network(problem), likelihood, problem.x, problem.y, epochs, seed)


def shipped(problem: Problem, epochs: int | None, seed: int) -> Tensor:
    """The library as it comes: its narrow prior of mean 0, shared precisions, automatic power; not the reference's model."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(problem.widths, problem.widths[1:], strict=False):
        layers += [gbp.GBPLinear(fan_in, fan_out, dtype=torch.float64), gbp.GBPLeakyReLU(SLOPE)]
    noise = problem.noise_variance
    likelihood = gbp.Softmax() if noise is None else gbp.Regression(noise)
    fitting, made = AVERAGED._replace(rate=None), nn.Sequential(*layers[:-1])
    return told(fitting.fit(made, likelihood, problem.x, problem.y, epochs, seed).predict(problem.inputs))
