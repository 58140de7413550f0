"""Ways of predicting by networks with BatchNorm, on held-out images: `ways`.

Drawn networks have running statistics that were kept from the weights' means, or running means of their own to first order, as in
the library, or statistics made anew from the training images for each.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.anynet import CASES
from benchmarks.measure import fit_temperature, predict, scores, tempered_scores
from benchmarks.methods.base import log_mean, statistics_batches
from benchmarks.methods.gbp import MeansSweep
from benchmarks.race import Run, race
from benchmarks.results import Request, Result, Row, say
from benchmarks.tasks import Trial, limited
from torch_gbp.weights.attached import ParameterMarginal

NETS = {"resnet8": (10_000, 5), "resnet20": (5_000, 5)}  # training images and passes
SCORED, OTHERS, NETWORKS = 1000, 1000, 16  # held-out images, those that the temperature is fitted on, and drawn networks
Predict = Callable[[Tensor], Tensor]


def run(request: Request) -> Result:
    """A row for every network, seed and way."""
    told = {"nets": NETS, "scored": SCORED, "fitted_on": OTHERS, "networks": NETWORKS}
    return Result(told, (row for net in request.asked(NETS) for seed in request.runs for row in _rows(net, seed, request)))


def _rows(net: str, seed: int, request: Request) -> Iterator[Row]:
    limit, epochs = NETS[net]
    case = CASES[net]
    plan = case.plan(request if request.quick else request._replace(limit=limit, epochs=epochs))
    trial = Trial(net, case.net, plan, limited(case.load(request, True), plan.limit), seed)
    method: Any = race([Run("gbp", {"samples": False}, MeansSweep)], trial)[0].method
    method.network.eval()
    x, y = (part[: SCORED + OTHERS] for part in (trial.split.scored_x, trial.split.scored_y))
    count = len(x) // 2
    for way in request.methods or WAYS:
        torch.manual_seed(seed)
        logs = predict(WAYS[way](method), x, chunk=250)
        found = tempered_scores(logs[:count], y[:count], fit_temperature(logs[count:], y[count:]))
        say(trial.told, f"{way}: {found['nll_tempered']:.4f}")
        yield {"method": way, **trial.told, **scores(logs[:count], y[:count]), **found}


def _by(how: str, method: Any, kept: bool = False) -> Predict:
    network = _keeping(method.network) if kept else method.network
    return lambda x: gbp.predict(network, method.likelihood, x, how, NETWORKS).distribution.logits  # type: ignore[attr-defined]


def _keeping(network: nn.Module) -> nn.Module:
    """The network without what it knows of its layers' inputs."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, ParameterMarginal):
            module.mean_input = None
    return network


def _anew(method: Any) -> Predict:
    """Drawn networks, each with statistics of the training images."""
    drawn = [gbp.sample(method.network) for _ in range(NETWORKS)]
    for network in drawn:
        gbp.renew_statistics(network, statistics_batches(method.training), batches=None)
        network.eval()
    return lambda x: log_mean(torch.log_softmax(network(x), 1) for network in drawn)


WAYS: dict[str, Callable[[Any], Predict]] = {
    "means": partial(_by, "means"),
    "samples_kept": partial(_by, "samples", kept=True),
    "samples": partial(_by, "samples"),
    "samples_anew": _anew,
    "linear_kept": partial(_by, "linear", kept=True),
    "linear": partial(_by, "linear"),
}
TITLES = {
    "means": "means",
    "samples_kept": "samples, running statistics kept",
    "samples": "**samples, running means of their own**",
    "samples_anew": "samples, running statistics made anew for each",
    "linear_kept": "linearised, running means kept",
    "linear": "**linearised, running means of the weights**",
}
