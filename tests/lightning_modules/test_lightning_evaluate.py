"""What validate, test and predict give back, for classifiers and for regression in the targets' own units."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from lightning_helpers import IGNORED, Blobs, trainer
from torch import nn

import torch_gbp as gbp
from lightning_modules import UCI, AdamWClassifier, GBPClassifier, GBPRegressor
from lightning_modules.data.loading import TensorPairs, evaluation_loader
from lightning_modules.networks import MLP, Conv890k, ConvOnePass, DigitsConv, LeNet5, conv890k, conv_one_pass, lenet5, mlp
from torch_gbp.errors import InvalidInput
from torch_gbp.metrics import classification_scores, ood_auroc, regression_scores

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]


@pytest.mark.parametrize("gbp_network", [True, False], ids=["gbp", "adamw"])
def test_classifier_scores_test_and_ood_sets(gbp_network):
    network = MLP(2, (8,), 3, gbp=gbp_network)
    module = GBPClassifier(network) if gbp_network else AdamWClassifier(network, lr=0.05)
    data, run = Blobs(validation=0.5), trainer(20, limit_val_batches=1.0)
    run.fit(module, data)
    assert run.callback_metrics["val/accuracy"] > 0.9 and {"val/nll", "val/ece"} <= set(run.callback_metrics)
    (scores, _) = run.test(module, data, verbose=False)
    (x, y), outside = data.parts.test.tensors, data.parts.ood["middle"].tensors[0]
    with torch.no_grad():
        inside, far = module.log_probabilities(x), module.log_probabilities(outside)
    expected = {f"test/{name}": value for name, value in classification_scores(inside, y).items()}
    expected |= {"test/ood_auroc/middle": ood_auroc(inside, far), "test/ood_auroc/all": ood_auroc(inside, far)}
    card = gbp.evaluate(inside, y, outputs="log_probabilities", ood={"middle": far}, resamples=0)
    expected |= {f"test/{name}": one.value for name, one in card.items()}
    assert scores == pytest.approx(expected, abs=1e-6) and "test/ood/middle/FPR95" in scores
    assert scores["test/ood_auroc/middle"] > 0.7
    torch.testing.assert_close(torch.cat(run.predict(module, data)), inside.exp())


def test_loaders_without_data_module_are_numbered():
    module, data = GBPClassifier(MLP(2, (8,), 3)), Blobs()
    data.setup()
    inside, outside = data.test_dataloader()
    scores = trainer(1).test(module, [inside, outside, outside], verbose=False)[0]
    assert {name.split("/")[2] for name in scores if "ood/" in name} == {"1", "2"}
    assert {name for name in scores if "ood_" in name} == {f"test/ood_auroc/{name}" for name in (1, 2, "all")}


@pytest.fixture
def line(tmp_path):
    """y = 1000 + 50 x with noise of standard deviation 5, in UCI layout."""
    folder = tmp_path / "UCI" / "line"
    folder.mkdir(parents=True)
    x = torch.linspace(-2, 2, 120)
    y = 1000 + 50 * x + 5 * torch.randn(120)
    (folder / "data.txt").write_text("".join(f"{a} {b}\n" for a, b in zip(x.tolist(), y.tolist(), strict=True)))
    rows = torch.randperm(120).tolist()
    parts = {"features": [0], "target": [1], "train_0": rows[:100], "test_0": rows[100:]}
    for name, values in parts.items():
        (folder / f"index_{name}.txt").write_text("\n".join(map(str, values)))
    return UCI("line", str(tmp_path), validation=0.2)


def test_regression_speaks_in_original_units(line, tmp_path):
    module = GBPRegressor(gbp.GBPLinear(1, 1, prior=gbp.Prior(scale=1.0)), gbp.Regression(0.0075))  # (5 / 58)^2
    run = trainer(30, limit_val_batches=1.0)
    run.fit(module, line)
    (scores,) = run.test(module, line, verbose=False)
    best = torch.distributions.Normal(0.0, 5.0).entropy()
    assert 3 < scores["test/rmse"] < 7.5
    assert scores["test/log_likelihood"] == pytest.approx(-float(best), abs=0.4)
    moments = run.predict(module, line)[0]
    assert scores["test/reg/NLL"] == pytest.approx(-scores["test/log_likelihood"], rel=1e-6)
    assert scores["test/reg/RMSE"] == pytest.approx(scores["test/rmse"], rel=1e-6) and "test/cal/Cov_90" in scores
    target = line.parts.test.tensors[1] * line.target_std + line.target_mean
    gap = (moments["mean"] - target).square().mean().sqrt()
    assert float(gap) == pytest.approx(scores["test/rmse"], rel=1e-4)
    assert 15 < float(moments["variance"].mean()) < 60
    run.save_checkpoint(tmp_path / "line.ckpt")  # the units travel with the weights
    loaded = GBPRegressor.load_from_checkpoint(
        tmp_path / "line.ckpt", model=gbp.GBPLinear(1, 1), likelihood=gbp.Regression(0.0075), weights_only=True
    )
    torch.testing.assert_close(loaded.predictive_moments(torch.zeros(1, 1))[0], torch.tensor([[1000.0]]), atol=15, rtol=0)


class Other(Blobs):
    """The same points with targets of another shape."""

    def __init__(self, reshape):
        super().__init__(validation=0.5)
        self.reshape = reshape

    def make_parts(self):
        parts = super().make_parts()
        x, y = parts.test.tensors
        return parts._replace(test=TensorPairs(x, self.reshape(y)))


@pytest.mark.parametrize("make", [lambda: GBPClassifier(MLP(2, (8,), 3)), lambda: AdamWClassifier(MLP(2, (8,), 3, gbp=False))])
def test_a_column_of_labels_is_refused_and_not_scored_as_class_0(make):
    with pytest.raises(InvalidInput, match=r"labels \(30, 1\), outputs \(30, 3\)"):
        trainer(1).test(make(), Other(lambda y: y[:, None]), verbose=False)


def test_values_without_their_axis_are_refused_and_not_broadcast():
    module = GBPRegressor(gbp.GBPLinear(2, 1), gbp.Regression(0.1))
    with pytest.raises(InvalidInput, match=r"targets \(30,\), outputs \(30, 1\)"):
        trainer(1).test(module, [evaluation_loader(Other(lambda y: y.float()).make_parts().test)], verbose=False)
    with pytest.raises(InvalidInput, match=r"targets must have the outputs' shape \(in regression_scores\)"):
        regression_scores(torch.zeros(5, 1), torch.ones(5, 1), torch.zeros(5))


def test_adamw_refuses_gbp_layers():
    with pytest.raises(InvalidInput, match=r"trained by message passing, not by AdamW.*gbp=False"):
        AdamWClassifier(MLP(2, (4,), 3))


def test_adamw_rate_falls_to_zero():
    run = trainer(2)
    run.fit(AdamWClassifier(mlp(2, (4,), 3), lr=0.1), Blobs())
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("make", "shape", "weights"),
    [
        (MLP, (784,), 784 * 256 + 256 * 256 + 2560 + 522),
        (LeNet5, (1, 28, 28), 61706),
        (partial(LeNet5, (3, 32, 32)), (3, 32, 32), 62006),
        (Conv890k, (3, 32, 32), 890410),
        (ConvOnePass, (1, 28, 28), 65558),
        (DigitsConv, (1, 8, 8), 6090),
    ],
)
def test_networks_and_their_twins(make, shape, weights):
    x = torch.randn(2, *shape)
    plain, twin = make(gbp=False), make(gbp=True, prior=gbp.Prior(scale=0.5))
    assert sum(p.numel() for p in plain.parameters()) == weights
    assert sum(p.numel() for name, p in twin.named_parameters() if name.endswith("mean")) == weights
    assert plain(x).shape == twin(x).mean.shape == (2, 10)
    first, default = (next(m for m in n.modules() if isinstance(m, gbp.GBPLinear | gbp.GBPConv2d)) for n in (twin, make()))
    torch.testing.assert_close(first.weight.prior_precision * 5, default.weight.prior_precision)


@pytest.mark.parametrize("make", [lenet5, conv890k, conv_one_pass])
def test_pooling_comes_before_the_activation(make):
    kinds = [type(layer).__name__ for layer in make()]
    assert "MaxPool2d" in kinds and ("LeakyReLU", "MaxPool2d") not in set(pairwise(kinds))
    assert all(after == "LeakyReLU" for layer, after in pairwise(kinds) if layer == "MaxPool2d")


def test_conv890k_is_the_network_of_the_paper():
    sizes = [module.weight.shape[:2] for module in conv890k() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [tuple(size) for size in sizes] == [(32, 3), (32, 32), (64, 32), (64, 64), (512, 1600), (10, 512)]
    assert {module.negative_slope for module in conv890k() if isinstance(module, nn.LeakyReLU)} == {0.1}


def test_other_classes_and_images():
    assert conv890k((1, 28, 28), classes=7)(torch.randn(2, 1, 28, 28)).shape == (2, 7)
    assert lenet5((4, 40, 44), classes=3)(torch.randn(2, 4, 40, 44)).shape == (2, 3)


def test_images_too_small_for_the_convolutions():
    with pytest.raises(InvalidInput, match=r"do not go through.*\(3, 8, 8\)"):
        conv890k((3, 8, 8))
