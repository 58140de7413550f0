"""from_torch: every layer finds its twin, everything else of the network stays."""

import pytest
import torch
from helpers import sweep, three_classes
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import MessagePassing, Softmax, from_torch
from torch_gbp.convert import TWINS
from torch_gbp.errors import InvalidInput, MissingRule

SAMPLES = {
    "linear": (nn.Linear(4, 2, bias=False), gbp.GBPLinear, (3, 4)),
    "conv": (nn.Conv2d(2, 4, (3, 2), (2, 1), (1, 0), 2, 2), gbp.GBPConv2d, (3, 2, 9, 6)),
    "conv_same": (nn.Conv2d(2, 2, (3, 5), padding="same", dilation=(2, 1)), gbp.GBPConv2d, (3, 2, 9, 6)),
    "conv_valid": (nn.Conv2d(2, 2, 2, padding="valid"), gbp.GBPConv2d, (3, 2, 4, 4)),
    "conv_transpose": (nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), 1, (1, 2), 2), gbp.GBPConvTranspose2d, (3, 4, 5, 4)),
    "max_pool": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), gbp.GBPMaxPool2d, (3, 2, 6, 6)),
    "avg_pool": (nn.AvgPool2d(3, 2, 1, True, False), gbp.GBPAvgPool2d, (3, 2, 6, 6)),
    "adaptive": (nn.AdaptiveAvgPool2d((None, 2)), gbp.GBPAdaptiveAvgPool2d, (3, 2, 5, 5)),
    "upsample": (nn.Upsample(scale_factor=(2, 3)), gbp.GBPUpsample, (3, 2, 4, 5)),
    "leaky_relu": (nn.LeakyReLU(0.3), gbp.GBPLeakyReLU, (3, 4)),
    "relu": (nn.ReLU(), gbp.GBPReLU, (3, 4)),
    "sigmoid": (nn.Sigmoid(), gbp.GBPSigmoid, (3, 4)),
}


@pytest.mark.parametrize(("layer", "twin", "shape"), SAMPLES.values(), ids=SAMPLES)
def test_twin_of_every_layer_has_the_same_mean_at_known_values(layer, twin, shape):
    """With an observed input the mean of the twin is the layer's own output."""
    made, x = from_torch(layer, moments=True), torch.randn(shape)
    assert type(made) is twin
    output = made(x)
    assert_close(output.mean, layer(x).detach(), rtol=1e-5, atol=1e-6)
    assert output.mean.shape == output.variance.shape


def test_what_an_error_names_in_place_of_a_layer_is_its_twin():
    """Every activation and weighted layer behind a GBP layer in training: the error says which layer of torch_gbp to use.

    Pools and upsampling bring messages back as they are.
    """
    for layer, twin, shape in SAMPLES.values():
        belief = gbp.GBPLinear(shape[-1], shape[-1])(torch.randn(shape).flatten(0, -2)).unflatten(0, shape[:-1])
        if isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Upsample)):
            assert isinstance(layer(belief), gbp.Gaussian)
        else:
            with pytest.raises(MissingRule, match=f"Way out: use {twin.__name__}; or predict by its moment map"):
                layer(belief)


def test_every_twin_has_a_sample():
    assert set(TWINS) == {type(layer) for layer, _, _ in SAMPLES.values()}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 6), nn.ReLU())
        self.head = nn.ModuleDict({"out": nn.Linear(6, 3)})
        self.scale = 0.5
        self.register_buffer("shift", torch.ones(3))

    def forward(self, x):
        return self.head["out"](self.body(x)) * self.scale + self.shift


def test_custom_module_keeps_its_forward_and_buffers():
    plain = Net()
    twin, (x, y) = from_torch(plain, moments=True), three_classes()
    assert isinstance(twin, Net) and twin.scale == 0.5 and isinstance(twin.body[0], gbp.GBPLinear)
    assert twin.shift is not plain.shift and twin.state_dict()["shift"].tolist() == [1.0] * 3
    assert isinstance(plain.body[0], nn.Linear)
    assert torch.equal(twin.body[0].weight.mean, plain.body[0].weight)
    sweep(MessagePassing(twin.parameters(), 60), twin, Softmax(), x, y)
    assert not torch.equal(twin.body[0].weight.mean, plain.body[0].weight)


def test_a_shared_module_stays_shared():
    act, block = nn.ReLU(), nn.Linear(4, 4)
    twin = from_torch(nn.Sequential(nn.Linear(3, 4), act, block, act, block), moments=True)
    assert [type(m).__name__ for m in twin] == ["GBPLinear", "GBPReLU", "GBPLinear", "GBPReLU", "GBPLinear"]
    assert twin[1] is twin[3] and twin[2] is twin[4]
    assert twin(torch.randn(2, 3)).shape == (2, 4)


def test_gbp_layers_are_copied_as_they_are():
    mixed = nn.Sequential(gbp.GBPLinear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    twin, (x, y) = from_torch(mixed, moments=True), three_classes()
    assert torch.equal(twin[0].weight.mean, mixed[0].weight.mean) and twin[0].weight.mean is not mixed[0].weight.mean
    sweep(MessagePassing(twin.parameters(), 60), twin, Softmax(), x, y)
    MessagePassing(mixed[0].parameters(), 60)  # the original owns its parameters still


def test_start_and_prior():
    plain = nn.Sequential(nn.Linear(3, 4))
    start, prior, fresh = (
        from_torch(plain, moments=True),
        from_torch(plain, as_prior=True, moments=True),
        from_torch(plain, fresh=True, prior=gbp.Prior(variance=0.25), moments=True),
    )
    assert start[0].weight.prior_mean is None and torch.equal(start[0].weight.mean, plain[0].weight)
    assert torch.equal(prior[0].weight.prior_mean, plain[0].weight) and torch.equal(prior[0].bias.prior_mean, plain[0].bias)
    assert not torch.equal(fresh[0].weight.mean, plain[0].weight)
    assert fresh[0].weight.prior_precision.item() == 4.0


@pytest.mark.parametrize(
    "layer", [nn.Softsign(), nn.BatchNorm1d(3), nn.Dropout(), nn.LSTM(3, 3)], ids=lambda layer: type(layer).__name__
)
def test_layers_without_a_twin_are_named(layer):
    with pytest.raises(
        MissingRule, match=rf"{type(layer).__name__} has no GBP twin \(in '1'\)\..*or use AdaptiveAvgPool2d, .*Linear, "
    ):
        from_torch(nn.Sequential(nn.Linear(3, 3), layer), moments=True)


def test_all_layers_without_a_twin_are_named_at_once():
    block = nn.Sequential(nn.Linear(3, 3), nn.Softsign())
    network = nn.Sequential(block, nn.MultiheadAttention(4, 1), nn.Sequential(nn.ModuleList(), nn.BatchNorm1d(3)))
    with pytest.raises(MissingRule, match=r"Softsign, MultiheadAttention, BatchNorm1d have no GBP twin \(in '0.1', '1', '2.1'\)"):
        from_torch(network, moments=True)


@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}], ids=["same", "reflect"])
def test_padding_without_a_rule_is_refused(options):
    with pytest.raises(InvalidInput, match="padding"):
        from_torch(nn.Conv2d(1, 1, 2, **options), moments=True)
