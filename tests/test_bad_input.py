"""Bad input: a named error that says where and what, before any marginal changes."""

import copy

import pytest
import torch
from helpers import changed, lenet, marginals, mlp, sweep, three_classes
from torch import nn

import torch_gbp as gbp
from torch_gbp import (
    Argmax,
    AveragedSites,
    Filtering,
    FixedBatches,
    Gaussian,
    MessagePassing,
    OneHotRegression,
    Regression,
    Softmax,
)
from torch_gbp.errors import ForeignUpdate, GBPError, InvalidInput, MissingRule
from torch_gbp.weights.parameter import GaussianParameter

with torch.random.fork_rng():
    torch.manual_seed(0)
    X, Y = three_classes()
    IMAGES = torch.randn(60, 1, 8, 8)


def spoiled(x, value):
    x = x.clone()
    x[3, ..., 1] = value
    return x


DATA = {  # model, likelihood, inputs, targets, what the error says
    "nan": (mlp, Softmax(), spoiled(X, torch.nan), Y, r"1 of 180 input values are NaN or Inf \(in GBPLinear"),
    "inf": (mlp, Softmax(), spoiled(X, torch.inf), Y, "1 of 180 input values are NaN or Inf"),
    "nan_pixels": (lenet, Softmax(), spoiled(IMAGES, torch.nan), Y, r"8 of 3840 input values are NaN or Inf \(in GBPConv2d"),
    "integers": (lenet, Softmax(), (255 * IMAGES.abs()).byte(), Y, r"inputs must be floating-point.*Got: torch\.uint8"),
    "channels": (lenet, Softmax(), torch.randn(4, 3, 8, 8), Y[:4], r"expected 1 channels.*Got: 3"),
    "no_channel_axis": (lenet, Softmax(), IMAGES[:, 0], Y, r"expected 4 axes.*Got: shape \(60, 8, 8\)"),
    "features": (mlp, Softmax(), X[:, :2], Y, r"expected 3 features.*Got: 2"),
    "image_size": (lenet, Softmax(), torch.randn(4, 1, 6, 6), Y[:4], r"expected 48 features.*Got: 27"),
    "empty": (mlp, Softmax(), X[:0], Y[:0], r"the batch is empty \(in GBPLinear"),
    "float_labels": (mlp, Softmax(), X, Y.float(), r"labels must be integers \(in Softmax\)"),
    "bool_labels": (mlp, Argmax(), X, Y.bool(), r"labels must be integers \(in Argmax\)"),
    "one_hot_labels": (mlp, Softmax(), X, nn.functional.one_hot(Y), r"Got: labels \(60, 3\), outputs \(60, 3\)"),
    "label_too_large": (mlp, Softmax(), X, Y + 1, r"labels must lie in 0 \.\.\. 2.*Got: 1 \.\.\. 3"),
    "label_negative": (mlp, OneHotRegression(), X, Y - 1, r"labels must lie in 0 \.\.\. 2.*Got: -1 \.\.\. 1"),
    "label_count": (mlp, Softmax(), X, Y[:59], r"labels \(59,\), outputs \(60, 3\)"),
    "nan_targets": (mlp, Regression(1.0), X, spoiled(X, torch.nan), r"1 targets are NaN or Inf \(in Regression\)"),
    "inf_targets": (mlp, Regression(1.0), X, spoiled(X, -torch.inf), "1 targets are NaN or Inf"),
    "target_shape": (mlp, Regression(1.0), X, X[:, 0], r"Got: targets \(60,\), outputs \(60, 3\)"),
    "integer_targets": (mlp, Regression(1.0), X, X.long(), r"targets must be floating point.*Got: torch\.int64"),
    "not_a_gaussian": (lambda: nn.Sequential(mlp(), Label()), Softmax(), X, Y, r"must be a Gaussian or.*Got: torch\.int64"),
}


class Label(nn.Module):
    def forward(self, x):
        return x.mean.argmax(1)


@pytest.mark.parametrize(("make", "likelihood", "x", "y", "text"), DATA.values(), ids=DATA)
def test_bad_data(make, likelihood, x, y, text):
    model = make()
    propagate, before = MessagePassing(model.parameters(), 60), marginals(model)
    with pytest.raises(InvalidInput, match=text) as raised:
        sweep(propagate, model, likelihood, x, y)
    assert "Way out: " in str(raised.value) and isinstance(raised.value, ValueError)
    assert changed(before, model) == []
    assert propagate.param_groups[0]["examples_seen"] == 0


PLAIN = {
    "sigmoid": lambda: nn.Sequential(mlp(), nn.Sigmoid()),
    "linear": lambda: nn.Sequential(mlp(), nn.Linear(3, 3)),
    "relu": lambda: nn.Sequential(mlp(), nn.ReLU()),
    "dropout": lambda: nn.Sequential(mlp(), nn.Dropout()),
    "softmax": lambda: nn.Sequential(mlp(), nn.Softmax(1)),
}


@pytest.mark.parametrize(
    "likelihood", [Softmax(), Argmax(), OneHotRegression(), Regression(1.0)], ids=lambda each: type(each).__name__
)
def test_likelihoods_name_the_empty_batch(likelihood):
    target = X[:0] if isinstance(likelihood, Regression) else Y[:0]
    with pytest.raises(InvalidInput, match=rf"the batch is empty \(in {type(likelihood).__name__}\)"):
        likelihood(Gaussian(X[:0], X[:0]), target)


@pytest.mark.parametrize(("name", "make"), PLAIN.items(), ids=PLAIN)
def test_plain_layers_in_a_network(name, make):
    model = make()
    before = marginals(model)
    with pytest.raises(MissingRule, match=f"torch function '{name}' has no message rule"):
        model(X)
    assert changed(before, model) == []


SETTINGS = {
    "num_data": (lambda p: MessagePassing(p), "num_data, the number of training examples, is needed.*Got: None"),
    "num_data_zero": (lambda p: MessagePassing(p, 0), "num_data.*is needed.*Got: 0"),
    "num_data_float": (lambda p: MessagePassing(p, 60.0), r"num_data.*is needed.*Got: 60\.0"),
    "lr": (lambda p: MessagePassing(p, 60, lr=1.5), r"lr must be in \(0, 1\].*Got: 1\.5"),
    "lr_zero": (lambda p: MessagePassing(p, 60, lr=0.0), r"lr must be in \(0, 1\]"),
    "epochs": (lambda p: MessagePassing(p, 60, epochs=0), r"epochs must be positive.*epochs=0"),
    "warmup": (lambda p: MessagePassing(p, 60, warmup=1.5), r"warmup and final in \[0, 1\].*warmup=1\.5"),
    "final": (lambda p: MessagePassing(p, 60, final=-0.1), r"warmup and final in \[0, 1\].*final=-0\.1"),
    "lr_nan": (lambda p: MessagePassing(p, 60, lr=float("nan")), r"lr must be in \(0, 1\].*Got: nan"),
    "lr_text": (lambda p: MessagePassing(p, 60, lr="fast"), r"lr must be in \(0, 1\].*Got: 'fast'"),
    "lr_of_a_group": (lambda p: MessagePassing([{"params": p, "lr": 2.0}], 60), r"lr must be in \(0, 1\].*Got: 2\.0"),
    "epochs_inf": (lambda p: MessagePassing(p, 60, epochs=float("inf")), r"epochs must be positive and finite.*epochs=inf"),
    "epochs_nan": (lambda p: MessagePassing(p, 60, epochs=float("nan")), r"epochs must be positive and finite.*epochs=nan"),
    "warmup_nan": (lambda p: MessagePassing(p, 60, warmup=float("nan")), r"warmup and final in \[0, 1\].*warmup=nan"),
    "final_nan": (lambda p: MessagePassing(p, 60, final=float("nan")), r"warmup and final in \[0, 1\].*final=nan"),
    "final_none": (lambda p: MessagePassing(p, 60, final=None), r"warmup and final in \[0, 1\].*final=None"),
    "accumulated_zero": (lambda p: MessagePassing(p, 60, accumulated=0), r"integer of at least 1.*accumulated=0"),
    "accumulated_negative": (lambda p: MessagePassing(p, 60, accumulated=-1), r"integer of at least 1.*accumulated=-1"),
    "accumulated_nan": (lambda p: MessagePassing(p, 60, accumulated=float("nan")), r"integer of at least 1.*accumulated=nan"),
    "accumulated_inf": (lambda p: MessagePassing(p, 60, accumulated=float("inf")), r"integer of at least 1.*accumulated=inf"),
    "accumulated_part": (lambda p: MessagePassing(p, 60, accumulated=1.5), r"integer of at least 1.*accumulated=1\.5"),
    "report_every": (lambda p: MessagePassing(p, 60, report_every=-1), r"one of at least 0.*report_every=-1"),
    "report_every_part": (lambda p: MessagePassing(p, 60, report_every=0.5), r"one of at least 0.*report_every=0\.5"),
    "means_only": (lambda p: MessagePassing(list(p)[::2], 60), "must come with both mean and precision"),
    "torch_layer": (lambda p: MessagePassing([*p, *nn.Linear(3, 2).parameters()], 60), r"2 of 10 parameters are not Gaussian"),
    "only_torch": (lambda p: MessagePassing(nn.Linear(3, 2).parameters(), 60), r"2 of 2 parameters.*shapes \[\(2, 3\), \(2,\)\]"),
    "momentum": (lambda p: AveragedSites(1.0), r"momentum must be in \[0, 1\).*Got: 1\.0"),
    "trust_radius": (lambda p: AveragedSites(trust_radius=0.0), r"trust_radius must be positive.*Got: 0\.0"),
    "forget": (lambda p: Filtering(-0.1), r"forget must be in \[0, 1\).*Got: -0\.1"),
    "power": (lambda p: Softmax(power=0), r"power must be positive and finite \(in Softmax\)\. Got: 0"),
    "power_nan": (lambda p: Argmax(power=float("nan")), r"power must be positive and finite \(in Argmax\)\. Got: nan"),
    "noise": (lambda p: Regression(0.0), r"noise_variance must be positive and finite in float32 \(in Regression\)\. Got: 0\.0"),
    "noise_inf": (lambda p: OneHotRegression(float("inf")), r"noise_variance must be positive and finite"),
    "argmax_noise": (
        lambda p: Argmax(noise_variance=-1.0),
        r"noise_variance must be positive and finite in float32 \(in Argmax\)",
    ),
    "regulariser": (
        lambda p: Argmax(regulariser_variance=0.0),
        r"regulariser_variance must be positive and finite in float32 \(in Argmax\)",
    ),
    "prior_variance": (lambda p: gbp.Prior(0.0), r"variance must be positive.*\(in Prior\).*Got: 0\.0"),
    "prior_negative": (lambda p: gbp.Prior(-1.0), r"variance must be positive"),
    "prior_scale": (lambda p: gbp.Prior(scale=float("nan")), r"scale must be positive.*Got: nan"),
    "prior_bias": (lambda p: gbp.Prior(bias=0.0), r"bias must be positive.*Got: 0\.0"),
    "prior_start": (lambda p: gbp.Prior(start_deviation=-1.0), r"start_deviation must be 0, or positive.*Got: -1\.0"),
    "prior_start_variance": (lambda p: gbp.Prior(start_variance=0.0), r"start_variance must be positive.*Got: 0\.0"),
    "prior_two_variances": (lambda p: gbp.Prior(0.5, scale=2.0), r"scale is a factor on a formula.*multiply the variance"),
    "prior_mean": (lambda p: gbp.Prior(mean="random"), r"mean must be finite.*Got: 'random'.*\"start\""),
    "prior_mean_nan": (lambda p: gbp.Prior(mean=torch.tensor([0.0, torch.nan])), r"mean must be finite"),
    "prior_mean_shape": (lambda p: gbp.GBPLinear(2, 2, prior=gbp.Prior(mean=torch.ones(2))), r"another shape.*Got: \(2,\)"),
    "prior_number": (lambda p: gbp.GBPLinear(2, 2, prior=0.1), r"prior must be a Prior.*GBPLinear.*Got: 0\.1"),
    "prior_unresolved": (lambda p: GaussianParameter((2, 2), gbp.Prior()), r"depends on a fan-in.*resolved"),
    "covariance": (lambda p: gbp.GBPLinear(2, 2, covariance="dense"), r"covariance must be.*GBPLinear.*Got: 'dense'"),
    "old_scale": (lambda p: gbp.GBPLinear(2, 2, prior_scale=1.0), r"prior_scale is gone \(in GBPLinear\).*Prior\(scale=1\.0\)"),
    "old_means": (lambda p: gbp.GBPConv2d(1, 1, 3, random_prior_mean=True), r"GBPConv2d.*prior=Prior\(mean=\"start\"\)"),
    "old_bias": (lambda p: gbp.GBPConvTranspose2d(1, 1, 3, bias_variance=2), r"GBPConvTranspose2d.*prior=Prior\(bias=2\)"),
    "old_shared": (lambda p: gbp.from_torch(p, shared_precision=False), r"from_torch.*covariance=\"shared\" for True"),
    "old_formula": (lambda p: gbp.adapters(p, prior_formula=len), r"adapters.*torch_gbp.weights.variances"),
    "old_variance": (lambda p: gbp.last_layer(p, prior_variance=0.5), r"last_layer.*Prior\(variance=0\.5\)"),
    "slope": (lambda p: gbp.GBPLeakyReLU(1.2), r"negative_slope must be in \[0, 1\].*Got: 1\.2"),
    "groups": (lambda p: gbp.GBPConv2d(3, 4, 3, groups=2), r"divisible by groups.*Got: 3, 4, groups 2"),
    "transposed_groups": (lambda p: gbp.GBPConvTranspose2d(3, 4, 3, groups=2), r"divisible by groups.*Got: 3, 4, groups 2"),
    "transposed_padding": (lambda p: gbp.GBPConvTranspose2d(1, 1, 3, padding_mode="circular"), r"no other padding mode"),
    "upsample_mode": (lambda p: gbp.GBPUpsample(scale_factor=2, mode="bilinear"), r"only nearest.*Got: mode='bilinear'"),
    "upsample_size": (lambda p: gbp.GBPUpsample(), r"one of size and scale_factor is needed.*Got: size=None"),
    "fixed_batches": (lambda p: FixedBatches([], 4), r"examples and a positive batch size are needed.*Got: 0 examples"),
    "fixed_size": (lambda p: FixedBatches([1], 0), r"Got: 1 examples, batch_size=0"),
    "patience": (lambda p: gbp.Trainer(mlp(), Softmax(), patience=0), r"patience must be an integer, at least 1.*Got: 0"),
    "no_validation": (lambda p: gbp.Trainer(mlp(), Softmax(), patience=1).fit([(X, Y)]), "needs a validation loader"),
}


@pytest.mark.parametrize(("make", "text"), SETTINGS.values(), ids=SETTINGS)
def test_bad_settings(make, text):
    model = mlp()
    with pytest.raises(InvalidInput, match=text) as raised:
        make(model.parameters())
    assert "Way out: " in str(raised.value)


LATER = {
    "lr": (float("nan"), r"lr must be in \(0, 1\]"),
    "epochs": (float("inf"), "epochs must be positive and finite"),
    "warmup": (-1, r"warmup and final in \[0, 1\]"),
    "num_data": (0, "more examples than the data set"),
}


@pytest.mark.parametrize(("name", "value", "text"), [(name, *rest) for name, rest in LATER.items()], ids=LATER)
def test_settings_that_are_spoiled_later_are_found_at_the_step(name, value, text):
    model = mlp()
    propagate, before = MessagePassing(model.parameters(), 60), marginals(model)
    kept = propagate.param_groups[0][name]
    propagate.param_groups[0][name] = value
    with pytest.raises(InvalidInput, match=text):
        sweep(propagate, model, Softmax(), X, Y)
    assert changed(before, model) == []
    propagate.param_groups[0][name] = kept
    sweep(propagate, model, Softmax(), X, Y)


def test_a_rate_of_zero_is_a_schedulers_business():
    model = mlp()
    propagate = MessagePassing(model.parameters(), 60, epochs=None, store=AveragedSites(anneal=False))
    torch.optim.lr_scheduler.LambdaLR(propagate, lambda step: step / 4)
    before = marginals(model)
    sweep(propagate, model, Softmax(), X, Y)
    assert changed(before, model) == []


def test_a_parameter_group_that_is_refused_does_not_join():
    model, plain = mlp(), nn.Linear(3, 3)
    propagate = MessagePassing(model[0].parameters(), 60)
    for group in ({"params": plain.parameters()}, {"params": [model[2].weight.mean]}, {"params": model[2].parameters(), "lr": 7}):
        with pytest.raises(InvalidInput):
            propagate.add_param_group(group)
        assert len(propagate.param_groups) == 1 and len(propagate.marginals) == 2
    propagate.add_param_group({"params": model[2].parameters()})
    before = marginals(model)
    sweep(propagate, model, Softmax(), X, Y)
    assert len(changed(before, model)) == 8


def test_more_examples_than_the_data_set():
    model = mlp()
    propagate = MessagePassing(model.parameters(), 59)
    before = marginals(model)
    with pytest.raises(InvalidInput, match=r"more examples than the data set.*Got: 60 examples, num_data=59"):
        sweep(propagate, model, Softmax(), X, Y)
    assert changed(before, model) == []


@pytest.mark.parametrize("trained", [False, True], ids=["fresh", "trained"])
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("make", [mlp, lenet])
def test_another_optimizer_is_found_at_the_next_forward_sweep(make, optimizer, trained):
    model, x = make(), X if make is mlp else IMAGES
    if trained:
        propagate = MessagePassing(model.parameters(), 60)
        for _ in range(3):
            sweep(propagate, model, Softmax(), x, Y)
        propagate.zero_grad()
    foreign = optimizer(model.parameters(), lr=1e-3)
    Softmax()(model(x), Y).backward()
    foreign.step()
    with pytest.raises(ForeignUpdate, match="given to another optimizer") as raised:
        model(x)
    assert isinstance(raised.value, GBPError)
    for layer in model:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    model(x)  # the way out works


@pytest.mark.parametrize("move", [lambda m: m, lambda m: m.double(), copy.deepcopy], ids=["as_is", "double", "deepcopy"])
def test_a_fall_that_stays_above_the_prior_is_found_too(move):
    model = mlp()
    sweep(MessagePassing(model.parameters(), 60, epochs=None), model, Softmax(), X, Y)
    model = move(model)
    x = X.to(model[0].weight.mean.dtype)
    sweep(MessagePassing(model.parameters(), 60, epochs=None), model, Softmax(), x, Y)
    with torch.no_grad():
        model[0].weight.precision.mul_(0.999)
    assert (model[0].weight.precision > model[0].weight.prior_precision).all()
    with pytest.raises(ForeignUpdate, match=r"marginal of shape \(6, 3\)\)\. Got: 0 below the prior precision"):
        model(x)


@pytest.mark.parametrize("value", [0.5, torch.nan], ids=["low", "nan"])
def test_one_precision_below_the_prior_is_found(value):
    model = mlp(covariance="diagonal")
    with torch.no_grad():
        model[0].weight.precision[4, 2] = value
    with pytest.raises(ForeignUpdate, match=r"marginal of shape \(6, 3\)\)\. Got: 1 below the prior precision"):
        model(X)


@pytest.mark.parametrize("trained", [False, True], ids=["fresh", "trained"])
def test_loading_a_checkpoint_is_no_foreign_update(trained):
    model, state = mlp(), marginals(mlp())
    if trained:
        sweep(MessagePassing(model.parameters(), 60), model, Softmax(), X, Y)
    model.load_state_dict(state)
    assert isinstance(model(X), Gaussian)


def test_predictive_of_plain_outputs_names_the_way_for_any_network():
    with pytest.raises(InvalidInput, match=r"in Softmax\.predictive.*gbp\.predict\(network, likelihood, x\) is for any network"):
        Softmax().predictive(torch.zeros(2, 3))
