"""Robustness: a grid of networks, data and settings that nobody tuned, by torch_gbp and AdamW as they come and a linear model.

Errors and warnings are rows too.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from statistics import mean
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal

import torch_gbp as gbp
from benchmarks.checks.grid import Case, Data, cases, changed, load, network
from benchmarks.methods.base import Method, train
from benchmarks.methods.gbp import MessagePassed
from benchmarks.methods.gradient import Descent
from benchmarks.results import Request, Result, Row
from torch_gbp.errors import FarFromStandard, NotLearning

LIKELIHOODS: dict[str, Callable[[], gbp.Likelihood]] = {
    "softmax": gbp.Softmax, "argmax": gbp.Argmax, "one-hot": gbp.OneHotRegression, "-": gbp.Regression,
}  # fmt: skip
QUICK = 12  # every so many configurations
SHIFT = 100.0  # of real targets whose scale is changed
COLLAPSED = 0.5  # of the linear model's score
BEHIND = 0.01
RAW = "raw units"  # nothing learns there: counted by itself


def run(request: Request) -> Result:
    """All configurations, or those of the part that --net names, for each seed and method."""
    parts = request.asked(dict.fromkeys(case.part for case in cases()))
    chosen = [case for case in cases() if case.part in parts][:: QUICK if request.quick else 1]
    told = {"configurations": len(cases()), "adamw": "torch.optim.AdamW, all defaults", "linear": "scikit-learn, all defaults"}
    return Result(told, _rows(chosen, request))


def _rows(chosen: list[Case], request: Request) -> Iterator[Row]:
    for seed in request.seeds[: 1 if request.quick else 2]:
        for case in chosen:
            case = case._replace(epochs=1) if request.quick else case
            data = _data(case, request, seed)
            for method in request.methods or METHODS:
                row = {"method": method, "net": case.name, "part": case.part, "limit": len(data.x), "seed": seed}
                yield row | {"epochs": case.epochs} | _told(METHODS[method], case, data, seed)


def _data(case: Case, request: Request, seed: int) -> Data:
    data = load(case.data, request.data_dir, seed)
    if case.limit is not None:
        data = data._replace(x=data.x[: case.limit], y=data.y[: case.limit])
    if data.y.is_floating_point() and case.scale != 1:
        data = data._replace(y=case.scale * (data.y + SHIFT), scored_y=case.scale * (data.scored_y + SHIFT))
    return changed(data, case.inputs.removesuffix(" raw")) if case.inputs else data


def _told(train: Callable[..., Any], case: Case, data: Data, seed: int) -> Row:
    """Scores, or the error; and which warnings came."""
    torch.manual_seed(seed)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = train(case, data)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"}
    kinds = sorted({w.category.__name__ for w in caught if issubclass(w.category, (NotLearning, FarFromStandard))})
    return found | {"warned": kinds, "train_seconds": time.perf_counter() - started}


def _gbp(case: Case, data: Data) -> Row:
    """`from_torch(fresh=True, moments=True)`, the likelihood without arguments, `MessagePassing` told the passes alone."""
    model = _standardised(case, data, gbp.from_torch(network(case, data.x.shape[1], data.outputs), fresh=True, moments=True))
    likelihood = LIKELIHOODS[case.likelihood]()
    if isinstance(likelihood, gbp.Regression):
        likelihood.fit_targets(data.y)
    propagate = gbp.MessagePassing(model.parameters(), len(data.x), epochs=case.epochs)
    _train(MessagePassed(model, likelihood, propagate), case, data)
    propagate.use_averaged_means()
    with torch.no_grad():
        return _scores(likelihood.predictive(model(data.scored_x)), data)


def _adamw(case: Case, data: Data) -> Row:
    """The plain network; inputs and targets standardised where torch_gbp's are."""
    model = _standardised(case, data, network(case, data.x.shape[1], data.outputs))
    if not data.y.is_floating_point():
        _train(Descent(model, torch.optim.AdamW(model.parameters())), case, data)
        with torch.no_grad():
            return _scores(Categorical(logits=model(data.scored_x)), data)
    units = gbp.Standardise().fit(data.y)
    _train(Descent(model, torch.optim.AdamW(model.parameters()), lambda z, y: F.mse_loss(z, _tensor(units(y)))), case, data)
    with torch.no_grad():
        residual = (model(data.x) - _tensor(units(data.y))).std() * units.scale
        return _scores(Normal(_tensor(units.inverse(model(data.scored_x))), residual), data)


def _standardised(case: Case, data: Data, model: nn.Module) -> nn.Module:
    """With `Standardise` first where the units of the inputs were changed and are not meant to stay raw."""
    raw = not case.inputs or case.inputs.endswith("raw")
    return model if raw else nn.Sequential(gbp.Standardise().fit(data.x), model)


def _linear(case: Case, data: Data) -> Row:
    """Logistic or ridge regression on standardised inputs."""
    statistics = gbp.Standardise().fit(data.x)
    x, scored = (_tensor(statistics(part)).numpy() for part in (data.x, data.scored_x))
    if data.y.is_floating_point():
        mean = torch.as_tensor(Ridge().fit(x, data.y[:, 0].numpy()).predict(scored)).view(-1, 1)
        return _scores(Normal(mean, data.y.std()), data)
    fitted = LogisticRegression(max_iter=1000).fit(x, data.y.numpy())
    logs = torch.full((len(scored), data.outputs), -math.inf)
    logs[:, fitted.classes_] = torch.as_tensor(fitted.predict_log_proba(scored)).float()
    return _scores(Categorical(logits=logs.clamp_min(-30)), data)


METHODS: dict[str, Callable[[Case, Data], Row]] = {"gbp": _gbp, "adamw": _adamw, "linear": _linear}


def _train(method: Method, case: Case, data: Data) -> None:
    """Shuffled batches; broken off in the middle of a pass where the passes are not whole."""
    left = round(case.epochs * len(data.x))
    while left > 0:
        train(method, data.x, data.y, torch.randperm(len(data.x))[:left].split(case.batch))
        left -= len(data.x)


def _scores(predictive: Distribution, data: Data) -> Row:
    """Accuracy and NLL of labels; R^2, RMSE and log-likelihood of real targets."""
    log = float(predictive.log_prob(data.scored_y).double().mean())
    if isinstance(predictive, Categorical):
        hits = predictive.logits.argmax(1) == data.scored_y
        return {"accuracy": float(hits.double().mean()), "nll": -log}
    square = (predictive.mean - data.scored_y).double().square().mean()
    share = float(1 - square / data.scored_y.double().var(correction=0))
    return {"r2": share, "rmse": float(square.sqrt()), "log_likelihood": log}


def _tensor(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value


class Verdict(NamedTuple):
    """One configuration, averaged over the seeds: scores, and what befell torch_gbp in any of them: `NotLearning`, no warning at
    all, an error."""

    part: str
    scores: dict[str, float]
    warned: bool
    silent: bool
    failed: bool

    def collapsed(self, method: str) -> bool:
        """Whether the method is below half of the linear model."""
        return not self.scores[method] >= COLLAPSED * self.scores["linear"]

    @property
    def behind(self) -> bool:
        """Whether torch_gbp is below AdamW by more than a point."""
        return not self.scores["gbp"] >= self.scores["adamw"] - BEHIND


def verdicts(rows: list[Row]) -> list[Verdict]:
    """A verdict for every configuration that all methods have run.

    >>> rows = [{"method": m, "net": "a", "part": "a", "accuracy": v, "warned": []} for m, v in
    ...         (("gbp", 0.4), ("adamw", 0.9), ("linear", 0.9))]
    >>> [(verdict.collapsed("gbp"), verdict.behind, verdict.warned) for verdict in verdicts(rows)]
    [(True, True, False)]
    """
    found = []
    for net in dict.fromkeys(row["net"] for row in rows):
        own = {
            method: [row for row in rows if (row["net"], row["method"]) == (net, method)] for method in ("gbp", "adamw", "linear")
        }
        if all(own.values()):
            ours = own["gbp"]
            warned = any("NotLearning" in row["warned"] for row in ours)
            silent = not any(row["warned"] for row in ours)
            failed = any("error" in row or not math.isfinite(score(row)) for row in ours)
            found.append(
                Verdict(
                    ours[0]["part"],
                    {name: mean(score(row) for row in part) for name, part in own.items()},
                    warned,
                    silent,
                    failed,
                )
            )
    return found


def score(row: Row) -> float:
    """Accuracy, or R^2 of real targets; NaN where there was an error."""
    return float(row.get("accuracy", row.get("r2", math.nan)))
