"""Networks of GBP layers in a means sweep: plain networks at the means of their weights, trained by probes."""

import pytest
import torch
import torch.nn.functional as F
from helpers import lenet, mlp, three_classes
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput, MissingRule

pytestmark = pytest.mark.usefixtures("float64")
LAYERS = {
    "linear": (lambda: gbp.GBPLinear(4, 3), lambda own, x: F.linear(x, own.weight.mean, own.bias.mean), (2, 4)),
    "inside": (
        lambda: nn.Sequential(gbp.GBPLinear(4, 3, bias=False), gbp.GBPLeakyReLU(0.3), gbp.GBPNoise(0.1)),
        lambda own, x: F.leaky_relu(F.linear(x, own[0].weight.mean), 0.3),
        (2, 5, 4),
    ),
    "conv": (
        lambda: gbp.GBPConv2d(2, 4, 3, 2, 1, groups=2),
        lambda own, x: F.conv2d(x, own.weight.mean, own.bias.mean, 2, 1, groups=2),
        (2, 2, 5, 5),
    ),
    "relu": (gbp.GBPReLU, lambda own, x: x.relu(), (2, 4)),
    "gelu": (lambda: gbp.GBPActivation(nn.GELU()), lambda own, x: F.gelu(x), (2, 4)),
    "sigmoid": (gbp.GBPSigmoid, lambda own, x: x.sigmoid(), (2, 4)),
    "max": (lambda: gbp.GBPMaxPool2d(2), lambda own, x: F.max_pool2d(x, 2), (2, 3, 4, 4)),
    "average": (
        lambda: gbp.GBPAvgPool2d(2, padding=1, count_include_pad=False),
        lambda own, x: F.avg_pool2d(x, 2, padding=1, count_include_pad=False),
        (2, 3, 4, 4),
    ),
    "adaptive": (lambda: gbp.GBPAdaptiveAvgPool2d(1), lambda own, x: x.mean((2, 3), keepdim=True), (2, 3, 4, 4)),
    "upsample": (lambda: gbp.GBPUpsample(scale_factor=2), lambda own, x: F.interpolate(x, scale_factor=2), (2, 3, 4, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_its_torch_function_at_the_means(name):
    make, function, shape = LAYERS[name]
    layer, x = make(), torch.randn(shape)
    with gbp.means_sweep():
        found = layer(x)
    assert isinstance(found, torch.Tensor)
    assert_close(found, function(layer, x))
    assert isinstance(layer(x), gbp.Gaussian)


def test_a_transposed_convolution_is_that_of_its_torch_layer():
    torch_layer, x = nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, groups=2, output_padding=1), torch.randn(2, 2, 3, 3)
    layer = gbp.GBPConvTranspose2d.from_torch(torch_layer)
    with gbp.means_sweep():
        assert_close(layer(x), torch_layer(x))


def test_what_has_no_plain_function_says_so():
    with gbp.means_sweep():
        with pytest.raises(MissingRule, match=r"prior of activations.*GBPNoise.*prior_sigma=2"):
            gbp.GBPNoise(prior_sigma=2.0)(torch.ones(1, 2))
        with pytest.raises(InvalidInput, match="carries tensors"):
            gbp.GBPReLU()(gbp.Gaussian(torch.ones(2), torch.ones(2)))


@pytest.mark.parametrize(("make", "least"), [(mlp, 0.8), (lenet, 0.6)])  # the latter reaches .65 to .9 by the seed
def test_probes_train_them_and_moments_predict(make, least):
    x, y = (
        three_classes()
        if make is mlp
        else (torch.randn(60, 1, 8, 8) + (torch.arange(60) % 3)[:, None, None, None], torch.arange(60) % 3)
    )
    model = make()
    trainer = gbp.Trainer(model, gbp.Softmax(), epochs=20, sweep="means", progress=False)
    batches = [(x[part], y[part]) for part in torch.arange(60).split(10)]
    trainer.fit(batches)
    assert trainer.evaluate(batches).accuracy > least
    assert all(bool((own.precision > own.prior_precision).all()) for own in gbp.marginals(model).values())


def test_the_names_of_sweeps():
    with pytest.raises(InvalidInput, match=r"no such sweep.*'mean'.*sweep='means'"):
        gbp.Trainer(mlp(), gbp.Softmax(), sweep="mean")
