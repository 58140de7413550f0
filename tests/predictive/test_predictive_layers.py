"""GBP layers of known weights are torch's layers; networks that cannot be are sampled by the beliefs that they carry."""

import pytest
import torch
from helpers import mlp, three_classes
from predictive_cases import brute_force, scattered
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp
from lightning_modules import GBPClassifier, GBPRegressor
from torch_gbp import Gaussian, Regression, Softmax, Trainer, predict
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.factors import max_pool
from torch_gbp.layers.base import weights_known
from torch_gbp.predictive.known import Network
from torch_gbp.weights.attached import attach
from torch_gbp.weights.priors import Prior

pytestmark = pytest.mark.usefixtures("float64")
LAYERS = {  # of every kind, with settings that are not the usual ones
    "linear": (lambda: gbp.GBPLinear(4, 3, bias=False), (4,)),
    "linear_inside": (lambda: nn.Sequential(gbp.GBPLinear(4, 3), gbp.GBPLeakyReLU(0.2)), (5, 4)),
    "conv": (lambda: gbp.GBPConv2d(4, 6, (3, 2), 2, (1, 0), (1, 2), 2), (4, 7, 8)),
    "conv_transpose": (lambda: gbp.GBPConvTranspose2d(4, 6, 3, 2, 1, 1, 2), (4, 5, 6)),
    "leaky_relu": (lambda: nn.Sequential(gbp.GBPLinear(4, 4), gbp.GBPLeakyReLU(0.3)), (4,)),
    "relu": (lambda: nn.Sequential(gbp.GBPLinear(4, 4), gbp.GBPReLU()), (4,)),
    "gelu": (lambda: nn.Sequential(gbp.GBPLinear(4, 4), gbp.GBPActivation(nn.GELU())), (4,)),
    "sigmoid": (lambda: nn.Sequential(gbp.GBPLinear(4, 4), gbp.GBPSigmoid()), (4,)),
    "max_pool": (lambda: nn.Sequential(gbp.GBPConv2d(1, 2, 1), gbp.GBPMaxPool2d(3, 2, 1, ceil_mode=True)), (1, 7, 8)),
    "avg_pool": (lambda: nn.Sequential(gbp.GBPConv2d(1, 2, 1), gbp.GBPAvgPool2d(3, 2, 1, count_include_pad=False)), (1, 7, 8)),
    "adaptive": (lambda: nn.Sequential(gbp.GBPConv2d(1, 2, 1), gbp.GBPAdaptiveAvgPool2d((2, None))), (1, 7, 8)),
    "upsample": (lambda: nn.Sequential(gbp.GBPConv2d(1, 2, 1), gbp.GBPUpsample(scale_factor=(2, 3))), (1, 3, 4)),
    "bases": (lambda: nn.Sequential(gbp.InputBasis.fit(torch.randn(9, 4)), gbp.GBPLinear(4, 3)), (4,)),
    "cosines": (lambda: nn.Sequential(gbp.GBPConv2d(1, 2, 1), nn.Flatten(), gbp.CosineBasis(2, (3, 4)), gbp.GBPLinear(24, 3)),
                (1, 3, 4)),
}  # fmt: skip


@pytest.mark.parametrize(("make", "size"), LAYERS.values(), ids=LAYERS)
def test_layers_of_known_weights_give_what_beliefs_without_variance_give(make, size):
    model, x = make().eval(), torch.randn(2, *size)
    network = Network(model, "test")
    assert network.traceable and not network.plain
    with torch.no_grad():
        mean, variance = network.carrying(network.means(), x)
        with weights_known():
            found = network.centre(x)
        assert isinstance(model(x), Gaussian)
    assert not variance.any()
    assert_close(found, mean, rtol=1e-12, atol=1e-12)


class Own(nn.Module):
    """A forward that looks at the moments."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = gbp.GBPLinear(3, 4), gbp.GBPLinear(4, 3)

    def forward(self, x):
        h = self.inner(x)
        return self.head(Gaussian(h.mean.tanh(), h.variance * (1 - h.mean.tanh() ** 2) ** 2))


class Halved(gbp.GBPLeakyReLU):
    """A layer of the user's own."""

    def forward(self, input):
        return super().forward(input) * 0.5


CARRIED = {
    "noise": lambda: nn.Sequential(gbp.GBPLinear(3, 4), gbp.GBPNoise(0.3), gbp.GBPLinear(4, 3)),
    "own forward": Own,
    "own layer": lambda: nn.Sequential(gbp.GBPLinear(3, 4), Halved(0.1), gbp.GBPLinear(4, 3)),
    "weighted maximum": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 1, 3)), gbp.GBPMaxPool2d((1, 2), 1, rule=max_pool.EP), nn.Flatten(), gbp.GBPLinear(2, 3)
    ),
}


@pytest.mark.parametrize("make", CARRIED.values(), ids=CARRIED)
def test_networks_that_need_beliefs_are_sampled_by_them(make):
    model, x = scattered(make(), 0.2), torch.randn(3, 3)
    truth = brute_force(model, x, 1000)
    if make is CARRIED["noise"]:
        truth = truth + torch.stack([0.3 * torch.randn(3, 4) @ model[-1].weight.mean.T for _ in range(len(truth))]).detach()
    found = predict(model, Softmax(), x, "samples", 1000)
    assert_close(found.belief.variance, truth.var(0), rtol=0.25, atol=0)
    again = predict(model, Softmax(), x, "samples", 1000)
    assert torch.equal(again.outputs, found.outputs)
    with pytest.raises(MissingRule, match=r"linearised.*how=\"samples\""):
        predict(model, Softmax(), x, "linear")


def test_one_parameter_at_two_places_is_drawn_once():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    model = nn.Sequential(first, nn.Tanh(), second)
    attach(first, "weight", Prior(0.01, 0.0))
    x = torch.randn(4, 3)
    truth = brute_force(model, x, 4000)
    for how in ("samples", "linear"):
        assert_close(predict(model, Softmax(), x, how, 4000).belief.variance, truth.var(0), rtol=0.2, atol=0)


PLAIN = nn.Linear(3, 3)
BAD = {
    "no marginals": (PLAIN, {}, r"no weight of the network has a marginal.*how=\"means\""),
    "no marginals, samples": (PLAIN, {"how": "samples"}, r"no weight of the network has a marginal.*how=\"means\""),
    "no marginals, linear": (PLAIN, {"how": "linear"}, r"no weight of the network has a marginal.*how=\"means\""),
    "no samples": (mlp(), {"how": "samples", "samples": 0}, "samples must be an integer, at least 1"),
    "half a sample": (mlp(), {"how": "samples", "samples": 1.5}, "samples must be an integer"),
    "unknown way": (mlp(), {"how": "laplace"}, r"unknown way.*'laplace'.*'moments', 'samples', 'linear' or 'means'"),
    "a way that is none": (mlp(), {"how": 3}, r"unknown way.*Got: 3"),
    "numbers": (mlp(), {"x": [[1.0, 2.0, 3.0]]}, "x must be of type Tensor"),
    "a belief": (mlp(), {"x": Gaussian(torch.ones(1, 3), torch.ones(1, 3)), "how": "samples"}, "x must be of type Tensor"),
    "nothing": (mlp(), {"x": torch.ones(0, 3)}, "the batch is empty"),
    "a chunk of none": (mlp(), {"chunk": 0}, "chunk must be an integer"),
    "a number as generator": (mlp(), {"how": "samples", "generator": 3}, "generator must be of type Generator"),
    "no likelihood": (mlp(), {"likelihood": "softmax"}, "likelihood must be of type Likelihood"),
    "NaN": (PLAIN, {"x": torch.full((2, 3), torch.nan), "how": "means"}, "2 of 2 examples"),
}  # fmt: skip


@pytest.mark.parametrize(("model", "options", "text"), BAD.values(), ids=BAD)
def test_what_cannot_be_predicted_is_named(model, options, text):
    arguments = {"likelihood": Softmax(), "x": torch.ones(2, 3)} | options
    if isinstance(arguments["x"], torch.Tensor):
        arguments["x"] = arguments["x"].double()
    with pytest.raises(InvalidInput, match=text):
        predict(model.double(), **arguments)


def test_outputs_that_are_no_tensor_or_mix_examples_are_named():
    class Two(nn.Module):
        def __init__(self, batch):
            super().__init__()
            self.inner, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)
            attach(self.inner, "weight", Prior(0.1, 0.0))
            self.batch = batch

        def forward(self, x):
            h = self.inner(x)
            return h - h.mean(0) if self.batch else (h, h)

    for how in ("samples", "linear", "means"):
        with pytest.raises(InvalidInput, match="floating-point tensor of outputs"):
            predict(Two(False), Softmax(), torch.randn(4, 3), how)
    with pytest.raises(InvalidInput, match="depend on the rest of the batch"):
        predict(Two(True), Softmax(), torch.randn(4, 3), "linear")
    assert predict(Two(True), Softmax(), torch.randn(4, 3), "samples", 3).probs.isfinite().all()


def test_only_classes_have_probabilities():
    with pytest.raises(InvalidInput, match=r"only classes have probabilities.*Regression"):
        _ = predict(mlp(), Regression(0.1), torch.ones(2, 3)).probs


@pytest.mark.parametrize("how", [None, "samples", "linear", "means"])
def test_trainer_and_lightning_predict_plain_networks(how):
    x, y = three_classes(20)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
    attach(model[0], "weight", Prior(0.1, 0.0))
    expected, data = predict(model, Softmax(), x, how), DataLoader(TensorDataset(x, y), 6)
    trainer = Trainer(model, Softmax(), progress=False)
    assert_close(trainer.predict(x, how).probs, expected.probs)
    assert_close(trainer.predict(data, how).probs, expected.probs)  # of the same networks in every batch
    found = trainer.evaluate(data, how)
    assert found.log_evidence == pytest.approx(float(expected.distribution.log_prob(y).mean()))
    assert found.accuracy == pytest.approx(float((expected.probs.argmax(1) == y).double().mean()))
    module = GBPClassifier(model)
    module.how = how
    assert_close(module.log_probabilities(x).exp(), expected.probs)
    real = GBPRegressor(model, Regression(0.1))
    real.how = how
    assert_close(real.predictive_moments(x)[1], predict(model, Regression(0.1), x, how).distribution.variance)
    values = Trainer(model, Regression(0.1), progress=False).evaluate([(x, torch.randn(20, 3))], how)
    assert values.rmse > 0 and values.accuracy is None
