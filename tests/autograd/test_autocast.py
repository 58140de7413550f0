"""Moments and messages under torch.autocast: they stay in single precision, whatever half precision surrounds them."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput

HALF = torch.bfloat16


def dense():
    return nn.Sequential(gbp.GBPLinear(6, 8), gbp.GBPReLU(), gbp.GBPLinear(8, 3))


def conv():
    body = (
        nn.Unflatten(1, (1, 6, 1)),
        gbp.GBPConv2d(1, 4, (3, 1), padding=(1, 0)),
        gbp.GBPMaxPool2d((2, 1)),
        gbp.GBPLeakyReLU(0.1),
    )
    return nn.Sequential(*body, nn.Flatten(), gbp.GBPLinear(12, 3))


def mapped():
    return nn.Sequential(gbp.GBPLinear(6, 8), nn.Flatten(), gbp.GBPLinear(8, 3))


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.out = gbp.GBPLinear(6, 6), gbp.GBPReLU(), gbp.GBPLinear(6, 3)

    def forward(self, x):
        z = self.first(x)
        return self.out(z + self.act(z))


def data():
    torch.manual_seed(1)
    return torch.randn(12, 6), torch.arange(12) % 3


def trained(model, likelihood, enabled, inside=False):
    """State after three steps; `inside`: backward under autocast too, as some loops have it."""
    torch.manual_seed(2)
    x, y = data()
    optimizer = gbp.configure_optimizers(model, num_data=12, epochs=3)
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", HALF, enabled=enabled):
            loss = likelihood(model(x), y)
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize("inside", [False, True], ids=["forward", "backward-too"])
@pytest.mark.parametrize("make", [dense, conv, mapped, Skip])
def test_networks_of_gbp_layers_do_not_notice(make, inside):
    torch.manual_seed(0)
    model = make()
    twin = copy.deepcopy(model)
    assert_close(trained(model, gbp.Softmax(), True, inside), trained(twin, gbp.Softmax(), False), rtol=0, atol=0)


class Turned(gbp.Softmax):
    """A likelihood of one's own, with a matrix product, which autocast would compute in half precision."""

    def evidence(self, mean, variance, target):
        return super().evidence(mean @ torch.eye(mean.shape[1]), variance, target)


@pytest.mark.parametrize("likelihood", [Turned, gbp.Softmax, gbp.SquaredSoftmax, gbp.PairwiseArgmax, gbp.OneHotRegression])
def test_likelihoods_do_not_notice(likelihood):
    found = []
    for enabled in (True, False):
        torch.manual_seed(0)
        found.append(trained(dense(), likelihood(), enabled))
    assert_close(found[0], found[1], rtol=0, atol=0)


def test_moment_maps_do_not_notice():
    torch.manual_seed(0)
    model = gbp.from_torch(nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3)))
    x, _ = data()
    exact = gbp.predict(model, gbp.Softmax(), x, "moments")
    with torch.autocast("cpu", HALF):
        found = gbp.predict(model, gbp.Softmax(), x, "moments")
    assert_close(tuple(found.belief), tuple(exact.belief), rtol=0, atol=0)


def hybrid():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), gbp.GBPLinear(8, 3))


def test_a_backbone_in_half_precision_learns_beneath_a_head_in_single():
    x, y = data()
    model, gradients = hybrid(), []
    for enabled in (True, False):
        model.zero_grad()
        with torch.autocast("cpu", HALF, enabled=enabled):
            features = model[:2](x)
            output = model[2](features)
            loss = gbp.Softmax()(output, y)
        assert features.dtype == (HALF if enabled else torch.float32)
        assert output.mean.dtype == output.variance.dtype == loss.dtype == torch.float32
        loss.backward()
        gradients.append(model[0].weight.grad.clone())
    gap = torch.linalg.vector_norm(gradients[0] - gradients[1]) / torch.linalg.vector_norm(gradients[1])
    assert 0 < gap < 0.02  # 8 bits


@pytest.mark.parametrize("likelihood", [Turned, gbp.Softmax])
def test_it_does_not_matter_whether_backward_is_called_inside(likelihood):
    x, y = data()
    model, gradients = hybrid(), []
    for inside in (True, False):
        model.zero_grad()
        with torch.autocast("cpu", HALF):
            loss = likelihood()(model(x), y)
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model[0].parameters()])
    assert_close(gradients[0], gradients[1], rtol=0, atol=0)


def test_a_network_in_half_precision_altogether_stays_so():
    model = gbp.GBPLinear(6, 3).to(HALF)
    assert model(data()[0].to(HALF)).mean.dtype == HALF


@pytest.mark.parametrize("make", [dense, lambda: gbp.from_torch(nn.Linear(6, 3))], ids=["moments", "means"])
@pytest.mark.parametrize("unscaled", [False, True])
def test_scaled_losses_are_refused_by_name(make, unscaled):
    torch.manual_seed(0)
    model, scaler = make(), torch.amp.GradScaler("cpu", init_scale=1024.0)
    (x, y), optimizer = data(), gbp.configure_optimizers(model, num_data=12)
    before = copy.deepcopy(model.state_dict())
    scaler.scale(gbp.Softmax()(model(x), y)).backward()
    if unscaled:
        scaler.unscale_(optimizer)
    with pytest.raises(InvalidInput, match=r"GradScaler.*bfloat16"):
        scaler.step(optimizer)
    assert_close(model.state_dict(), before, rtol=0, atol=0)
    optimizer.zero_grad()
    gbp.Softmax()(model(x), y).backward()
    optimizer.step()  # the optimizer is still of use
