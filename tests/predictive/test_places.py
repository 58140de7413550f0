"""Where a network holds its weights: modules with two names, parameters in two modules, hooks that make weights anew."""

from contextlib import nullcontext

import pytest
import torch
from predictive_cases import brute_force, scattered
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp
from torch_gbp import Softmax, predict
from torch_gbp.errors import InvalidInput
from torch_gbp.weights.attached import marginals

pytestmark = pytest.mark.usefixtures("float64")
WAYS = {
    "means": {"how": "means"},
    "samples": {"how": "samples"},
    "samples, one by one": {"how": "samples", "vectorise": False},
    "linear": {"how": "linear"},
    "linear, one by one": {"how": "linear", "vectorise": False},
    "moments": {"how": "moments"},
}


class TwoNames(nn.Module):
    """The last layer of the body is the head as well."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 3))
        self.head = self.body[2]

    def forward(self, x):
        return self.head(self.body[:2](x))


class Tied(nn.Module):
    """One module under two names, and its parameter in another module."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.alias, self.second.weight = self.first, self.first.weight

    def forward(self, x):
        return self.second(torch.tanh(self.alias(torch.tanh(self.first(x)))))


def block_twice():
    block = nn.Linear(3, 3)
    return nn.Sequential(block, nn.ReLU(), block)


def layer_twice():
    layer = gbp.GBPLinear(3, 3)
    return nn.Sequential(layer, gbp.GBPLeakyReLU(0.1), layer)


PLAIN = {"two names": TwoNames, "twice": block_twice, "tied": Tied}
MAKE = {name: lambda make=make: gbp.from_torch(make()) for name, make in PLAIN.items()} | {"gbp layer twice": layer_twice}


def held(model):
    return {name: id(parameter) for name, parameter in model.named_parameters(remove_duplicate=False)}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
@pytest.mark.filterwarnings("ignore::torch_gbp.errors.DependentTerms")
def test_every_parameter_is_in_its_place_afterwards(make, way):
    model, x = scattered(make()), torch.randn(4, 3)
    before, values = held(model), {name: value.clone() for name, value in model.state_dict().items()}
    predict(model, Softmax(), x, samples=3, **way)
    assert held(model) == before
    assert_close(model.state_dict(), values, rtol=0, atol=0)
    assert not any(isinstance(value, torch.Tensor) for module in model.modules() for value in module.__dict__.values()
                   if not isinstance(module, gbp.weights.parameter.GaussianParameter))  # fmt: skip


@pytest.mark.parametrize("way", ["samples", "linear"])
@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_what_has_two_places_is_drawn_once(make, way):
    model, x = scattered(make(), 0.02), torch.randn(4, 3)
    truth = brute_force(model, x, 4000)
    for vectorise in (None, False):
        found = predict(model, Softmax(), x, way, 4000, vectorise=vectorise)
        assert_close(found.belief.variance, truth.var(0), rtol=0.2, atol=0)


class Writes(TwoNames):
    """A forward that puts parameters of its own in place, and may fail."""

    def __init__(self, fails):
        super().__init__()
        self.fails = fails

    def forward(self, x):
        self.body[0].weight = nn.Parameter(self.body[0].weight.detach().clone())
        if self.fails:
            raise KeyError("its own")
        return super().forward(x)


@pytest.mark.parametrize("way", ["means", "samples", "linear"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_pass_that_writes_parameters_leaves_none(way, fails):
    model = gbp.from_torch(Writes(fails))
    before = held(model)
    with pytest.raises(KeyError) if fails else nullcontext():
        predict(model, Softmax(), torch.randn(4, 3), way, 2, vectorise=False)
    assert held(model) == before


def test_training_with_validation_goes_on_after_the_first_pass():
    x, y = torch.randn(32, 3), torch.arange(32) % 3
    loader = DataLoader(TensorDataset(x, y), 8)
    model = gbp.from_torch(TwoNames())
    gbp.Trainer(model, Softmax(), epochs=3, progress=False).fit(loader, loader)
    assert isinstance(model.head.weight, nn.Parameter) and model.head.weight is model.body[2].weight


REMADE = {
    "prune": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    "weight norm": weight_norm,
    "spectral norm": spectral_norm,
    "parametrized": parametrizations.spectral_norm,
}


@pytest.mark.parametrize("remake", REMADE.values(), ids=REMADE)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
def test_a_weight_that_is_made_anew_has_no_marginal(remake):
    """What is put in its place would not be seen, so that nothing would seem uncertain."""
    model, x = gbp.from_torch(nn.Sequential(nn.Linear(3, 3))), torch.randn(4, 3)
    remake(model[0])
    before, plain = held(model), model.eval()(x)
    for way in ("samples", "linear"):
        with pytest.raises(InvalidInput, match=r"'0.weight' has a marginal, and is no parameter.*prune.*parametrizations"):
            predict(model, Softmax(), x, way)
    assert_close(predict(model, Softmax(), x, "means").belief.mean, plain)
    assert held(model) == before


class Masked(nn.Module):
    """Every other input counts."""

    def forward(self, weight):
        return weight * torch.tensor([1.0, 0.0, 1.0])


def test_what_is_made_of_the_weight_before_the_conversion_or_for_good_is_predicted():
    plain, x = nn.Sequential(nn.Linear(3, 3)), torch.randn(4, 3)
    parametrize.register_parametrization(plain[0], "weight", Masked())
    before = scattered(gbp.from_torch(plain, which=lambda module, name: name.endswith("original")))
    ((_, own),) = marginals(before).items()
    variance = own.variance * torch.tensor([1.0, 0.0, 1.0])
    assert_close(predict(before, Softmax(), x, "linear").belief.variance, x.square() @ variance.expand(3, 3).T)
    after = gbp.from_torch(nn.Sequential(nn.Linear(3, 3)))
    prune.l1_unstructured(after[0], "weight", 0.5)
    prune.remove(after[0], "weight")
    assert bool(predict(after, Softmax(), x, "samples").epistemic.all())
