"""to_torch and sample: plain networks at the means, or drawn from the marginals."""

import copy
import inspect

import pytest
import torch
from helpers import sweep, three_classes
from network_cases import HAND, VISION
from sklearn.datasets import load_digits
from test_convert import SAMPLES
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.convert.back import TORCH
from torch_gbp.convert.twins import TWINS
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.layers.base import ActivationLayer, GaussianLayer, WeightedLayer
from torch_gbp.weights.attached import marginals


@pytest.mark.parametrize("name", [*HAND, "VisionTransformer"])
def test_any_network_comes_back_as_it_was(name):
    make, inputs = (HAND | VISION)[name]
    plain = make().eval()
    back = gbp.to_torch(gbp.from_torch(plain))
    assert repr(back) == repr(plain)
    assert_close(back.state_dict(), plain.state_dict(), rtol=0, atol=0)
    x = inputs()
    assert torch.equal(back(x), plain(x))


@pytest.mark.parametrize(("layer", "twin", "shape"), SAMPLES.values(), ids=SAMPLES)
def test_every_gbp_layer_becomes_its_torch_layer(layer, twin, shape):
    made, x = gbp.from_torch(layer, moments=True), torch.randn(shape)
    back = gbp.to_torch(made)
    assert type(made) is twin and type(back) is type(layer)
    assert torch.equal(back(x), layer(x))
    assert_close(back.state_dict(), layer.state_dict(), rtol=0, atol=0)


def test_every_layer_has_a_way_back():
    every = {one for one in vars(gbp).values() if inspect.isclass(one) and issubclass(one, (WeightedLayer, GaussianLayer))}
    assert every - {ActivationLayer} == set(TORCH)
    assert len(TORCH) == len(TWINS) + 2  # noise has no torch layer, and GBPActivation is the twin of many


def test_options_of_gbp_layers_come_back():
    network = nn.Sequential(
        nn.Sequential(gbp.GBPLinear(3, 4), gbp.GBPLeakyReLU(0.2), gbp.GBPNoise(0.1)),
        gbp.GBPLinear(4, 2, bias=False, dtype=torch.float32).requires_grad_(False),
    ).eval()
    back = gbp.to_torch(network)
    assert isinstance(back[0][1], nn.LeakyReLU) and back[0][1].negative_slope == 0.2 and back[1].bias is None
    assert back[0][0].weight.requires_grad and not back[1].weight.requires_grad
    assert not any(module.training for module in back.modules())
    x = torch.randn(5, 3)
    first, second = network[0][0].weight.mean, network[1].weight.mean
    expected = nn.functional.leaky_relu(x @ first.t() + network[0][0].bias.mean, 0.2) @ second.t()
    assert_close(back(x), expected)


def test_a_shared_layer_stays_shared_and_the_model_stays_as_it_is():
    shared = gbp.GBPLinear(3, 3)
    model = nn.Sequential(shared, gbp.GBPReLU(), shared)
    before = copy.deepcopy(model.state_dict())
    back = gbp.to_torch(model)
    assert back[0] is back[2] and model[0] is shared
    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_a_layer_of_an_own_making_is_named():
    class Own(gbp.GBPLinear):
        pass

    with pytest.raises(MissingRule, match="Own has no torch layer"):
        gbp.to_torch(nn.Sequential(Own(2, 2)))


@pytest.mark.parametrize("moments", [False, True])
def test_samples_have_the_marginals_moments(moments):
    """Mean and variance over 400 draws, within five standard errors; biases of a plain layer do not vary."""
    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    model, (x, y) = gbp.from_torch(plain, moments=moments), three_classes()
    sweep(gbp.configure_optimizers(model, 60), model, gbp.Softmax(), x, y)
    generator = torch.Generator().manual_seed(0)
    drawn = [dict(gbp.sample(model, generator).named_parameters()) for _ in range(400)]
    for name, own in marginals(model).items():
        values, (mean, variance) = torch.stack([one[name].detach() for one in drawn]), own.belief()
        assert ((values.mean(0) - mean).abs() < 5 * (variance / 400).sqrt()).all()
        assert ((values.var(0) / variance - 1).abs() < 5 * (2 / 400) ** 0.5).all()
    assert torch.equal(drawn[0]["0.bias"], drawn[1]["0.bias"]) != moments


def test_a_generator_decides_the_draw_and_tied_weights_stay_tied():
    model = gbp.from_torch(HAND["tied"][0]())
    one, other = (gbp.sample(model, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one.head.weight, other.head.weight) and one.head.weight is one.embed.weight
    assert not torch.equal(one.head.weight, model.head.weight) and not marginals(one)
    torch.manual_seed(1)
    third = gbp.sample(model)
    torch.manual_seed(1)
    assert torch.equal(third.head.weight, gbp.sample(model).head.weight)


def test_bad_input_is_named():
    with pytest.raises(InvalidInput, match="no marginals to draw from"):
        gbp.sample(nn.Linear(3, 2))
    with pytest.raises(InvalidInput, match="of type Module"):
        gbp.to_torch([nn.Linear(3, 2)])


def digits():
    """Images of digits, 1,000 to train on and the rest."""
    x, y = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order].float().view(-1, 1, 8, 8) / 8 - 1, y[order]
    return (x[:1000], y[:1000]), (x[1000:], y[1000:])


PRETRAINED = {
    "perceptron": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    ),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 32), nn.ReLU(), nn.Linear(32, 10)
    ),
    "normalised": lambda: nn.Sequential(
        *(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 16, 3, bias=False), nn.BatchNorm2d(16)),
        *(nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)),
    ),
}


@pytest.mark.parametrize("make", PRETRAINED.values(), ids=PRETRAINED)
def test_a_conversion_keeps_a_trained_networks_predictions(make):
    """By 16 samples, within .01 nats; samples of the prior's width lose far more."""
    (x, y), (held_x, held_y) = digits()
    network = make()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(8):
        for batch in torch.randperm(len(x)).split(25):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
    network.eval()

    @torch.no_grad()
    def nll(networks):
        probabilities = torch.stack([one(held_x).softmax(1) for one in networks]).mean(0)
        return nn.functional.nll_loss(probabilities.log(), held_y).item()

    model = gbp.from_torch(network)
    kept = nll([gbp.sample(model) for _ in range(16)])
    for own in marginals(model).values():
        own.precision.copy_(own.prior_precision.expand_as(own.precision))
    wide, before = nll([gbp.sample(model) for _ in range(16)]), nll([network])
    print(f"{before:.4f} kept {kept:.4f} wide {wide:.4f}")
    assert before < 0.3 and abs(kept - before) < 0.01 < wide - before
