"""How far posterior predictives are from long NUTS runs with the same prior and noise, on five small problems: `posterior`.

The reference, `results/posterior_reference.json`, was sampled once (numpyro): quantiles or class probabilities at every input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp
from benchmarks.checks.problems import PRIOR_SEED, PROBLEMS, SCORED, Problem, marginals, network, plain
from benchmarks.checks.textbook import AVERAGED, PARALLEL, SEQUENTIAL, SLOPE, Fitting
from benchmarks.measure import timed
from benchmarks.methods import installed
from benchmarks.methods.base import rival
from benchmarks.methods.bayes import convert, marginals_of
from benchmarks.methods.gradient import Descent
from benchmarks.results import Request, Result, Row, committed, say
from torch_gbp.weights.parameter import GaussianParameter

REFERENCE = "posterior_reference"
LEVELS = 50  # of the quantiles of a regression's predictive
STEPS, RATE = 4000, 0.01  # of the rivals: Adam on all points at once, with a cosine
SAMPLES = 500  # weight samples of a variational predictive
QUICK_EPOCHS, QUICK_PROBLEMS = 2, ("gap", "moons")  # one of each kind


class Compared(NamedTuple):
    """A method: its title, what it tells at the problem's inputs after so many passes, from a seed, and the package it needs."""

    title: str
    tell: Callable[[Problem, int | None, int], Tensor]
    package: str | None = None


def run(request: Request) -> Result:
    """Every method on every problem: its distance to the reference, near the training inputs and far from them."""
    fittings = {"gbp_sequential": SEQUENTIAL, "gbp_parallel": PARALLEL, "gbp_averaged": AVERAGED}
    told = {"methods": {name: fitting.told() for name, fitting in fittings.items()}, "prior_seed": PRIOR_SEED}
    return Result({**told, "reference": f"{REFERENCE}.json"}, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    for name in QUICK_PROBLEMS if request.quick and not request.net else request.asked(PROBLEMS):
        problem = PROBLEMS[name]()
        (reference,) = [row for row in committed(REFERENCE) if row["net"] == name]
        truth = torch.tensor(reference["predictive"], dtype=torch.float64)
        for method in installed(request.methods or list(POSTERIORS), POSTERIORS):
            for seed in request.runs:
                yield _row(method, name, problem, truth, request, seed)


def _row(method: str, name: str, problem: Problem, truth: Tensor, request: Request, seed: int) -> Row:
    epochs, found = request.epochs or (QUICK_EPOCHS if request.quick else None), list[Tensor]()
    seconds = timed(lambda: found.append(POSTERIORS[method].tell(problem, epochs, seed)))
    measured = distances(found[0], truth, problem.noise_variance is None)
    case = {"net": name, "limit": len(problem.x), "seed": seed, "epochs": epochs}
    say(case, f"{method}: {measured} in {seconds:.1f} s")
    return {"method": method, **case, **measured, "train_seconds": seconds}


def told(predictive: Distribution) -> Tensor:
    """Of a classification the probabilities (inputs, classes), of a regression the quantiles (inputs, levels)."""
    return predictive.probs if isinstance(predictive, Categorical) else predictive.icdf(levels())


def told_by_samples(outputs: Tensor, noise_variance: float | None) -> Tensor:
    """The same from network outputs (samples, inputs, outputs) at sampled weights."""
    if noise_variance is None:
        return outputs.softmax(2).mean(0)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)
    return torch.quantile((outputs + noise_variance**0.5 * noise).squeeze(2), levels(), 0).T


def levels() -> Tensor:
    """Probabilities (i + 1/2) / 50 of the quantiles."""
    return (torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS


def distances(found: Tensor, truth: Tensor, classes: bool) -> dict[str, float]:
    """Mean distance over the near inputs, over the far ones and over all: total variation, or Wasserstein-2."""
    name, each = ("tv", total_variation(found, truth)) if classes else ("w2", wasserstein2(found, truth))
    parts = {name: each[:SCORED], f"{name}_far": each[SCORED:], f"{name}_all": each}
    return {part: float(own.mean()) for part, own in parts.items()}


def total_variation(found: Tensor, truth: Tensor) -> Tensor:
    """Half the sum of |p - q| over the classes, for every input.

    >>> total_variation(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.2, 0.8]]))
    tensor([0.3000])
    """
    return 0.5 * (found - truth).abs().sum(1)


def wasserstein2(found: Tensor, truth: Tensor) -> Tensor:
    """(mean of (F^-1(u) - G^-1(u))^2 over the levels u)^(1/2), for every input; exact as the levels get dense.

    >>> normal = lambda mean, std: Normal(mean, std).icdf(levels())[None]
    >>> round(wasserstein2(normal(0.0, 1.0), normal(3.0, 1.0)).item(), 4)
    3.0
    """
    return (found - truth).square().mean(1).sqrt()


def textbook(fitting: Fitting, problem: Problem, epochs: int | None, seed: int) -> Tensor:
    """Message passing on the reference's own model: its prior, its noise, power 1."""
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


def mean_field(problem: Problem, epochs: int | None, seed: int) -> Tensor:
    """Independent Gaussians by the reparametrisation trick (bayesian-torch), the divergence that of the exact prior."""
    torch.manual_seed(seed)
    layers = plain(problem)
    convert(layers, prior_std=1.0)  # the package's own divergence, the only place of its prior, is not used
    layers = layers.double()
    priors = marginals(network(problem))
    _descend(layers, problem, lambda: divergence(layers, priors), epochs)
    with torch.no_grad():
        outputs = torch.stack([layers(problem.inputs) for _ in range(SAMPLES)])
    return told_by_samples(outputs, problem.noise_variance)


def last_layer(problem: Problem, epochs: int | None, seed: int) -> Tensor:
    """The most probable weights, then a Gaussian of full covariance around those of the last layer (laplace-torch)."""
    torch.manual_seed(seed)
    layers, noise = plain(problem), problem.noise_variance
    priors = marginals(network(problem))
    _descend(layers, problem, lambda: penalty(layers, priors), epochs)
    options: dict[str, Any] = {} if noise is None else {"sigma_noise": noise**0.5}
    options["prior_precision"] = torch.cat([own.prior_precision.expand(own.mean.numel()) for own in priors[-2:]])
    options |= {"subset_of_weights": "last_layer", "hessian_structure": "full"}
    fitted = rival("laplace").Laplace(layers, "classification" if noise is None else "regression", **options)
    fitted.fit(DataLoader(TensorDataset(problem.x, problem.y), len(problem.x)))
    if noise is None:
        return told(Categorical(probs=fitted(problem.inputs, pred_type="glm", link_approx="probit")))
    mean, variance = fitted(problem.inputs, pred_type="glm")
    return told(Normal(mean, (variance.squeeze(2) + noise).sqrt()))


def penalty(layers: nn.Module, priors: list[GaussianParameter]) -> Tensor:
    """-log prior of the weights, but for a constant."""
    pairs = zip(layers.parameters(), priors, strict=True)
    return torch.stack([(own.prior_precision * (w - own.mean.detach()).square()).sum() / 2 for w, own in pairs]).sum()


def divergence(layers: nn.Module, priors: list[GaussianParameter]) -> Tensor:
    """KL(posterior || prior) of all weights, each with its layer's prior."""
    terms = []
    for (mean, std), own in zip(marginals_of(layers), priors, strict=True):
        ratio = own.prior_precision * std.square()
        gap = own.prior_precision * (mean - own.mean.detach()).square()
        terms.append(0.5 * (ratio + gap - ratio.log() - 1).sum())
    return torch.stack(terms).sum()


def _descend(layers: nn.Module, problem: Problem, prior: Callable[[], Tensor], steps: int | None) -> None:
    """Adam on -log likelihood of all points plus the prior's term, but for constants."""

    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        if problem.noise_variance is None:
            return F.cross_entropy(outputs, y, reduction="sum") + prior()
        return (outputs - y).square().sum() / (2 * problem.noise_variance) + prior()

    optimizer = torch.optim.Adam(layers.parameters(), RATE)
    method = Descent(layers, optimizer, loss, CosineAnnealingLR(optimizer, steps or STEPS))
    for _ in range(steps or STEPS):
        method.step(problem.x, problem.y)


POSTERIORS = {
    "gbp_sequential": Compared("torch_gbp, one example after the other", partial(textbook, SEQUENTIAL)),
    "gbp_parallel": Compared("torch_gbp, all examples at once", partial(textbook, PARALLEL)),
    "gbp_averaged": Compared("torch_gbp, one average site", partial(textbook, AVERAGED)),
    "gbp_sequential_joint": Compared("one example after the other, linear response", partial(joint, SEQUENTIAL)),
    "gbp_parallel_joint": Compared("all examples at once, linear response", partial(joint, PARALLEL)),
    "gbp": Compared("torch_gbp as it comes", shipped),
    "vi": Compared("mean-field VI", mean_field, "bayesian_torch"),
    "laplace": Compared("last-layer Laplace", last_layer, "laplace"),
}
