"""Settings: whatever is no number, or out of range, is refused where it is given, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import mlp

import torch_gbp as gbp
from torch_gbp import Softmax
from torch_gbp.denoise import Denoiser, Huber, PairwiseSmoother, Reconstruction, Stack, Tukey, Upsampling, five_layers
from torch_gbp.denoise.pairwise import Smoothness
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import PART, POSITIVE, require, require_count, require_factory, require_pair
from torch_gbp.local import FeedbackLoss, LocalLoss, PredictionLoss, RidgeFeedback, conv_head, split_equally

NAN, INF = float("nan"), float("inf")
NO_NUMBERS = (NAN, INF, "a", None, [], True, 1j, torch.tensor([1.0, 2.0]), torch.tensor(True))


def layer(**changes: Any) -> Reconstruction:
    return Reconstruction(**{"channels": 1, "coefficients": 2, "deviation": 0.1, "weight_deviation": 0.3} | changes)


def fitted(basis: Any, **settings: Any) -> Any:
    return basis.fit(torch.randn(6, 1, 4, 4), **settings)


REAL: dict[str, tuple[Callable[[Any], Any], tuple[Any, ...]]] = {  # what takes a real number, and what it may not be besides
    "Damping.messages": (lambda v: gbp.Damping(v), (-0.1, 1)),
    "Damping.weights": (lambda v: gbp.Damping(weights=NAN if v is None else v), (-0.1, 1)),
    "Damping.dropout": (lambda v: gbp.Damping(dropout=v), (-0.1, 1)),
    "Inference.tolerance": (lambda v: gbp.Inference(tolerance=v), (-1,)),
    "Inference.damping": (lambda v: gbp.Inference(damping=v), (-0.1, 1)),
    "Tukey": (Tukey, (0, -1, 1e30)),
    "Huber": (Huber, (0, -1, 1e-30)),
    "Smoothness.deviation": (Smoothness, (0, -1)),
    "PairwiseSmoother.deviation": (PairwiseSmoother, (0, -1)),
    "Denoiser.deviation": (lambda v: Denoiser(layer(), v), (0, -0.2)),
    "Denoiser.advance": (lambda v: Denoiser(layer()).advance(v), (-0.1, 1.1)),
    "Reconstruction.deviation": (lambda v: layer(deviation=v), (0, -0.1)),
    "Reconstruction.weight_deviation": (lambda v: layer(weight_deviation=v), (0, -0.1)),
    "Reconstruction.bias_deviation": (lambda v: layer(bias_deviation=v), (0, -0.1)),
    "Reconstruction.activation_deviation": (lambda v: layer(activation_deviation=v), (0, -0.1)),
    "Reconstruction.start_deviation": (lambda v: layer(start_deviation=v), (-0.1,)),
    "Reconstruction.slope": (lambda v: layer(slope=v), (-0.1, 1.1)),
    "Reconstruction.weight_rate": (lambda v: layer(weight_rate=v), (0, 1.1)),
    "Upsampling.deviation": (lambda v: Upsampling(2, deviation=v), (0, -1)),
    "InputBasis.power": (lambda v: fitted(gbp.InputBasis, power=v), (1e6, -1e6)),
    "InputBasis.explained": (lambda v: fitted(gbp.InputBasis, explained=v), (0, 1.5)),
    "PatchBasis.power": (lambda v: fitted(gbp.PatchBasis, kernel_size=2, power=v), (1e6,)),
    "CosineBasis.length": (lambda v: gbp.CosineBasis(1, 3, length=v), (-1, 1e300)),
    "CosineBasis.smoothness": (lambda v: gbp.CosineBasis(1, 3, smoothness=v), (-1,)),
    "GBPNoise.sigma": (lambda v: gbp.GBPNoise(v), (-1, 1e30)),
    "GBPNoise.prior_sigma": (lambda v: gbp.GBPNoise(prior_sigma=NAN if v is None else v), (0, -1, 1e30)),
    "Prior.variance": (gbp.Prior, (0, -1, 1e300)),
    "Prior.scale": (lambda v: gbp.Prior(scale=v), (0, -1, 1e300)),
    "Prior.bias": (lambda v: gbp.Prior(bias=v), (0, -1)),
    "GBPLeakyReLU": (gbp.GBPLeakyReLU, (-0.1, 1.1)),
    "Regression.noise_variance": (lambda v: gbp.Regression(NAN if v is None else v), (0, -1)),
    "Regression.power": (lambda v: gbp.Regression(1.0, v) if v is not None else gbp.Regression(1.0, NAN), (0, -1)),
    "SquaredSoftmax.sigma": (gbp.SquaredSoftmax, (0, -1)),
    "OneHotRegression.noise_variance": (gbp.OneHotRegression, (0, -1)),
    "Argmax.noise_variance": (gbp.Argmax, (0, -1)),
    "RidgeFeedback.decay": (lambda v: RidgeFeedback(3, 2, decay=v), (-0.1, 1)),
    "RidgeFeedback.ridge": (lambda v: RidgeFeedback(3, 2, ridge=v), (0, -1)),
    "FeedbackLoss.alpha_variance": (lambda v: FeedbackLoss(RidgeFeedback(3, 2), v), (0, -1)),
    "LocalLoss.weights": (lambda v: LocalLoss({"own": PredictionLoss(torch.nn.Identity())}, {"own": v}), ()),
}
WHOLE: dict[str, tuple[Callable[[Any], Any], tuple[Any, ...]]] = {  # what takes an integer
    "Trainer.epochs": (lambda v: gbp.Trainer(mlp(), Softmax(), v), (0, -1, 1.5)),
    "Trainer.patience": (lambda v: gbp.Trainer(mlp(), Softmax(), patience=NAN if v is None else v), (0, 1.5)),
    "Inference.iterations": (lambda v: gbp.Inference(v), (0, 1.5, (1, 2.5), (1, 0), ())),
    "Inference.check": (lambda v: gbp.Inference(check=v), (0, 2.5)),
    "thesis_iterations": (gbp.thesis_iterations, (0, -1, 2.5)),
    "thesis_rate": (gbp.thesis_rate, (0, 2.5)),
    "GBPLinear.in_features": (lambda v: gbp.GBPLinear(v, 3), (0, -1, 1.5, 2**31)),
    "GBPLinear.out_features": (lambda v: gbp.GBPLinear(3, v), (0, -1, 1.5)),
    "GBPConv2d.in_channels": (lambda v: gbp.GBPConv2d(v, 2, 3), (0, -1)),
    "GBPConv2d.out_channels": (lambda v: gbp.GBPConv2d(2, v, 3), (0, 1.5)),
    "GBPConv2d.groups": (lambda v: gbp.GBPConv2d(2, 2, 3, groups=v), (0, -1, 1.5)),
    "GBPConv2d.kernel_size": (lambda v: gbp.GBPConv2d(2, 2, v), (0, -1, (3,), (3, 3, 3), (3, 1.5))),
    "GBPConv2d.stride": (lambda v: gbp.GBPConv2d(2, 2, 3, v), (0, (1, 0))),
    "GBPConv2d.padding": (lambda v: gbp.GBPConv2d(2, 2, 3, 1, v), (-1, (1,))),
    "GBPConvTranspose2d.in_channels": (lambda v: gbp.GBPConvTranspose2d(v, 2, 3), (0,)),
    "GBPConvTranspose2d.output_padding": (lambda v: gbp.GBPConvTranspose2d(1, 1, 3, output_padding=v), (-1, 1)),
    "GBPMaxPool2d": (gbp.GBPMaxPool2d, (0, -1, (2,))),
    "GBPMaxPool2d.padding": (lambda v: gbp.GBPMaxPool2d(2, padding=v), (-1, 2)),
    "GBPAvgPool2d.divisor": (lambda v: gbp.GBPAvgPool2d(2, divisor_override=NAN if v is None else v), (0, -1)),
    "GBPAdaptiveAvgPool2d": (lambda v: gbp.GBPAdaptiveAvgPool2d(NAN if v is None else v), (0, -1, (1, 0), (1, 1, 1))),
    "GBPUpsample.size": (lambda v: gbp.GBPUpsample(NAN if v is None else v), (0, -1, 1.5)),
    "PatchBasis": (lambda v: gbp.PatchBasis(v, 4, 2), (0,)),
    "InputBasis": (lambda v: gbp.InputBasis(v, 2), (0, -1)),
    "CosineBasis": (lambda v: gbp.CosineBasis(v, 3), (0, 1.5)),
    "Reconstruction.channels": (lambda v: layer(channels=v), (0,)),
    "Reconstruction.kernel_size": (lambda v: layer(kernel_size=v), (0, 2.5)),
    "Upsampling.factor": (lambda v: Upsampling(2, v, deviation=0.1), (0,)),
    "Smoothness.repeats": (lambda v: Smoothness(1.0, repeats=v), (0,)),
    "Denoiser.iterations": (lambda v: Denoiser(layer()).infer(torch.full((1, 6, 6), 0.5), iterations=v), (0,)),
    "five_layers": (five_layers, (0,)),
    "conv_head.classes": (lambda v: conv_head((4,), v), (0,)),
    "split_equally": (lambda v: split_equally([torch.nn.ReLU()], v), (0,)),
}
CASES = [
    (name, make, value) for table in (REAL, WHOLE) for name, (make, others) in table.items() for value in (*NO_NUMBERS, *others)
]


@pytest.mark.parametrize(
    ("make", "value"), [case[1:] for case in CASES], ids=[f"{name}-{value!r}"[:60] for name, _, value in CASES]
)
def test_what_is_no_number_or_out_of_range_is_named(make, value):
    with pytest.raises(InvalidInput, match=r"Got: .*Way out: "):
        make(value)


KINDS = {
    "no robust energy": lambda: layer(robust="tukey"),
    "no layer": lambda: Denoiser(torch.nn.Identity()),
    "no layers": lambda: Stack([]),
    "a stack of other layers": lambda: Stack([torch.nn.Identity()]),
    "no network": lambda: gbp.Trainer("model", Softmax()),
    "a likelihood's class": lambda: gbp.Trainer(mlp(), Softmax),
    "a schedule's name": lambda: gbp.Inference(schedule="parallel"),
    "the old name of schedules": lambda: gbp.Inference(order=gbp.LayerSweeps()),
    "no approximation": lambda: gbp.Inference(approximation="first order"),
    "damping that is no number": lambda: gbp.Inference(damping="0.5"),
    "a rate that is no function": lambda: gbp.Inference(rate=0.5),
    "an activation inside": lambda: gbp.GBPLinear(2, 2, activation=gbp.GBPReLU()),
    "noise inside": lambda: gbp.GBPMaxPool2d(2, noise=0.1),
    "a joint layer": lambda: gbp.GBPConv2d(2, 2, 3, joint=True),
    "a rule's name": lambda: gbp.GBPLeakyReLU(rule="score"),
    "an integer dtype": lambda: gbp.GBPLinear(2, 2, dtype=torch.int64),
    "a dtype's name": lambda: gbp.GBPConv2d(2, 2, 3, dtype="float32"),
    "an unknown device": lambda: gbp.GBPConvTranspose2d(2, 2, 3, device="abacus"),
    "a mask of numbers": lambda: gbp.Latent(torch.zeros(2, 3), known=torch.ones(2, 3)),
    "a mean that is no tensor": lambda: gbp.Latent([0.0]),
    "deviations of another shape": lambda: gbp.Latent(torch.zeros(2, 3), torch.ones(2)),
    "one deviation that is 0": lambda: gbp.Latent(torch.zeros(2, 3), torch.tensor([1.0, 0.0, 1.0])),
    "a negative deviation": lambda: gbp.Latent(torch.zeros(2, 3), -1.0),
    "a NaN deviation": lambda: gbp.Latent(torch.zeros(2, 3), NAN),
    "a shape that is none": lambda: conv_head(4, 3),
    "terms that are no modules": lambda: LocalLoss({"own": 1.0}),
    "weights of other names": lambda: LocalLoss({"own": PredictionLoss(torch.nn.Identity())}, {"other": 1.0}),
    "no modules": lambda: split_equally("network", 2),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_is_of_another_kind_is_named(make):
    with pytest.raises(InvalidInput, match=r"Way out: "):
        make()


def test_a_rate_is_checked_when_it_is_asked_for_and_nothing_changes():
    model = mlp()
    propagate = gbp.MessagePassing(model.parameters(), 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InvalidInput, match=r"rate must be in \(0, 1\] \(in Inference\)\. Got: 2"):
        gbp.Inference(rate=lambda epoch: 2)(model, Softmax(), propagate, torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    assert propagate.param_groups[0]["lr"] == 0.4
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_numbers_of_every_kind_are_numbers():
    import numpy as np

    for value in (1, 1.0, np.float32(1), np.int64(1), torch.tensor(1.0), torch.tensor([1])):
        assert require("scale", value, POSITIVE, "Layer", fix="") == 1.0
    for value in (3, np.int64(3), torch.tensor(3)):
        assert require_count("size", value, "Layer", fix="") == 3
    assert require_pair("kernel_size", [3, np.int64(5)], "Layer") == (3, 5)
    assert require("share", 10**400 * 0, PART, "Layer", fix="") == 0.0
    require_factory("cpu", torch.float64, "Layer")
    with pytest.raises(InvalidInput, match="must be positive and finite"):
        require("scale", 10**400, POSITIVE, "Layer", fix="use less")
