"""Thousands of hostile calls: each works and is sound, or raises a named error with a way out and changes no marginal."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from fuzz import SCALARS, TENSORS, Case, outcome, seeded
from helpers import mlp
from likelihood_cases import ELEMENTWISE
from torch import nn

import torch_gbp as gbp
from torch_gbp import denoise, evaluation, local

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, about what is tried here
X, LABELS, VALUES = seeded((6, 3)), torch.arange(6) % 3, seeded((6, 1), 1)
RANKS = torch.arange(400) / 400
IMAGES, GREY = seeded((2, 2, 6, 6), 2), torch.full((1, 8, 8), 0.5)


def rate(epoch: int) -> float:
    return 0.5


def layer(**options: Any) -> denoise.Reconstruction:
    return denoise.Reconstruction(**{"channels": 1, "coefficients": 2, "deviation": 0.1, "weight_deviation": 0.3} | options)


def blocks() -> list[nn.Module]:
    return [nn.Linear(3, 4), nn.Linear(4, 3)]


def on(x: torch.Tensor) -> Callable[[Any], Any]:
    return lambda made: [made, made(x)]


def predict(made: Any, x: torch.Tensor = X) -> Any:
    return made.predictive(gbp.Gaussian(x, x.square()))


PROBABILITIES = X.softmax(1)
OTHERS = {"other": PROBABILITIES.flip(0)}
SCORED = evaluation.Outcome("scored", LABELS, probabilities=PROBABILITIES)
REAL = evaluation.Outcome("real", X, mean=X + 1, std=X.abs() + 1)


def values(made: Any) -> Any:
    return [one.value for one in made.values()]


def as_is(made: Any) -> Any:
    return made


def inferred(made: Any) -> Any:
    return made.infer(GREY, iterations=2)[0]


def denoised(made: Any) -> Any:
    return inferred(denoise.Denoiser(made))


# Valid arguments of every public callable, and what its result is used for.
VALID: dict[str, tuple[Callable[..., Any], dict[str, Any], Callable[[Any], Any]]] = {
    "AllAtOnce": (gbp.AllAtOnce, {}, as_is),
    "Argmax": (gbp.Argmax, {}, predict),
    "CosineBasis": (gbp.CosineBasis, {"channels": 1, "size": 3}, on(seeded((2, 9)))),
    "Damping": (gbp.Damping, {}, as_is),
    "ExampleByExample": (gbp.ExampleByExample, {}, as_is),
    "FactorGraph.infer": (
        lambda **options: gbp.FactorGraph(mlp(covariance="full"), X, gbp.SquaredSoftmax(), LABELS).infer(**options),
        {"iterations": 2}, lambda trace: None,
    ),
    "GBPActivation": (gbp.GBPActivation, {"activation": nn.GELU()}, on(X)),
    "GBPAdaptiveAvgPool2d": (gbp.GBPAdaptiveAvgPool2d, {"output_size": 2}, on(IMAGES)),
    "GBPAvgPool2d": (gbp.GBPAvgPool2d, {"kernel_size": 2}, on(IMAGES)),
    "GBPConv2d": (gbp.GBPConv2d, {"in_channels": 2, "out_channels": 2, "kernel_size": 3}, on(IMAGES)),
    "GBPConvTranspose2d": (gbp.GBPConvTranspose2d, {"in_channels": 2, "out_channels": 2, "kernel_size": 3}, on(IMAGES)),
    "GBPLeakyReLU": (gbp.GBPLeakyReLU, {}, on(X)),
    "GBPLinear": (gbp.GBPLinear, {"in_features": 3, "out_features": 2}, on(X)),
    "GBPMaxPool2d": (gbp.GBPMaxPool2d, {"kernel_size": 2}, on(IMAGES)),
    "GBPNoise": (gbp.GBPNoise, {}, on(X)),
    "GBPReLU": (gbp.GBPReLU, {}, on(X)),
    "GBPSigmoid": (gbp.GBPSigmoid, {}, on(X)),
    "Standardise": (gbp.Standardise, {}, lambda made: made.fit(X)(X)),
    "GBPUpsample": (gbp.GBPUpsample, {"scale_factor": 2}, on(IMAGES)),
    "HeteroscedasticRegression": (gbp.HeteroscedasticRegression, {}, lambda made: predict(made, X[:, :2])),
    "Inference": (gbp.Inference, {}, lambda made: made.sweeps(1)),
    "InputBasis": (gbp.InputBasis, {"in_features": 3, "out_features": 2}, on(X)),
    "InputBasis.fit": (gbp.InputBasis.fit, {"inputs": X}, on(X)),
    "IntegratedSoftmax": (gbp.IntegratedSoftmax, {}, predict),
    "LaplacePrior": (gbp.LaplacePrior, {}, lambda made: gbp.GBPLinear(3, 2, prior=made)(X)),
    "Latent": (gbp.Latent, {"mean": X}, lambda made: made.variable().belief()),
    "LayerSweeps": (gbp.LayerSweeps, {}, as_is),
    "LinearResponse": (
        lambda **options: gbp.LinearResponse(**options)(X),
        {"model": mlp(outputs=1), "likelihood": gbp.Regression(0.1), "x": X, "y": VALUES}, as_is,
    ),
    "OneHotRegression": (gbp.OneHotRegression, {}, predict),
    "PairwiseArgmax": (gbp.PairwiseArgmax, {}, predict),
    "PatchBasis": (gbp.PatchBasis, {"in_channels": 2, "out_channels": 3, "kernel_size": 2}, on(IMAGES)),
    "PatchBasis.fit": (gbp.PatchBasis.fit, {"images": IMAGES, "kernel_size": 2}, on(IMAGES)),
    "Prior": (gbp.Prior, {}, lambda made: gbp.GBPLinear(3, 2, prior=made)(X)),
    "RandomLayers": (gbp.RandomLayers, {}, as_is),
    "Regression": (gbp.Regression, {"noise_variance": 0.1}, predict),
    "Softmax": (gbp.Softmax, {}, predict),
    "SquaredSoftmax": (gbp.SquaredSoftmax, {}, predict),
    "Trainer": (gbp.Trainer, {"model": mlp(), "likelihood": gbp.Softmax(), "progress": False}, as_is),
    "abstain": (gbp.abstain, {"found": RANKS, "target": RANKS > 0.9, "risk": 0.05}, lambda made: made.accept(RANKS)),
    "mutual_information": (gbp.mutual_information, {"output": gbp.Gaussian(X, X.square())}, as_is),
    "select": (gbp.select, {"found": X.softmax(1), "k": 2}, as_is),
    "calibrate": (gbp.calibrate, {"model": mlp(), "likelihood": gbp.Softmax(), "examples": [(X, LABELS)]}, as_is),
    "thesis_iterations": (gbp.thesis_iterations, {}, as_is),
    "thesis_rate": (gbp.thesis_rate, {"epoch": 1}, as_is),
    "denoise.Denoiser": (denoise.Denoiser, {"layer": layer()}, inferred),
    "denoise.Denoiser.infer": (
        lambda **options: denoise.Denoiser(layer()).infer(**options)[0], {"image": GREY, "iterations": 2}, as_is,
    ),
    "denoise.Huber": (denoise.Huber, {"threshold": 1.0}, lambda made: made.energy(X.square())),
    "denoise.PairwiseSmoother": (denoise.PairwiseSmoother, {}, inferred),
    "denoise.Quadratic": (denoise.Quadratic, {}, lambda made: made.energy(X.square())),
    "denoise.Smoothness": (denoise.Smoothness, {"deviation": 0.3}, lambda made: denoise.PairwiseSmoother(smoothness=made)),
    "denoise.Reconstruction": (layer, dict.fromkeys(()), denoised),
    "denoise.Stack": (denoise.Stack, {"layers": [layer()]}, denoised),
    "denoise.Tukey": (denoise.Tukey, {"threshold": 1.0}, lambda made: made.energy(X.square())),
    "denoise.Upsampling": (denoise.Upsampling, {"channels": 1, "deviation": 0.1}, lambda made: made.shrink(8, 8)),
    "denoise.five_layers": (denoise.five_layers, {"channels": 1}, as_is),
    "advance": (gbp.advance, {"model": mlp()}, as_is),
    "adapters": (gbp.adapters, {"network": blocks()[0]}, as_is),
    "from_torch": (gbp.from_torch, {"network": nn.Sequential(*blocks())}, as_is),
    "last_layer": (gbp.last_layer, {"network": nn.Sequential(*blocks())}, as_is),
    "renew_statistics": (gbp.renew_statistics, {"model": nn.BatchNorm1d(3), "loader": [X]}, as_is),
    "sample": (gbp.sample, {"model": mlp()}, as_is),
    "summary": (gbp.summary, {"model": mlp()}, str),
    "to_torch": (gbp.to_torch, {"model": mlp()}, as_is),
    "widen_head": (lambda **options: gbp.widen_head(**{"model": mlp()} | options)(X), {"outputs": 5}, as_is),
    "local.BlockLocal": (local.BlockLocal, {"blocks": blocks(), "num_classes": 3, "example": X}, on(X)),
    "local.FeedbackLoss": (
        local.FeedbackLoss, {"feedback": local.RidgeFeedback(3, 3)}, lambda made: made(X, torch.eye(3).repeat(2, 1)),
    ),
    "local.GradientFeedback": (local.GradientFeedback, {"classes": 3, "channels": 2}, on(torch.eye(3))),
    "local.LocalLoss": (local.LocalLoss, {"terms": {"own": local.PredictionLoss(nn.Identity())}}, as_is),
    "local.PredictionLoss": (local.PredictionLoss, {"head": nn.Identity()}, as_is),
    "local.RidgeFeedback": (local.RidgeFeedback, {"classes": 3, "channels": 2}, on(torch.eye(3))),
    "local.SimilarityLoss": (local.SimilarityLoss, {"shape": (3,)}, as_is),
    "local.conv_head": (local.conv_head, {"shape": (3, 8, 8), "classes": 3}, as_is),
    "local.fine_head": (local.fine_head, {"shape": (3, 8, 8), "classes": 3}, as_is),
    "local.heads_only": (local.heads_only, {"shape": (3,), "classes": 3}, as_is),
    "local.linear_head": (local.linear_head, {"shape": (3,), "classes": 3}, as_is),
    "local.similarity_matching": (local.similarity_matching, {"shape": (3,), "classes": 3}, as_is),
    "local.split_at": (local.split_at, {"network": nn.Sequential(*blocks()), "names": ["1"]}, as_is),
    "local.split_equally": (local.split_equally, {"modules": blocks(), "count": 2}, as_is),
    "local.variational": (local.variational, {"shape": (3,), "classes": 3}, as_is),
    "evaluation.Outcome": (
        lambda **options: evaluation.Outcome(**options), {"name": "a", "targets": LABELS, "probabilities": PROBABILITIES}, as_is,
    ),
    "evaluation.Predictions": (lambda **options: evaluation.Predictions(**options), {"mean": X, "std": X.abs()}, as_is),
    "evaluation.adapter": (evaluation.adapter, {"model": blocks()[0], "outputs": "logits"}, lambda made: made(X).energy),
    "evaluation.conformal_intervals": (
        evaluation.conformal_intervals, {"calibration": REAL, "predictions": REAL, "level": 0.5}, as_is,
    ),
    "evaluation.conformal_sets": (
        evaluation.conformal_sets, {"calibration": SCORED, "predictions": SCORED, "level": 0.5}, as_is,
    ),
    "evaluation.evaluate": (
        evaluation.evaluate, {"model": PROBABILITIES, "data": LABELS, "ood": OTHERS, "resamples": 2}, values,
    ),
    "evaluation.evaluate of a network": (
        evaluation.evaluate,
        {"model": mlp(), "data": (X, LABELS), "likelihood": gbp.Softmax(), "ood": {"far": 9 * X}, "resamples": 2}, values,
    ),
    "evaluation.score": (evaluation.score, {"outcome": SCORED, "resamples": 2}, values),
}  # fmt: skip
ELSEWHERE = {  # results nobody makes, interfaces, what needs processes, what the tests of optimizer, data and moment maps try
    "Abstention", "AveragedSites", "BatchSites", "Evaluation",
    "FactorGraph", "Filtering", "FixedBatches", "Gaussian", "Likelihood", "Message",
    "MessagePassing", "StepReport", "Trace", "moments", "configure_optimizers", "marginals", "means_sweep", "linearised_sweep",
    "predict", "Predictive", "Calibration", "ElementwiseLikelihood", "OODScore",
    "denoise.Denoised", "local.BlockStep", "local.Feedback",
    "local.KeptBytes", "local.Stage", "local.StageReport", "local.share",
    "evaluation.Adapter", "evaluation.Score", "evaluation.Scorecard", "evaluation.higher_is_better", "evaluation.interval_scores",
    "evaluation.set_scores",
}  # fmt: skip


def test_every_public_name_is_tried():
    public = [*gbp.__all__, *(f"denoise.{name}" for name in denoise.__all__), *(f"local.{name}" for name in local.__all__)]
    public += [f"evaluation.{name}" for name in evaluation.__all__]
    assert set(public) - set(VALID) <= ELSEWHERE


def parameters(make: Callable[..., Any], valid: dict[str, Any]) -> list[str]:
    """Names of all parameters, those of a function behind keyword arguments from its valid ones and from what is public."""
    behind = {
        "FactorGraph.infer": gbp.FactorGraph.infer,
        "LinearResponse": gbp.LinearResponse,
        "denoise.Denoiser.infer": denoise.Denoiser.infer,
    }
    source = next((behind[name] for name, (other, *_) in VALID.items() if other is make and name in behind), make)
    source = denoise.Reconstruction if make is layer else source
    signature = inspect.signature(source)
    return [
        name
        for name, each in signature.parameters.items()
        if name != "self" and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    ]


def settings() -> Iterator[Case]:
    """Every parameter of every callable, with every hostile value in its place; tensors where a tensor is valid."""
    for name, (make, valid, use) in VALID.items():
        for parameter in parameters(make, valid):
            hostile = dict(SCALARS)
            if isinstance(valid.get(parameter), torch.Tensor):
                hostile |= {key: spoil(valid[parameter]) for key, spoil in TENSORS.items() if spoilable(spoil, valid[parameter])}
            for key, value in hostile.items():
                call = lambda make=make, use=use, options=valid | {parameter: value}: use(make(**options))  # noqa: E731
                yield Case(f"{name}({parameter}={key})", call)


def spoilable(spoil: Callable[[Any], Any], tensor: torch.Tensor) -> bool:
    try:
        spoil(tensor)
    except (RuntimeError, IndexError):
        return False
    return True


LAYERS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "linear": (lambda: gbp.GBPLinear(3, 2), X),
    "conv": (lambda: gbp.GBPConv2d(2, 2, 3), IMAGES),
    "conv transpose": (lambda: gbp.GBPConvTranspose2d(2, 2, 3), IMAGES),
    "max pool": (lambda: gbp.GBPMaxPool2d(2), IMAGES),
    "avg pool": (lambda: gbp.GBPAvgPool2d(2), IMAGES),
    "adaptive": (lambda: gbp.GBPAdaptiveAvgPool2d(2), IMAGES),
    "upsample": (lambda: gbp.GBPUpsample(scale_factor=2), IMAGES),
    "leaky": (gbp.GBPLeakyReLU, X),
    "sigmoid": (gbp.GBPSigmoid, X),
    "gelu": (lambda: gbp.GBPActivation(nn.GELU()), X),
    "basis": (lambda: gbp.InputBasis.fit(X), X),
    "patches": (lambda: gbp.PatchBasis.fit(IMAGES, 2), IMAGES),
    "cosines": (lambda: gbp.CosineBasis(1, 3), seeded((2, 9))),
    "network": (mlp, X),
}
# IntegratedSoftmax checks what Softmax checks, and its integrals would take minutes here.
TASKS: dict[str, tuple[Callable[[], gbp.Likelihood], int, torch.Tensor]] = {
    "softmax": (gbp.Softmax, 3, LABELS),
    "argmax": (gbp.Argmax, 3, LABELS),
    "pairwise": (gbp.PairwiseArgmax, 3, LABELS),
    "one-hot": (gbp.OneHotRegression, 3, LABELS),
    "squared": (gbp.SquaredSoftmax, 3, LABELS),
    "regression": (lambda: gbp.Regression(0.1), 1, VALUES),
    "learned from nothing": (gbp.Regression, 1, VALUES),
    "learned": (lambda: gbp.Regression(0.1, learn_noise=True), 1, VALUES),
    "heteroscedastic": (gbp.HeteroscedasticRegression, 2, VALUES),
}

PUBLIC = {name: case for name, case in ELEMENTWISE.items() if type(case.likelihood).__name__ in gbp.__all__}
VALID |= {type(case.likelihood).__name__: (type(case.likelihood), {}, predict) for case in PUBLIC.values()}
TASKS |= {name: (type(case.likelihood), 1, case.targets(VALUES)) for name, case in PUBLIC.items()}


def step(model: nn.Module, likelihood: gbp.Likelihood, x: Any, y: Any) -> Any:
    propagate = gbp.MessagePassing(model.parameters(), 6, store=gbp.AveragedSites(anneal=False))  # leaves the start as it is
    likelihood(model(x), y).backward()
    propagate.step()
    return model


def fit(model: nn.Module, likelihood: gbp.Likelihood, x: Any, y: Any) -> Any:
    gbp.Trainer(model, likelihood, 1, progress=False).fit([(x, y)])
    return model


USES: dict[str, Callable[[nn.Module, gbp.Likelihood, Any, Any], Any]] = {
    "step": step,
    "fit": fit,
    "evaluate": lambda model, likelihood, x, y: gbp.Trainer(model, likelihood, progress=False).evaluate([(x, y)]).log_evidence,
    "calibrate": lambda model, likelihood, x, y: gbp.calibrate(model, likelihood, [(x, y)]),
    "predict": lambda model, likelihood, x, y: gbp.Trainer(model, likelihood, progress=False).predict([(x, y)]),
    "respond": lambda model, likelihood, x, y: gbp.LinearResponse(model, likelihood, x, y)(X),
    "score": lambda model, likelihood, x, y: gbp.OODScore(model, likelihood, [(x, y)])(x),
    "local": lambda model, likelihood, x, y: local.BlockLocal(
        [nn.Linear(3, 4), nn.Sequential(gbp.GBPLinear(4, 3))], 3, X, end_loss=gbp.Softmax()
    ).check(x, y),
}  # fmt: skip


def data() -> Iterator[Case]:
    """Hostile inputs of every layer, hostile inputs and targets of everything that takes both."""
    for name, (make, x) in LAYERS.items():
        for key, spoil in TENSORS.items():
            if spoilable(spoil, x):
                model, bad = make(), spoil(x)
                yield Case(f"{name}(x={key})", lambda model=model, bad=bad: model(bad), model)
    for name, (make, outputs, y) in TASKS.items():
        for use, call in USES.items():
            for key, spoil in TENSORS.items():
                for side, tensor in (("x", X), ("y", y)):
                    if not spoilable(spoil, tensor):
                        continue
                    bad = spoil(tensor)
                    pair = (bad, y) if side == "x" else (X, bad)
                    model, likelihood = mlp(outputs=outputs), make()
                    run = lambda call=call, model=model, likelihood=likelihood, pair=pair: call(model, likelihood, *pair)  # noqa: E731
                    yield Case(f"{use}({name}, {side}={key})", run, model)


@pytest.mark.parametrize("cases", [settings, data])
def test_hostile_calls_are_sound_or_refused_by_name(cases):
    found = [(case.name, outcome(case)) for case in cases()]
    faults = {name: how for name, how in found if how not in ("sound", "refused")}
    counts = Counter(how for _, how in found)
    assert len(found) > 1000 and counts["refused"] > 500 and counts["sound"] > 50  # what is tried is neither all good nor all bad
    assert not faults, "\n".join(f"{name}: {how[:200]}" for name, how in faults.items())
