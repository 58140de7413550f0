"""Standardise: the statistics, who takes them, that units do not matter behind it, and the warning where it is missing."""

import math
import warnings

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from helpers import changed, marginals, mlp, sweep, three_classes
from lightning_helpers import IGNORED, trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from lightning_modules import GBPClassifier, GBPRegressor
from torch_gbp import Gaussian, GBPConv2d, GBPLinear, MessagePassing, Regression, Softmax, Standardise, Trainer
from torch_gbp.errors import FarFromStandard, InvalidInput

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]


@pytest.mark.parametrize("shape", [(50,), (50, 4), (50, 4, 6), (50, 4, 6, 5)], ids=["scalar", "features", "series", "images"])
def test_every_feature_or_channel_has_statistics_of_its_own(shape, float64):
    offset = torch.arange(4.0).view(-1, *(1 for _ in shape[2:])) if len(shape) > 1 else torch.tensor(7.0)
    x = (1 + offset) * torch.randn(shape) + 100 * offset
    z = Standardise().fit(x)(x)
    axes = [axis for axis in range(len(shape)) if axis != 1]
    statistics = torch.ones(shape[1:2])
    assert_close(z.mean(axes), 0 * statistics, rtol=0, atol=1e-9)
    assert_close(z.std(axes, unbiased=False), statistics, rtol=1e-9, atol=0)


def test_a_constant_feature_is_only_centred(float64):
    """0.1 has no exact binary form: what is left of its spread by rounding is no scale."""
    x = torch.cat([torch.full((1000, 1), 0.1), torch.full((1000, 1), 1e6), torch.zeros(1000, 1), torch.randn(1000, 1)], 1)
    z = Standardise().fit(x)(x)
    assert_close(z[:, :3], torch.zeros(1000, 3), rtol=0, atol=1e-9)
    assert_close(z[:, 3].std(unbiased=False).item(), 1.0)
    assert_close(Standardise().fit(x)(x + 2)[:, :3], torch.full((1000, 3), 2.0), rtol=0, atol=1e-9)


def test_a_spread_a_thousandth_of_the_mean_survives_float32():
    x = 100 + 0.1 * torch.randn(1000, 3)
    z = Standardise().fit(x)(x)
    assert_close(z.std(0, unbiased=False), torch.ones(3), rtol=1e-3, atol=0)
    assert_close(z.mean(0), torch.zeros(3), rtol=0, atol=1e-3)


def test_inverse_leads_back(float64):
    x = 5 + 3 * torch.randn(30, 4)
    layer = Standardise().fit(x)
    assert_close(layer.inverse(layer(x)), x)


def test_a_belief_goes_through_as_its_samples_do(float64):
    layer = Standardise().fit(5 + 3 * torch.randn(30, 4))
    belief = Gaussian(torch.randn(2, 4), torch.rand(2, 4) + 0.1)
    samples = belief.mean + belief.variance.sqrt() * torch.randn(200_000, 2, 4)
    out = layer(belief)
    z = layer(samples.view(-1, 4)).view_as(samples)
    assert_close(z.mean(0), out.mean, rtol=0, atol=0.01)
    assert_close(z.var(0), out.variance, rtol=0.02, atol=0)
    back = layer.inverse(out)
    assert_close((back.mean, back.variance), (belief.mean, belief.variance))


def test_statistics_load_into_a_layer_that_was_never_fitted(tmp_path):
    network = nn.Sequential(Standardise(), mlp()).train()
    network[0].fit(3 + 2 * torch.randn(30, 3))
    torch.save(network.state_dict(), tmp_path / "network.pt")
    other = nn.Sequential(Standardise(), mlp())
    other.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))
    assert other[0].fitted
    x = torch.randn(5, 3)
    assert_close(other(x).mean, network(x).mean, rtol=0, atol=0)


def test_an_unfitted_layer_can_be_saved_and_loaded():
    layer = Standardise()
    layer.load_state_dict(Standardise().state_dict())
    assert not layer.fitted


@pytest.mark.parametrize("bad", [{"scale": torch.zeros(3)}, {"scale": -torch.ones(3)}, {"mean": torch.full((3,), math.nan)}])
def test_saved_statistics_that_cannot_be_are_refused(bad):
    layer = Standardise().fit(torch.randn(9, 3))
    before = marginals(layer)
    with pytest.raises(InvalidInput, match=next(iter(bad))):
        layer.load_state_dict(layer.state_dict() | bad)
    assert not changed(before, layer)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (torch.tensor([[1.0, math.nan], [2.0, 3.0]]), "1 of 2 features"),
        (torch.tensor([[math.inf], [1.0]]), "finite"),
        (torch.zeros(3, 2, dtype=torch.uint8), "uint8"),
        (torch.zeros(0, 2), "empty batch"),
        ([[1.0]], "list"),
    ],
    ids=["nan", "inf", "integers", "empty", "list"],
)
def test_values_without_statistics_are_refused_and_change_nothing(values, what):
    layer = Standardise().fit(torch.randn(9, 2))
    before = marginals(layer)
    with pytest.raises(InvalidInput, match=what):
        layer.fit(values)
    assert not changed(before, layer)


def test_an_unfitted_layer_says_how_to_fit_it():
    with pytest.raises(InvalidInput, match=r"not fitted.*layer\.fit\(x_train\)"):
        Standardise()(torch.randn(4, 3))


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 2), (4, 3, 3)])
def test_inputs_of_another_shape_than_those_of_the_fit_are_refused(shape):
    """A mean of three features must not be broadcast to anything else."""
    layer = Standardise().fit(torch.randn(9, 3))
    for lead in (layer, layer.inverse):
        with pytest.raises(InvalidInput, match="other values than those of the fit"):
            lead(torch.randn(shape))


UNITS = {
    "mean 100": (torch.ones(3), torch.full((3,), 100.0)),
    "thousandths": (torch.full((3,), 1e-3), torch.zeros(3)),
    "thousands": (torch.full((3,), 1e3), torch.zeros(3)),
    "mixed": (torch.tensor([1e-3, 1.0, 1e3]), torch.tensor([100.0, -5.0, 0.0])),
}
each_unit = pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)


@each_unit
def test_a_network_behind_it_trains_alike_in_all_units(units, float64):
    """As on inputs that were standardised beforehand, by the textbook's formula."""
    x, y = three_classes(60)
    standard = (x - x.mean(0)) / x.std(0, unbiased=False)
    plain = mlp()
    network = nn.Sequential(Standardise(), mlp())
    network[1].load_state_dict(plain.state_dict())
    scale, shift = units
    _train(plain, standard, y)
    _train(network, x * scale + shift, y)
    assert_close(network(x * scale + shift).mean, plain(standard).mean, rtol=1e-4, atol=1e-4)


def _train(model, x, y):
    loader = DataLoader(TensorDataset(x, y), 10)
    Trainer(model, Softmax(), epochs=3, progress=False).fit(loader)


def _loader(kind, x, y):
    """The same 40 examples in batches of 10, shuffled by torch's own random numbers or by a generator of the loader."""
    generator = torch.Generator().manual_seed(3) if kind == "generator" else None
    return DataLoader(TensorDataset(x, y), 10, shuffle=True, generator=generator)


@pytest.mark.parametrize("kind", ["global", "generator"])
def test_the_trainer_fits_it_and_the_batches_stay_those_of_a_run_without(kind, float64):
    """A layer that is fitted beforehand to the same numbers ends with the same weights: fitting drew no random number."""
    x, y = three_classes(40)
    x = 100 + 7 * x
    one, two = (nn.Sequential(Standardise(), mlp()) for _ in range(2))
    two.load_state_dict(one.state_dict())
    two[0].fit(x)
    for network in (one, two):
        torch.manual_seed(5)
        Trainer(network, Softmax(), epochs=2, progress=False).fit(_loader(kind, x, y))
    assert_close(one[0].mean, x.mean(0))
    assert_close(one(x).mean, two(x).mean, rtol=1e-9, atol=1e-9)


def test_statistics_that_are_there_stay():
    x, y = three_classes(40)
    network = nn.Sequential(Standardise().fit(x + 1), mlp())
    before = network[0].mean.clone()
    Trainer(network, Softmax(), epochs=1, progress=False).fit(_loader("global", x, y))
    assert torch.equal(network[0].mean, before)


def test_lightning_fits_it_from_the_training_loader():
    x, y = three_classes(40)
    classifier = GBPClassifier(nn.Sequential(Standardise(), mlp()))
    trainer(2).fit(classifier, _loader("global", 100 + 7 * x, y))
    assert_close(classifier.model[0].mean, (100 + 7 * x).mean(0))


def test_lightning_fits_inputs_and_targets_of_a_regression():
    x = torch.randn(40, 3)
    y = 50 + 9 * x[:, :1]
    regressor = GBPRegressor(nn.Sequential(Standardise(), mlp(outputs=1)))
    trainer(4).fit(regressor, _loader("global", 100 + 7 * x, y))
    assert_close(regressor.model[0].mean, (100 + 7 * x).mean(0))
    assert_close(regressor.likelihood.targets.mean, y.mean(0))
    assert_close(regressor.likelihood.targets.scale, y.std(0, unbiased=False))


def test_only_one_layer_can_read_the_inputs():
    x, y = three_classes(40)
    network = nn.Sequential(Standardise(), Standardise(), mlp())
    with pytest.raises(InvalidInput, match=r"only the first layer.*Got: 2"):
        Trainer(network, Softmax(), epochs=1, progress=False).fit(_loader("global", x, y))


def _fit_half(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    x = torch.load(f"{folder}/x.pt")
    layer = Standardise().fit(x[:30] if rank == 0 else x[30:])
    torch.save(layer.state_dict(), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this torch was built without gloo")
def test_processes_take_the_statistics_of_all_their_examples(tmp_path):
    """Thirty rows in one and ten in the other."""
    x = torch.cat([torch.randn(30, 3), 5 + 2 * torch.randn(10, 3)])
    torch.save(x, tmp_path / "x.pt")
    mp.spawn(_fit_half, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        assert_close(torch.load(tmp_path / f"rank{rank}.pt"), dict(Standardise().fit(x).state_dict()))


# The warning FarFromStandard.


def _first_sweeps(x, layer=None, steps=3):
    """Training sweeps whose warnings are counted."""
    model = layer or GBPLinear(x.shape[1], 2)
    propagate = MessagePassing(model.parameters(), len(x))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            propagate.zero_grad()
            Softmax()(model(x), torch.arange(len(x)) % 2)
    return [str(entry.message) for entry in caught if entry.category is FarFromStandard]


@each_unit
def test_inputs_in_units_of_their_own_are_warned_of_once(units):
    scale, shift = units
    found = _first_sweeps(torch.randn(64, 3) * scale + shift)
    assert len(found) == 1
    assert "gbp.Standardise()" in found[0]


def _sparse_images(n):
    """Images in [0, 1] as bytes are: most pixels bright somewhere, some in one image alone and there by one step of 256."""
    x = torch.rand(n, 20).mul(256).floor() / 256
    x[:, 15:] = 0
    x[0, 15:] = 1 / 255
    return x


STANDARD = {
    "standardised": torch.randn(64, 5),
    "images in [0, 1]": torch.rand(64, 5),
    "rare pixels": _sparse_images(64),
    "rare pixels in a large batch": _sparse_images(4096),
    "digits, 0 to 16": torch.as_tensor(load_digits().data[:200]).float(),
    "images in [-1, 1]": 2 * torch.rand(64, 5) - 1,
    "one-hot": torch.eye(64),
    "a constant feature": torch.cat([torch.ones(64, 1), torch.randn(64, 2)], 1),
    "one example": torch.full((1, 3), 100.0),  # too few to tell
}


@pytest.mark.parametrize("x", STANDARD.values(), ids=STANDARD)
def test_inputs_that_are_fit_for_the_priors_are_not_warned_of(x):
    assert _first_sweeps(x) == []


def test_bytes_read_as_numbers_are_warned_of_in_images_too():
    images = torch.rand(16, 1, 6, 6) * 255
    assert len(_first_sweeps(images, nn.Sequential(GBPConv2d(1, 2, 6), nn.Flatten()))) == 1


def test_nothing_is_said_where_nothing_is_trained():
    x = 100 + torch.randn(64, 3)
    model = GBPLinear(3, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.no_grad():
            model(x)
        model.eval()
        model(x)


def test_inputs_behind_the_layer_are_not_warned_of():
    x = 100 + 1e-3 * torch.randn(64, 3, dtype=torch.float64)
    assert _first_sweeps(x, nn.Sequential(Standardise(dtype=torch.float64).fit(x), GBPLinear(3, 2).double())) == []


def test_targets_in_units_of_their_own_are_warned_of_until_they_are_fitted():
    model, x = GBPLinear(3, 1), torch.randn(64, 3)
    y = 1000 + 50 * x[:, :1]
    propagate = MessagePassing(model.parameters(), 64)
    with pytest.warns(FarFromStandard, match=r"the targets.*fit_targets"):
        sweep(propagate, model, Regression(), x, y)
    sweep(propagate, model, Regression().fit_targets(y), x, y)
