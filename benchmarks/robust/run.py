"""A configuration trained by torch_gbp and AdamW as they come, and a linear model; errors and warnings are rows too."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal

import torch_gbp as gbp
from benchmarks.report import Request, Result, Row
from benchmarks.robust.data import Data, changed, load
from benchmarks.robust.grid import Case, cases, network
from torch_gbp.errors import FarFromStandard, NotLearning

LIKELIHOODS: dict[str, Callable[[], gbp.Likelihood]] = {
    "softmax": gbp.Softmax, "argmax": gbp.Argmax, "one-hot": gbp.OneHotRegression, "-": gbp.Regression,
}  # fmt: skip
QUICK = 12  # every so many configurations
SHIFT = 100.0  # of real targets whose scale is changed


def run(request: Request) -> Result:
    """All configurations, or those of the part that --net names, for each seed and method."""
    parts = {case.part for case in cases()}
    if request.net not in (None, *parts):
        raise SystemExit(f"no part {request.net!r} of the grid: use {', '.join(sorted(parts))}")
    wanted = [case for case in cases() if request.net in (None, case.part)]
    chosen = wanted[:: QUICK if request.quick else 1]
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
    model: nn.Module = gbp.from_torch(network(case, data.x.shape[1], data.outputs), fresh=True, moments=True)
    if case.inputs and not case.inputs.endswith("raw"):
        model = nn.Sequential(gbp.Standardise().fit(data.x), model)
    likelihood = LIKELIHOODS[case.likelihood]()
    if isinstance(likelihood, gbp.Regression):
        likelihood.fit_targets(data.y)
    propagate = gbp.MessagePassing(model.parameters(), len(data.x), epochs=case.epochs)
    for x, y in _batches(case, data):
        propagate.zero_grad()
        likelihood(model(x), y).backward()
        propagate.step()
    propagate.use_averaged_means()
    with torch.no_grad():
        return _scores(likelihood.predictive(model(data.scored_x)), data)


def _adamw(case: Case, data: Data) -> Row:
    """The plain network; inputs and targets standardised where torch_gbp's are."""
    model = network(case, data.x.shape[1], data.outputs)
    if case.inputs and not case.inputs.endswith("raw"):
        model = nn.Sequential(gbp.Standardise().fit(data.x), model)
    real = data.y.is_floating_point()
    units = gbp.Standardise().fit(data.y) if real else None
    optimizer = torch.optim.AdamW(model.parameters())
    for x, y in _batches(case, data):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y) if units is None else F.mse_loss(model(x), _tensor(units(y)))
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        output = model(data.scored_x)
        if units is None:
            return _scores(Categorical(logits=output), data)
        residual = (model(data.x) - _tensor(units(data.y))).std() * units.scale
        return _scores(Normal(_tensor(units.inverse(output)), residual), data)


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


def _batches(case: Case, data: Data) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches; broken off in the middle of a pass where the passes are not whole."""
    left = round(case.epochs * len(data.x))
    while left > 0:
        for rows in torch.randperm(len(data.x))[:left].split(case.batch):
            yield data.x[rows], data.y[rows]
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
