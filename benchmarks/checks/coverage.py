"""Credible intervals of 100 networks, on the training range and far from it: how often do they hold the function (`coverage`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Normal

import torch_gbp as gbp
from benchmarks.checks.curve import DATA_SEED, NOISE, QUICK_EPOCHS, curve, line, points, rounded
from benchmarks.checks.textbook import Fitting, make
from benchmarks.measure import timed
from benchmarks.results import Request, Result, Row, matching, say
from torch_gbp.errors import Diverged

Function: TypeAlias = Callable[[Tensor], Tensor]
Predict: TypeAlias = Callable[[Tensor], Any]  # Normal
QUICK_NETWORKS, SAMPLES = 3, 200  # networks drawn from the joint Gaussian
WIDTHS, RANGE, POINTS, INPUTS = [1, 32, 32, 1], (-0.5, 0.5), 200, 41  # network, data, inputs of each region
REGIONS = {"left": (-20.0, -10.0), "inside": RANGE, "right": (10.0, 20.0)}
LEVELS = torch.linspace(0, 1, 101, dtype=torch.float64)
SIGMAS = {"sigma1": 0.6827, "sigma2": 0.9545, "sigma3": 0.9973}
FITTING = Fitting(gbp.BatchSites, epochs=800, schedule=gbp.AllAtOnce, damping=gbp.Damping(0.97))  # the first messages too


class Case(NamedTuple):
    """What is learnt, and by which prior.

    Args:
        function: the published name of the functions.
        scale: of the prior variances, 1: the textbook's.
        own: every network learns a function that is drawn from its own prior.
    """

    title: str
    function: str = "the curve"
    scale: float = 1.0
    own: bool = False


OWN = "a function from the prior"
CASES = {
    "1-32-32-1": Case("textbook prior"),
    "wide": Case("prior of twice its variance", scale=2.0),
    "own": Case("textbook prior", OWN, own=True),
    "own_wide": Case("prior of twice its variance", OWN, scale=2.0, own=True),
}
PREDICTIVES: dict[str, Callable[[gbp.Trainer, gbp.LinearResponse], Predict]] = {
    "gbp": lambda trainer, joint: trainer.predict,
    "gbp_joint": lambda trainer, joint: joint.predict,
    "gbp_joint_samples": lambda trainer, joint: lambda x: of_samples(joint.sample(x, SAMPLES)),
}
TITLES = {"gbp": "marginals", "gbp_joint": "linear response", "gbp_joint_samples": "networks drawn from the joint Gaussian"}


def run(request: Request) -> Result:
    """A row for each network and predictive, told by its seed, and one, "all", for the networks of this call together.

    Networks that the result file has already are not trained again.
    """
    told = {"inference": FITTING.told(), "samples": SAMPLES}
    return Result({**told, "data_seed": DATA_SEED, "noise": NOISE, "regions": REGIONS, "inputs": INPUTS}, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    for name in request.asked(CASES):
        epochs = request.epochs or (QUICK_EPOCHS if request.quick else FITTING.epochs)
        told = {"net": name, "limit": request.limit or POINTS, "epochs": epochs}
        found: list[Row] = []
        seeds = request.seeds[: QUICK_NETWORKS if request.quick else None]
        for seed in seeds:
            there = matching(request.done, **told, seed=seed)
            found += there if len(there) == len(PREDICTIVES) else []
            for row in () if len(there) == len(PREDICTIVES) else _covered_by(CASES[name], {**told, "seed": seed}):
                found.append(row)
                yield row
        for method in PREDICTIVES:
            own = [row for row in found if row["method"] == method]
            counted = {"networks": len(own), "diverged": len(seeds) - len(own)}
            yield {"method": method, **told, "seed": "all", **counted, **summary(own)}


def _covered_by(case: Case, told: Row) -> Iterator[Row]:
    """The level at which each input's interval begins to cover the function, of one network, by each predictive.

    Nothing of a network whose energy diverges.
    """
    model, learnt = make(WIDTHS, told["seed"], case.scale), list[gbp.Trainer]()
    x, y = points(told["limit"], *RANGE)
    truth = drawn_from(model, told["seed"]) if case.own else curve
    y = y - curve(x) + truth(x)  # the same noise about another function
    learning = (gbp.Regression(NOISE**2), x, y, told["epochs"], told["seed"])
    try:
        seconds = timed(lambda: learnt.append(FITTING.fit(model, *learning)))
    except Diverged as error:
        say(told, str(error))
        return
    say(told, f"{seconds:.1f} s")
    joint = gbp.LinearResponse(model, learnt[0].likelihood, x, y)
    for method, predictive in PREDICTIVES.items():
        yield {"method": method, **told, **_scored(predictive(learnt[0], joint), truth), "train_seconds": seconds}


def _scored(predict: Predict, truth: Function) -> Row:
    inputs = {region: line(*ends, INPUTS) for region, ends in REGIONS.items()}
    beliefs = {region: predict(own) for region, own in inputs.items()}
    needed = {region: rounded(needed_level(belief, truth(inputs[region]))) for region, belief in beliefs.items()}
    return {"needed": needed, "rmse": float((beliefs["inside"].mean - truth(inputs["inside"])).square().mean().sqrt())}


def drawn_from(model: nn.Module, seed: int) -> Function:
    """The function of a network whose weights are drawn from the prior of these layers, which have learnt nothing yet."""
    network = gbp.sample(model, torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def function(x: Tensor) -> Tensor:
        return network(x)

    return function


def of_samples(outputs: Tensor) -> Normal:
    """The Gaussian with the moments of drawn outputs (samples, n, 1), and the noise."""
    return Normal(outputs.mean(0), (outputs.var(0) + NOISE**2).sqrt())


def needed_level(found: Normal, truth: Tensor) -> Tensor:
    """The smallest p whose interval [cdf^-1(1/2 - p/2), cdf^-1(1/2 + p/2)] holds the truth.

    >>> needed_level(Normal(0.0, 1.0), torch.tensor([0.0, -1.0]))
    tensor([0.0000, 0.6827])
    """
    return (2 * found.cdf(truth) - 1).abs()


def coverage(rows: list[Row], region: str) -> Tensor:
    """Share of networks whose interval of each level covers the function: the median over the region's inputs, (101,)."""
    return (_needed(rows, region) <= LEVELS[:, None, None]).double().mean(1).median(1).values


def summary(rows: list[Row]) -> Row:
    """Correlation of level and coverage, overall (the left and right medians together) and for each side; coverage of
    1, 2 and 3 sigma in each region."""
    curves = {region: coverage(rows, region) for region in REGIONS}
    found: Row = {"correlation": correlation(LEVELS.repeat(2), torch.cat([curves["left"], curves["right"]]))}
    found |= {f"correlation_{side}": correlation(LEVELS, curves[side]) for side in ("left", "right")}
    for name, level in SIGMAS.items():
        shares = {region: (_needed(rows, region) <= level).double().mean(0) for region in REGIONS}
        found |= {f"{name}_{region}": float(share.median()) for region, share in shares.items()}
    return found | {"coverage": {region: rounded(own) for region, own in curves.items()}}


def correlation(x: Tensor, y: Tensor) -> float:
    """Pearson's; 0 for a coverage that is the same at all levels, which tells nothing of the level.

    >>> correlation(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 5.0]))
    1.0
    """
    return float(torch.corrcoef(torch.stack([x, y])).nan_to_num()[0, 1])


def _needed(rows: list[Row], region: str) -> Tensor:
    return torch.tensor([row["needed"][region] for row in rows], dtype=torch.float64)
