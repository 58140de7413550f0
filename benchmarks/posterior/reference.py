"""The reference: the same Bayesian network sampled by NUTS (package numpyro), several long chains, with their diagnostics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.methods.packages import rival
from benchmarks.posterior.predictive import told_by_samples
from benchmarks.posterior.problems import PRIOR_SEED, PROBLEMS, Problem, marginals, network
from benchmarks.report import Request, Result, Row, say
from benchmarks.textbook import SLOPE

NAME = "posterior_reference"  # its committed result file


class Chains(NamedTuple):
    """Length of the sampling: chains run side by side; a trajectory has at most 2^tree_depth - 1 steps."""

    chains: int
    warmup: int
    samples: int
    tree_depth: int


LONG, QUICK = Chains(4, 500, 1000, 8), Chains(2, 20, 20, 4)


def run(request: Request) -> Result:
    """Samples every problem, or `--net`'s alone; only the first seed is used."""
    chains = QUICK if request.quick else LONG
    return Result({"chains": chains._asdict(), "prior_seed": PRIOR_SEED}, _rows(request, chains))


def _rows(request: Request, chains: Chains) -> Iterator[Row]:
    for name in asked_problems(request)[: 1 if request.quick else None]:
        yield sample(name, PROBLEMS[name](), chains, request.seeds[0])


def asked_problems(request: Request) -> list[str]:
    """The problems of the call."""
    if request.net not in (None, *PROBLEMS):
        raise SystemExit(f"no problem {request.net!r} in this benchmark: use {', '.join(PROBLEMS)}")
    return [request.net] if request.net else list(PROBLEMS)


def sample(name: str, problem: Problem, chains: Chains, seed: int) -> Row:
    """Runs the chains; what the predictives are compared by, and what tells whether the chains have mixed.

    R-hat (split) and effective sample sizes are those of the outputs at the compared inputs, the worst of them: weights
    have symmetries that chains need not explore.
    """
    started = time.perf_counter()
    sampler = _run(problem, chains, seed)
    outputs = sampler.get_samples(group_by_chain=True)["outputs"]
    fields = sampler.get_extra_fields()
    seconds = time.perf_counter() - started
    summary = rival("numpyro.diagnostics").summary({"outputs": rival("numpy").asarray(outputs)})["outputs"]
    flat = torch.from_numpy(rival("numpy").array(outputs)).flatten(0, 1)
    case = {"net": name, "limit": len(problem.x), "seed": seed, "epochs": chains.samples}
    checks = {
        "r_hat": float(summary["r_hat"].max()),
        "effective_samples": float(summary["n_eff"].min()),
        "divergences": int(fields["diverging"].sum()),
        "steps_per_sample": float(fields["num_steps"].mean()),
    }
    say(case, f"{checks} in {seconds:.0f} s")
    predictive = _rounded(told_by_samples(flat, problem.noise_variance))
    return {"method": "nuts", **case, **checks, "train_seconds": seconds, "predictive": predictive}


def _run(problem: Problem, chains: Chains, seed: int) -> Any:
    jax, infer = rival("jax"), rival("numpyro.infer")
    jax.config.update("jax_enable_x64", True)
    kernel = infer.NUTS(_model(problem), max_tree_depth=chains.tree_depth, target_accept_prob=0.9)
    options = {"num_chains": chains.chains, "chain_method": "vectorized", "progress_bar": False}
    sampler = infer.MCMC(kernel, num_warmup=chains.warmup, num_samples=chains.samples, **options)
    sampler.run(jax.random.PRNGKey(seed), extra_fields=("num_steps", "diverging"))
    return sampler


def _model(problem: Problem) -> Any:
    """The numpyro model: weights prior mean + prior deviation x standard normal, then the same likelihood as all."""
    numpyro, jnp = rival("numpyro"), rival("jax.numpy")
    dist = rival("numpyro.distributions")
    priors = [(own.mean.detach().numpy(), own.prior_precision.rsqrt().numpy()) for own in marginals(network(problem))]
    x, y, inputs = (part.numpy() for part in (problem.x, problem.y, problem.inputs))

    def forward(weights: list[Any], values: Any) -> Any:
        for i in range(0, len(weights), 2):
            values = values @ weights[i].T + weights[i + 1]
            values = values if i == len(weights) - 2 else jnp.where(values > 0, values, SLOPE * values)
        return values

    def model() -> None:
        draws = [_standard(numpyro, dist, i, mean.shape) for i, (mean, _) in enumerate(priors)]
        weights = [mean + deviation * draw for draw, (mean, deviation) in zip(draws, priors, strict=True)]
        outputs = forward(weights, x)
        if problem.noise_variance is None:
            numpyro.sample("y", dist.Categorical(logits=outputs), obs=y)
        else:
            numpyro.sample("y", dist.Normal(outputs, problem.noise_variance**0.5), obs=y)
        numpyro.deterministic("outputs", forward(weights, inputs))

    return model


def _standard(numpyro: Any, dist: Any, number: int, shape: tuple[int, ...]) -> Any:
    return numpyro.sample(f"z{number}", dist.Normal(0, 1).expand(shape).to_event(len(shape)))


def _rounded(values: Tensor) -> list[list[float]]:
    """Four digits after the point, so that the file stays small."""
    return [[round(value, 4) for value in row] for row in values.tolist()]
